"""The nodes of `cluster/laptop.yaml`: further Ray nodes of this machine, each with its own copy of what jobs send."""

from __future__ import annotations

import threading
import uuid
from typing import Any

from ray._private import ray_constants
from ray.autoscaler._private.fake_multi_node.node_provider import FakeMultiNodeProvider


class LocalNodes(FakeMultiNodeProvider):
    """Ray's provider, whose nodes all unpack a job's working directory at one place.

    A node that comes removes what is there and unpacks it anew, while processes of other nodes work in it: these are in
    a directory that is gone. Here each node has a place of its own, as it would on a machine of its own.
    """

    _naming = threading.Lock()

    def _create_node_with_resources_and_labels(self, *arguments: Any) -> None:
        usual = ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME
        with self._naming:
            ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = f"{usual}_{uuid.uuid4().hex[:8]}"
            try:
                super()._create_node_with_resources_and_labels(*arguments)
            finally:
                ray_constants.DEFAULT_RUNTIME_ENV_DIR_NAME = usual
