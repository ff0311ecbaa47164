import time
from collections.abc import Iterator

import pytest

from jobs import head as heads
from tests.cluster.states import alive_nodes


@pytest.fixture(scope="session")
def head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[heads.Head]:
    """A head with a token, for tests that leave no node, job or setting behind."""
    with heads.running(tmp_path_factory.mktemp("head"), cpus=2, object_store_bytes=100_000_000) as head:
        deadline = time.monotonic() + 300
        while not alive_nodes(head):
            assert time.monotonic() < deadline, "the head does not know its own node"
            time.sleep(0.1)
        yield head
