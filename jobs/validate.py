"""Check cluster files without a cloud: what Ray, the cloud or KubeRay would refuse, and what they should have refused.

    python -m jobs.validate FILE... [--crd CRD.yaml ...] [--ignore LINT ...] [--json]
    python -m jobs.validate --lints

A FILE is one for `ray up`, a Kubernetes manifest, or a table of prices. Checked are Ray's own schema and the options of
`ray start`; each `node_config` against the cloud's model of a machine; manifests against the definitions given by --crd
(`kubectl get crd rayclusters.ray.io -o yaml` prints one); and the policy that --lints lists. No network, no keys.
Exit status: 0 nothing found, 1 something found, 2 a file is no cluster definition or the arguments are wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from jobs.clusters import kubernetes, lints, node_config, prices, ray_schema
from jobs.clusters.definition import Definition, DefinitionError, Finding, dotted, nearest, read
from jobs.clusters.prices import PricesError


def check(definition: Definition, schemas: kubernetes.Schemas, ignored: Collection[str] = ()) -> list[Finding]:
    """All findings about a definition, in the file's order, each line's problem once.

    What an anchor's users inherit stands in one line: it is told for the first of them.

    Args:
        definition: as `read` gives it.
        schemas: of Kubernetes kinds, as `kubernetes.load` gives them.
        ignored: names of lints that do not apply here.
    """
    found = [Finding("repeated-key", where, "stands here twice; the last one counts") for where in definition.repeated]
    if definition.kind == "ray":
        found += ray_schema.check(definition) + node_config.check(definition)
    else:
        found += kubernetes.check(definition, schemas)
    found += lints.check(definition, ignored)
    once = {(finding.rule, definition.line(finding.where), finding.message): finding for finding in reversed(found)}
    return sorted(once.values(), key=lambda finding: (definition.line(finding.where) or 0, finding.rule))


def line(definition: Definition, finding: Finding) -> str:
    """`FILE:LINE: KEY: MESSAGE [RULE]`."""
    at = definition.line(finding.where)
    place = f"{definition.path}:{at}" if at else str(definition.path)
    key = f"{dotted(finding.where)}: " if finding.where else ""
    return f"{place}: {'note: ' if finding.note else ''}{key}{finding.message} [{finding.rule}]"


def record(definition: Definition, finding: Finding) -> dict[str, Any]:
    """A finding as JSON has it."""
    return {
        "file": str(definition.path),
        "line": definition.line(finding.where),
        "key": dotted(finding.where),
        "rule": finding.rule,
        "message": finding.message,
        "note": finding.note,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m jobs.validate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("files", nargs="*", metavar="FILE", type=Path, help="for `ray up`, or a Kubernetes manifest")
    parser.add_argument(
        "--crd", nargs="+", action="extend", default=[], type=Path, help="definitions of KubeRay's kinds"
    )
    parser.add_argument("--ignore", nargs="+", action="extend", default=[], metavar="LINT", help="lints to leave out")
    parser.add_argument("--lints", action="store_true", help="list the lints, each with its reason")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args(arguments)
    names = {lint.name for lint in lints.LINTS}
    if options.lints:
        print("\n".join(f"{lint.name:28} {', '.join(lint.providers)}\n    {lint.why}" for lint in lints.LINTS))
        return 0
    for unknown in [name for name in options.ignore if name not in names]:
        print(f"jobs.validate: --ignore {unknown}: no such lint{nearest(unknown, names)}", file=sys.stderr)
        return 2
    if not options.files:
        parser.print_usage(sys.stderr)
        return 2
    try:
        schemas = kubernetes.load(options.crd)
        tables = [path for path in options.files if prices.is_table(path)]
        for path in tables:
            prices.load(path)
        definitions = [definition for path in options.files if path not in tables for definition in read(path)]
    except (DefinitionError, PricesError) as error:
        print(f"jobs.validate: {error}", file=sys.stderr)
        return 2
    found = [
        (definition, finding) for definition in definitions for finding in check(definition, schemas, options.ignore)
    ]
    wrong = [finding for _, finding in found if not finding.note]
    if options.json:
        print(json.dumps({"valid": not wrong, "findings": [record(*pair) for pair in found]}))
    else:
        for pair in found:
            print(line(*pair))
        files = len(options.files)
        print(f"{files} file{'s' * (files > 1)}: {f'{len(wrong)} to correct' if wrong else 'nothing to correct'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
