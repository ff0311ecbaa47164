"""The report's sections on the run itself: lineage, cost, machine."""

from __future__ import annotations

from typing import Any

from jobs.reporting.charts import bars
from jobs.reporting.markup import Html, clock, count, join, size, table, tag


def lineage(summary: dict[str, Any]) -> Html | None:
    """From the models to the source files, each by hash."""
    record = summary["lineage"]
    steps: list[Html] = []
    for model in record["models"]:
        if model["there"]:
            facts = (
                f"job {model['job']}, finished {model['finished_at']}"
                if model["finished_at"]
                else f"job {model['job']}"
            )
            steps.append(
                _step(model["name"], facts, f"weights sha256 {model['weights_sha256']}", _meets(model["meets"]))
            )
    tokens, corpus = record["tokens"], record["corpus"]
    if tokens:
        fits = "made from this corpus" if tokens["meets"] else "made from another corpus than the one that lies there"
        steps.append(
            _step(
                "tokens",
                f"{tokens['shards']} shards; {fits}",
                f"manifest {tokens['manifest']}",
                f"tokenizer {tokens['tokenizer']}",
            )
        )
    if corpus:
        facts = (
            f"{corpus['documents']:,} documents in {len(corpus['files'])} files, from {corpus['inputs']} source files"
        )
        files = table(
            ["file", "sha256", "rows"],
            [[file["path"], tag("code", file["sha256"]), count(file["rows"])] for file in corpus["files"]],
            words=2,
        )
        fold = tag("details", tag("summary", "files of the corpus"), files)
        steps.append(_step("corpus", facts, f"manifest {corpus['manifest']}", f"settings {corpus['settings']}", fold))
    if record["sources"]:
        rows = [
            [source["name"], source["package"], tag("code", source["sha256"]), count(source["files"])]
            for source in record["sources"]
        ]
        packages = [
            [f"{package['name']} {package['version']}", package["file"], tag("code", package["sha256"])]
            for package in record["packages"]
        ]
        steps.append(
            _step(
                "sources",
                f"{sum(source['files'] for source in record['sources']):,} files out of {len(packages)} packages",
                tag(
                    "details", tag("summary", "sources"), table(["source", "package", "sha256", "files"], rows, words=3)
                ),
                tag("details", tag("summary", "packages"), table(["package", "file", "sha256"], packages, words=3)),
            )
        )
    return tag("ul", *steps, class_="chain") if steps else None


def cost(summary: dict[str, Any]) -> Html | None:
    """Wall time and peak memory of each stage."""
    stages = summary["stages"]
    if not stages:
        return None
    total = sum(stage["seconds"] for stage in stages)
    times = [(stage["stage"], stage["seconds"], clock(stage["seconds"])) for stage in stages]
    peaks = [(stage["stage"], stage["peak_memory_bytes"]) for stage in stages if stage["peak_memory_bytes"]]
    memory = [(name, peak, size(peak)) for name, peak in peaks]
    failed = [stage["stage"] for stage in stages if stage["status"] != "SUCCEEDED"]
    return join(
        [
            tag(
                "p",
                f"{clock(total)} in {len(stages)} jobs, each with its start; this report's own is not in it.",
            ),
            tag("p", f"Not succeeded: {', '.join(failed)}.", class_="missing") if failed else None,
            tag(
                "div",
                tag("figure", bars(times, colour=1, width=480), tag("figcaption", "Wall time.")),
                tag(
                    "figure",
                    bars(memory, colour=5, width=480),
                    tag("figcaption", "Peak memory of all processes of the cluster."),
                )
                if memory
                else None,
                class_="two",
            ),
        ]
    )


def environment(summary: dict[str, Any]) -> Html:
    """The machine and the versions."""
    record = summary["environment"]
    machine = (
        f"{record['cpus']} CPUs ({record['machine']}), {size(record['memory_bytes'])} of memory, {record['system']}"
    )
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if version)
    return join([tag("p", machine), tag("p", f"Python {record['python']}, {versions}")])


def missing(summary: dict[str, Any]) -> Html | None:
    """What a full run would have had."""
    found = summary["missing"]
    if not found:
        return None
    items = (tag("li", tag("code", each["location"]), f", made by {each['made_by']}") for each in found)
    return tag("details", tag("summary", f"{len(found)} files that are not there"), tag("ul", *items))


def _step(name: str, facts: str, *lines: object) -> Html:
    body = (line if isinstance(line, Html) else tag("div", line, class_="hash") for line in lines if line)
    return tag("li", tag("strong", name), tag("div", facts, class_="quiet"), *body)


def _meets(meets: dict[str, bool]) -> Html | None:
    wrong = [name for name, right in meets.items() if not right]
    if not meets:
        return None
    if wrong:
        return tag("div", f"made from other {' and '.join(wrong)} than what lies there now", class_="missing")
    return tag("div", f"its {' and '.join(meets)} are those below", class_="quiet")
