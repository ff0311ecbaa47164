"""Our side of the benchmark, in a process of its own. Each line of standard input names a file of rows.

    python -m tests.benchmarks.curation.ours chain ENGINE      seconds of each part, a JSON object a line
    python -m tests.benchmarks.curation.ours pass OUTPUT       seconds and peak memory of a whole pass over the file

`chain` sends every document through every rule, whatever the others said; as in a pass, documents are read and written.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines import storage
from pipelines.curation import publishing, stages
from pipelines.curation.documents import EXTRACTED_SCHEMA
from pipelines.curation.keys import text_keys
from pipelines.curation.measuring import Gauge
from pipelines.curation.planning import plan
from pipelines.curation.rules.base import Batch
from pipelines.curation.settings import CurationSettings
from pipelines.curation.tables import BATCH_ROWS, TableWriter
from pipelines.curation.workspace import Hashes, Workspace

RULES = ["gopher_repetition", "gopher_quality", "c4", {"rule": "fineweb"}, "privacy"]
PASS_UNIT_BYTES = 8_000_000
"""So that the smaller corpus too has several units."""
MODEL = "runs/sources/lid.176.ftz"


def settings_for(path: str, engine: str = "resiliparse", unit_bytes: int = 64_000_000) -> CurationSettings:
    """English documents of one file, through the text chain's rules."""
    values = {
        "sources": [{"kind": "jsonl", "name": "rows", "paths": [path]}],
        "language": {"model": MODEL, "keep": {"en": 0.65}},
        "rules": RULES,
        "extraction": {"engine": engine} if engine != "resiliparse" else {},
        "unit_bytes": unit_bytes,
    }
    return CurationSettings.model_validate(values)


class Clock:
    """Adds up the processor's seconds by part."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Everything inside counts for a part."""
        started = time.process_time()
        yield
        self.seconds[name] += time.process_time() - started


def chain(settings: CurationSettings, gauge: Gauge) -> dict[str, float]:
    """Every part over all documents of the file."""
    clock = Clock()
    source = settings.sources[0]
    with tempfile.TemporaryDirectory() as folder, TableWriter(f"{folder}/documents.parquet", EXTRACTED_SCHEMA) as out:
        for split in source.files():
            records = source.read(split)
            while True:
                with clock.part("reading"):
                    raws = list(islice(records, BATCH_ROWS))
                if not raws:
                    break
                started = time.perf_counter()
                found = [(raw, text) for raw, text in gauge.extractor(raws) if text.problem is None]
                if raws[0].html is not None:
                    # Pages are parsed in a child process, so it is the wall's clock that counts.
                    clock.seconds["extraction"] += time.perf_counter() - started
                    with clock.part("library: extraction"):
                        for raw in raws:
                            _extraction_alone(raw.html or "")
                _rules(settings, gauge, clock, found, out)
        clock.seconds |= _language_alone(gauge)
    return dict(clock.seconds)


TEXTS: list[str] = []


def _rules(settings: CurationSettings, gauge: Gauge, clock: Clock, found: list, out: TableWriter) -> None:
    source = settings.sources[0]
    texts = [text.text for _, text in found]
    TEXTS.extend(texts)
    names = [f"rows/{raw.position:010x}" for raw, _ in found]
    column = pa.array(texts, pa.large_string())
    with clock.part("language"):
        languages, _ = gauge.identifier.identify_batch(column.to_pylist())
    with clock.part("signals"):
        values = gauge.meter.measure(column, languages)
    batch = Batch(names, column, [raw.url for raw, _ in found], languages, values)
    rules = settings.rules_of(source)
    for number, rule in enumerate(rules):
        with clock.part(rule.rule):
            edited = rule.judge(batch).texts
        needed = frozenset[str]().union(*(later.needs() for later in rules[number + 1 :]))
        if edited is not None and needed:
            changed = np.flatnonzero(np.asarray(edited.is_valid()))
            with clock.part("signals of edited texts"):
                texts_again = edited.take(pa.array(changed))
                gauge.measure_names(texts_again, [languages[row] for row in changed], sorted(needed))
    with clock.part("keys"):
        text_keys(column)
    with clock.part("writing"):
        empty = pa.nulls(len(texts), pa.string())
        numbers = pa.array([raw.position for raw, _ in found])
        columns = [pa.array(names), column, empty, empty, empty, empty, empty, empty, numbers]
        out.write(pa.record_batch(columns, schema=EXTRACTED_SCHEMA))


def _extraction_alone(html: str | bytes) -> None:
    """resiliparse's own seconds, in this process."""
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    if len(html) <= 2_000_000 and isinstance(html, str):
        extract_plain_text(HTMLTree.parse(html), main_content=True, alt_texts=False, links=False, form_fields=False)


def _language_alone(gauge: Gauge) -> dict[str, float]:
    """fastText's own seconds: its predictor on strings that are ready for it, cut as ours are, and whole."""
    model, characters = gauge.identifier._model.f, gauge.identifier._characters
    found = {}
    for name, most in (("library: language", characters), ("whole: language", None)):
        ready = [text[:most].replace("\n", " ") + "\n" for text in TEXTS]
        started = time.process_time()
        for text in ready:
            model.predict(text, 1, 0.0, "strict")
        found[name] = time.process_time() - started
    TEXTS.clear()
    return found


def whole_pass(path: str, output: str) -> dict[str, float]:
    """Process and publish all units of a file; seconds of the wall and peak memory of the process."""
    storage.remove(output)
    settings = settings_for(path, unit_bytes=PASS_UNIT_BYTES)
    hashes, place, gauge = Hashes.of(settings), Workspace(output), Gauge(settings)
    units = plan(settings)
    # Loading what is compiled, and the models, is not what grows.
    stages.process(units[0], hashes, gauge, Workspace(f"{output}/warm"))
    started = time.perf_counter()
    for unit in units:
        stages.process(unit, hashes, gauge, place)
        publishing.publish(unit, settings, place, [], hashes.publish(unit, []))
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0}


def main() -> None:
    """One answer a line."""
    gauges: dict[str, Gauge] = {}
    for line in sys.stdin:
        path = line.strip()
        if sys.argv[1] == "pass":
            print(json.dumps(whole_pass(path, sys.argv[2])), flush=True)
            continue
        settings = settings_for(path, sys.argv[2])
        if path not in gauges:
            # Loading and compiling are not what is measured.
            gauges[path] = Gauge(settings)
            warm = Path(tempfile.mkdtemp()) / "warm.jsonl"
            with open(path, encoding="utf-8") as rows:
                warm.write_text("".join(islice(rows, 5)), encoding="utf-8")
            chain(settings_for(str(warm), sys.argv[2]), gauges[path])
        print(json.dumps(chain(settings, gauges[path])), flush=True)


if __name__ == "__main__":
    main()
