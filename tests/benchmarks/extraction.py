"""How well and how fast main text is found: pages with strings that belong to it and strings that do not.

    python -m tests.benchmarks.extraction DIR [--trafilatura PYTHON] [--show] [--json]

DIR is the unpacked source distribution `trafilatura==1.0.0` (`pip download --no-deps --no-binary :all:`), whose tests
assert of about a hundred real pages what must be in their text and what must not; later releases no longer hold the
pages. PYTHON is an interpreter with a current trafilatura, to compare. As in trafilatura's own evaluation a wanted
string that is found is a true positive, a wanted one that is missing a false negative, an unwanted one that is found a
false positive. Half of the pages, by a hash of their names, were looked at when extraction was made ("seen"); --show
names what goes wrong on these, and on no others. Some of the wanted strings stand in readers' comments, which neither
is asked for here. --json prints all figures as one object on the last line.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from resiliparse.extract.html2text import extract_plain_text

from pipelines.curation.extraction import ExtractionSettings, decode, page_text
from pipelines.curation.publishing import sample_rank

OTHER = """
import json, sys, time
import trafilatura
pages = [open(path, "rb").read() for path in json.load(sys.stdin)]
found = {}
for name, options in (("trafilatura", {}), ("trafilatura, precision", {"favor_precision": True})):
    seconds = []
    for _ in range(2):
        started = time.process_time()
        texts = [trafilatura.extract(page, include_comments=False, **options) or "" for page in pages]
        seconds.append(time.process_time() - started)
    found[name] = [min(seconds), texts]
print(json.dumps(found))
"""


def asserted(folder: Path) -> dict[Path, tuple[list[str], list[str]]]:
    """Page -> (strings its text must have, strings it must not have), as the tests assert them."""
    tree = ast.parse((folder / "tests/realworld_tests.py").read_text(encoding="utf-8"))
    pages: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "MOCK_PAGES":
            pages = ast.literal_eval(node.value)
    found: dict[Path, tuple[list[str], list[str]]] = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        current: Path | None = None
        for node in _in_order(function):
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
                arguments = node.value.args
                url = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
                current = folder / "tests/cache" / pages[url] if url in pages else None
            elif isinstance(node, ast.Assert) and current is not None and current.exists():
                wanted, unwanted = found.setdefault(current, ([], []))
                for text, inside in _strings(node.test):
                    (wanted if inside else unwanted).append(text)
    return found


def _in_order(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If):
            yield from _in_order(child)


def _strings(test: ast.expr) -> Iterator[tuple[str, bool]]:
    """`"x" in result and "y" not in result` as (string, whether it is wanted). Alternatives are left out."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for value in test.values:
            yield from _strings(value)
    elif (
        isinstance(test, ast.Compare)
        and isinstance(test.left, ast.Constant)
        and isinstance(test.left.value, str)
        and isinstance(test.ops[0], ast.In | ast.NotIn)
    ):
        yield test.left.value, isinstance(test.ops[0], ast.In)


def score(texts: dict[Path, str], truth: dict[Path, tuple[list[str], list[str]]]) -> dict[str, float]:
    """Precision, recall and F1 over all strings of some pages; white space counts as one space."""
    right = missing = wrong = 0
    for path, text in texts.items():
        wanted, unwanted = truth[path]
        plain = " ".join(text.split())
        inside = sum(" ".join(string.split()) in plain for string in wanted)
        right += inside
        missing += len(wanted) - inside
        wrong += sum(" ".join(string.split()) in plain for string in unwanted)
    precision, recall = right / max(1, right + wrong), right / max(1, right + missing)
    f1 = 2 * precision * recall / max(1e-9, precision + recall)
    return {"precision": precision, "recall": recall, "f1": f1, "strings": right + missing, "pages": len(texts)}


def timed(pages: list[bytes], extract: Callable[[bytes], str]) -> tuple[float, list[str]]:
    """The processor's seconds for the pages, the better of two rounds, and their texts."""
    seconds = []
    texts: list[str] = []
    for _ in range(2):
        started = time.process_time()
        texts = [extract(page) for page in pages]
        seconds.append(time.process_time() - started)
    return min(seconds), texts


def _resiliparse(page: bytes) -> str:
    return extract_plain_text(decode(page), main_content=True, alt_texts=False)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trafilatura", type=Path, help="an interpreter that has it")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--show", action="store_true", help="print what goes wrong on seen pages")
    options = parser.parse_args()
    truth = asserted(options.folder)
    paths = sorted(truth)
    pages = [path.read_bytes() for path in paths]
    size = sum(map(len, pages))
    settings = ExtractionSettings()
    results = {
        "groundwork": timed(pages, lambda page: page_text(page, None, None, settings).text),
        "resiliparse": timed(pages, _resiliparse),
    }
    if options.trafilatura:
        command = [str(options.trafilatura), "-c", OTHER]
        names = json.dumps([str(path) for path in paths])
        done = subprocess.run(command, input=names, stdout=subprocess.PIPE, text=True, check=True)
        results |= {name: (seconds, found) for name, (seconds, found) in json.loads(done.stdout).items()}
    figures: dict[str, dict[str, float]] = {}
    for name, (seconds, found) in results.items():
        for part in ("all", "seen", "unseen"):
            chosen = {
                path: text
                for path, text in zip(paths, found, strict=True)
                if part == "all" or (sample_rank(path.name) % 2 == 0) == (part == "seen")
            }
            figures[f"{name} {part}"] = score(chosen, truth) | {"mb_s": size / seconds / 1e6}
            row = figures[f"{name} {part}"]
            kinds = ", ".join(f"{kind} {row[kind]:.3f}" for kind in ("precision", "recall", "f1"))
            print(f"{name:24} {part:7} {kinds} on {row['pages']} pages, {row['strings']} strings")
    for name, (seconds, _) in results.items():
        times = f"{seconds / results['groundwork'][0]:.1f} times the time of groundwork"
        print(f"{name:24} {size / seconds / 1e6:6.1f} MB of HTML a second on one core, {times}")
    if options.show:
        for path, text in zip(paths, results["groundwork"][1], strict=True):
            if sample_rank(path.name) % 2 == 0:
                plain = " ".join(text.split())
                wanted, unwanted = truth[path]
                lost = [string for string in wanted if " ".join(string.split()) not in plain]
                extra = [string for string in unwanted if " ".join(string.split()) in plain]
                if lost or extra:
                    print(f"{path.name}: lost {lost}, extra {extra}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
