"""Torch's process group among Ray Train's workers, made by functions of Ray's that only the workers import.

Ray's own `TorchConfig` makes the same one, and imports torch in the driver and then in the controller: on two cores
seconds each, one after the other, before a worker is asked for.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from typing import Any, Literal

from ray.train.backend import Backend, BackendConfig

_LEAVING_SECONDS = 30.0
_JOINING_SECONDS = 1800


@dataclass
class ProcessGroup(BackendConfig):
    """What Ray Train's trainer takes as `backend_config`.

    It names no framework: the controller would be told torch's version in a class of torch's, and import it all.

    Args:
        backend: of torch.distributed.
    """

    backend: Literal["nccl", "gloo"]

    @property
    def backend_cls(self) -> type[Backend]:
        """See Ray's."""
        return _OnWorkers

    @property
    def train_func_context(self) -> Any:
        """See Ray's."""
        return _on_its_device

    def to_dict(self) -> dict[str, Any]:
        """See Ray's."""
        return {"backend": self.backend}


class _OnWorkers(Backend):
    share_cuda_visible_devices = True

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        import ray
        from ray.train._internal.utils import get_address_and_port

        address, port = worker_group.execute_single(0, get_address_and_port)
        place, world = {"MASTER_ADDR": address, "MASTER_PORT": str(port)}, len(worker_group)
        joining = [
            worker_group.execute_single_async(rank, _join, backend_config.backend, rank, world, place)
            for rank in range(world)
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        import ray

        with contextlib.suppress(ray.exceptions.GetTimeoutError):
            ray.get(worker_group.execute_async(_leave, several=len(worker_group) > 1), timeout=_LEAVING_SECONDS)


def _join(backend: str, rank: int, world: int, place: dict[str, str]) -> None:
    from ray.train.torch.config import _set_torch_distributed_env_vars, _setup_torch_process_group

    os.environ.update(place)
    _set_torch_distributed_env_vars()
    _setup_torch_process_group(backend, rank, world, "env://", _JOINING_SECONDS)


def _leave(several: bool) -> None:
    from ray.train.torch.config import _shutdown_torch

    _shutdown_torch(destroy_process_group=several)


def _on_its_device() -> contextlib.AbstractContextManager[None]:
    from ray.train.torch.config import TorchConfigContextManager

    return TorchConfigContextManager()
