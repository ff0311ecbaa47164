"""`jobs.status` reads our gauges where Prometheus would."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from jobs import status
from jobs.observing import metrics, text
from tests.jobs.dashboard import Client

SCRAPED = """# HELP ray_groundwork_documents documents
ray_groundwork_documents{SessionName="s",run="a",stage="sources",reason="read"} 12.0
ray_groundwork_documents{run="a",stage="gopher",reason="a \\\\ \\"b\\"",WorkerId="w"} 3e2 1700000000000
ray_groundwork_documents{reason="kept",run="a",stage="corpus"} 9
ray_groundwork_training_loss{run="b"} NaN
ray_groundwork_training_goodput{run="b"} 0.5
ray_groundwork_training_phase_seconds{run="b",phase="data"} 1
ray_groundwork_broken{run="b" 1
ray_node_cpu_count{ip="x"} 2
"""


def test_samples_are_those_of_ours_with_our_labels() -> None:
    found = list(metrics.samples(SCRAPED))
    assert len(found) == 6
    assert found[1] == {
        "name": "groundwork_documents",
        "labels": {"run": "a", "stage": "gopher", "reason": 'a \\ "b"'},
        "value": 300.0,
    }
    whole, removed = text.by_run([sample for sample in found if sample["value"] == sample["value"]])
    assert whole == {"a": {"read": 12.0, "kept": 9.0}, "b": {"training_goodput": 0.5}}
    assert removed == {"a": {'gopher/a \\ "b"': 300.0}}


@pytest.fixture
def endpoint() -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SCRAPED.encode())

        def log_message(self, *words: Any) -> None:
            return

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def test_endpoints_are_read_and_silent_ones_are_named(endpoint: str) -> None:
    found = metrics.gauges(Client({"/api/prometheus/sd": [{"targets": [endpoint, "127.0.0.1:1"]}]}))
    assert (len(found["samples"]), found["answered"], found["silent"]) == (6, 1, ["127.0.0.1:1"])
    shown = text.lines({**status.state(Client({})), "gauges": found})
    assert "  a: documents read 12, kept 9" in shown
    assert "  1 endpoints do not answer: 127.0.0.1:1" in shown
