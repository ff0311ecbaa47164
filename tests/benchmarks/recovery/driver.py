"""Run by the runs in a process of its own: one training on the cluster that RAY_ADDRESS names.

driver.py RUN_DIRECTORY SETTINGS FAULT PAUSE MODEL    SETTINGS: training settings as JSON; FAULT: what `Faulty` takes,
or null; MODEL: a preset
"""

from __future__ import annotations

import json
import sys

from jobs.job import connect
from models.network import PRESETS
from models.training import TrainingSettings, fit
from tests.benchmarks.recovery.faulty import Faulty, Learnable


def main() -> None:
    directory, settings, fault = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
    connect()
    pause = float(sys.argv[4])
    evaluated = Learnable()
    data = Faulty(*fault, pause) if fault else Learnable(pause)
    training = TrainingSettings.model_validate(settings)
    model = PRESETS[sys.argv[5]]
    data.sequence_length = evaluated.sequence_length = training.sequence_length
    fit(model, None, training, data, evaluated, None, directory, "recovery", 1)


if __name__ == "__main__":
    main()
