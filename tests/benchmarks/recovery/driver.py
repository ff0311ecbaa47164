"""Run by the runs in a process of its own: one training on the cluster that RAY_ADDRESS names.

driver.py RUN_DIRECTORY SETTINGS FAULT PAUSE MODEL    SETTINGS: training settings as JSON; FAULT: what `Faulty` takes,
or null; MODEL: a preset
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from ray.util import placement_group_table

from jobs.job import connect
from models.network import PRESETS
from models.training import TrainingSettings, fit
from tests.benchmarks.recovery.faulty import Faulty, Learnable

PLACEMENT_GROUPS = "placement_groups.json"
_REMOVAL_SECONDS = 10.0


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
    Path(directory, PLACEMENT_GROUPS).write_text(json.dumps(_placement_groups()))


def _placement_groups() -> list[str]:
    """Those of the cluster that were not given back some seconds after the run."""
    began = time.monotonic()
    while left := [name for name, group in placement_group_table().items() if group["state"] != "REMOVED"]:
        if time.monotonic() - began > _REMOVAL_SECONDS:
            break
        time.sleep(0.1)
    return left


if __name__ == "__main__":
    main()
