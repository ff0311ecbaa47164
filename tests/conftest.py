import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from jobs import head

# Machines are shared: how long an example takes says nothing.
settings.register_profile("shared", deadline=None)
settings.load_profile("shared")


@pytest.fixture(autouse=True)
def rays_environment_is_restored() -> Iterator[None]:
    """A job's `main` sets Ray's authentication for its process; another test must not inherit it."""
    before = {key: value for key, value in os.environ.items() if key.startswith("RAY_")}
    yield
    for key in [key for key in os.environ if key.startswith("RAY_")]:
        del os.environ[key]
    os.environ.update(before)


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray of this process, of two CPUs."""
    import ray

    before = {name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_ADDRESS")}
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ.pop("RAY_ADDRESS", None)
    head.init(num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
    yield
    ray.shutdown()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
