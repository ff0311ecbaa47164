"""What a head's dashboard says of its cluster."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from jobs.head import Head


def ask(head: Head, path: str) -> Any:
    """The JSON answer to a GET with the head's token."""
    request = urllib.request.Request(head.dashboard + path, headers={"Authorization": f"Bearer {head.token}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def alive_nodes(head: Head) -> list[dict[str, Any]]:
    """The nodes that Ray counts as alive; none for a moment after the head's start."""
    filters = "filter_keys=state&filter_predicates=%3D&filter_values=ALIVE"
    return ask(head, f"/api/v0/nodes?limit=1000&detail=1&{filters}")["data"]["result"]["result"]
