"""Decontamination: documents that hold examples of evaluations go, and each example learns how much of it was seen.

index = build_index(settings)                             # from the evaluation files, once; save, load
scan_unit(batches, index, "hits/UNIT.parquet")            # for each unit
summary = reduce(["hits/UNIT.parquet", ...], index, settings)
removals_of("hits/UNIT.parquet", index, summary.ignored, settings)  # for each unit
summary.save(output)                                      # contamination.json, contamination.parquet
"""

from pipelines.curation.decontamination.examples import files_of, row_key
from pipelines.curation.decontamination.index import Index, build_index, index_fingerprint
from pipelines.curation.decontamination.scan import HITS_SCHEMA, scan, scan_unit
from pipelines.curation.decontamination.seen import coverage_by_key, examples_table
from pipelines.curation.decontamination.settings import DecontaminationSettings, TaskFiles
from pipelines.curation.decontamination.summary import EXAMPLES_FILE, REPORT_FILE, Summary, reduce
from pipelines.curation.decontamination.verdict import STAGE, removals_of

__all__ = [
    "EXAMPLES_FILE",
    "HITS_SCHEMA",
    "REPORT_FILE",
    "STAGE",
    "DecontaminationSettings",
    "Index",
    "Summary",
    "TaskFiles",
    "build_index",
    "coverage_by_key",
    "examples_table",
    "files_of",
    "index_fingerprint",
    "reduce",
    "removals_of",
    "row_key",
    "scan",
    "scan_unit",
]
