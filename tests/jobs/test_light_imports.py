"""A recipe is checked, planned and sent without what only the work needs: torch alone takes seconds to import."""

import subprocess
import sys

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


def test_a_training_s_driver_asks_for_machines_before_torch_is_imported() -> None:
    program = "import sys\nimport models.training.run\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
