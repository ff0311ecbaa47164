"""From sources to a clean corpus: extraction, language, signals, rules, exact deduplication, and what was removed.

`run.curate(settings, output)` does it on Ray; `explain` tells of one document what became of it.
"""
