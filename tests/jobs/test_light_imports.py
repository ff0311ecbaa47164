"""A recipe is checked, planned and sent without what only the work needs: torch alone takes seconds to import."""

import subprocess
import sys
from pathlib import Path

from jobs.registry import known_jobs

HEAVY = {"torch", "ray", "deepspeed", "transformers"}


def test_no_job_s_module_imports_what_only_workers_need() -> None:
    program = "import importlib, sys\n"
    program += "".join(f"importlib.import_module('jobs.{name}')\n" for name in known_jobs())
    program += (
        "print({name for name in ('torch', 'ray', 'deepspeed', 'transformers') if name in sys.modules} or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"


def test_a_training_s_driver_and_its_controller_need_no_torch(tmp_path: Path) -> None:
    program = f"""
import sys
from models.training import elastic, process_group, run
from models.training.checkpoint import Checkpoints
from models.training.same_run import make_room
from models.training.step_lines import left_out
from models.training.workers import Workers
assert Checkpoints({str(tmp_path)!r}, Workers()).newest() is None
elastic.Trainer(print, run_directory="", checkpoints="", asked=None, backend_config=process_group.ProcessGroup("gloo"))
print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
