"""The quickstart's own driver, on tiny recipes, from real text to the report, with no network to reach."""

import json
import os
import subprocess
import sys
import time
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.cluster.lab.texts import lay_out

ROOT = Path(__file__).parent.parent.parent
RECIPES = Path(__file__).parent / "tiny"
STAGES = [
    "curate",
    "tokenize",
    "tune",
    "pretrain",
    "pretrain-masked",
    "evaluate",
    "finetune",
    "evaluate-translator",
    "generate",
    "report",
]

# A process of its own network namespace sees only a loopback device, which is down.
_LOOPBACK_UP = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    fcntl.ioctl(s, 0x8914, struct.pack("16sh14s", b"lo", 0x1, b""))
os.execvp(sys.argv[1], sys.argv[1:])
"""


def offline(command: list[str]) -> list[str]:
    prefix = ["unshare", "--map-root-user", "--net"]
    try:
        subprocess.run([*prefix, "true"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        warnings.warn("no network namespaces here: this run could have used the network", stacklevel=1)
        return command
    return [*prefix, sys.executable, "-c", _LOOPBACK_UP, *command]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose sources are a small part of the fetched ones."""
    home = tmp_path_factory.mktemp("gw")
    lay_out(home)
    return home


def loaded_resources(page: str) -> list[str]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend(str(value) for name, value in attrs if name == "src" or (tag, name) == ("link", "href"))

    Reader().feed(page)
    return found


def run(home: Path) -> tuple[str, float]:
    command = [sys.executable, "-m", "jobs.quickstart", "--recipes", str(RECIPES), "--sources", "runs/sources"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}
    started = time.monotonic()
    done = subprocess.run(
        offline(command),
        check=False,
        cwd=ROOT,
        env={**environment, "GROUNDWORK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout, time.monotonic() - started


def test_every_stage_from_raw_text_to_the_report_offline_and_once(home: Path) -> None:
    run(home)
    output = home / "runs/quickstart"
    stages = json.loads((output / "stages.json").read_text())
    assert [(stage["stage"], stage["status"]) for stage in stages] == [(name, "SUCCEEDED") for name in STAGES]

    funnel = json.loads((output / "jobs/curate/funnel.json").read_text())
    assert funnel["documents_in"] == funnel["kept"] + sum(stage["documents"] for stage in funnel["stages"])

    # The lines of Ray Train's own about each checkpoint are for its logs.
    assert "TrainingReport" not in (output / "jobs/pretrain/log.txt").read_text()

    results = json.loads((output / "jobs/evaluate/results.json").read_text())
    assert {row["task"] for row in results["tasks"]} >= {"completion", "cloze", "qa", "translation", "code", "bias"}

    page = (output / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert loaded_resources(page) == []
    summary = json.loads((output / "summary.json").read_text())
    assert summary["headline"]
    for made in ("duplicates", "contamination", "mixture", "tokens"):
        assert f'id="{made}"' in page
    assert summary["contamination"]["tasks"].keys() >= {"qa", "translation"}
    assert summary["tokens"]["fertility"]["languages"]["en"].keys() == {"ours", "gpt2", "cl100k"}

    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer

    for name in ("export", "export-translator"):
        tokenizer = AutoTokenizer.from_pretrained(output / name)
        model = AutoModelForCausalLM.from_pretrained(output / name)
        ids = tokenizer("def read", return_tensors="pt").input_ids
        assert model.generate(ids, max_new_tokens=4, do_sample=False).shape[1] > ids.shape[1]
    AutoModelForMaskedLM.from_pretrained(output / "export-masked")

    again, seconds = run(home)
    assert again.count("already done") == len(STAGES)
    assert seconds < 60
