from pathlib import Path

import pytest

from tests.pipelines.curation.dedup.bench import Bench


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def new_bench(tmp_path_factory: pytest.TempPathFactory):
    """For tests whose examples share a fixture."""
    return lambda: Bench(tmp_path_factory.mktemp("bench"))
