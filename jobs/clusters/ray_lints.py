"""Policy for files of `ray up`, whatever the provider. Each lint yields (where, what is wrong and what to write)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from jobs.clusters.definition import Definition, Where, below, leaves
from jobs.clusters.nodes import groups, head, workers
from jobs.clusters.ray_schema import START_PHASES, prepared, start_commands, start_words

Lines = Iterator[tuple[Where, str]]

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RAY_COMMAND = re.compile(
    r"(?:^|[\s;&|(])(?P<set>(?:\w+=\S+\s+)*)(?:\S*/)?ray\s+(?P<verb>start|stop|status|job|exec)\b"
)
_TOKEN_MODE = re.compile(r"\bRAY_AUTH_MODE=[\"']?token\b")


def starts(definition: Definition) -> list[tuple[Where, str]]:
    """The start commands that `ray up` would run: the file's, else those of Ray's defaults for the provider."""
    if not all(phase in definition.data for phase in START_PHASES):
        try:
            return list(start_commands(prepared(definition)))
        except Exception:  # the schema's check tells what Ray stumbles over
            pass
    return list(start_commands(definition.data))


def head_takes_work(definition: Definition) -> Lines:
    """A task on the head can take the memory that the whole cluster's bookkeeping lives in."""
    group = head(definition)
    if group is not None:
        cpus = below(group.data, "resources", "CPU")
        if cpus != 0:
            said = "its CPUs are found by Ray" if cpus is None else f"it has {cpus} CPUs"
            yield (*group.where, "resources"), f"the head takes work ({said}): write resources: {{CPU: 0}}"
        if group.gpus:
            yield (*group.where, "resources"), "the head has GPUs: trials would be placed on it"
    else:
        for where, command in starts(definition):
            for words in start_words(command):
                missing = [option for option in ("--num-cpus=0", "--num-gpus=0") if option not in words]
                if "--head" in words and missing:
                    yield where, f"the head takes work: give its `ray start` {' '.join(missing)}"


def head_on_spot(definition: Definition) -> Lines:
    """With the head, every job's driver is gone."""
    group = head(definition)
    if group is not None and group.spot:
        yield group.config_where, "the head is a spot machine: take it on demand"


def dashboard_open(definition: Definition) -> Lines:
    """The dashboard's job interface runs any code it is sent, and it speaks plain HTTP."""
    for where, command in starts(definition):
        for words in start_words(command):
            host = _option(words, "--dashboard-host")
            if "--head" in words and host is not None and host not in _LOOPBACK:
                message = (
                    f"the dashboard listens on {host}: --dashboard-host=127.0.0.1, and `ray dashboard` to reach it"
                )
                yield where, message


def ray_without_token(definition: Definition) -> Lines:
    """Ray's commands disagree about the default of authentication (2.60), so every one of them is told."""
    phases = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
    others = [
        ((phase, i), command)
        for phase in phases
        for i, command in enumerate(definition.data.get(phase) or [])
        if isinstance(command, str)
    ]
    for where, command in starts(definition) + others:
        for call in _RAY_COMMAND.finditer(command):
            exported = re.search(r"\bexport\s+RAY_AUTH_MODE=[\"']?token\b", command[: call.start()])
            if not (exported or _TOKEN_MODE.search(call["set"])):
                yield where, f"`ray {call['verb']}` without RAY_AUTH_MODE=token before it"


def token_not_brought(definition: Definition) -> Lines:
    """With token authentication, Ray does not start on a node that has no token."""
    mounts = definition.data.get("file_mounts")
    brought = isinstance(mounts, dict) and any("auth_token" in str(place) for place in mounts)
    by_command = any("auth_token" in str(leaf) or "RAY_AUTH_TOKEN" in str(leaf) for _, leaf in leaves(definition.data))
    if not brought and not by_command:
        yield ("file_mounts",), 'no token reaches the nodes: "~/.ray/auth_token": ~/.ray/auth_token'


def no_spill_directory(definition: Definition) -> Lines:
    """Ray spills below /tmp by default: a full system disk ends the node."""
    for where, command in starts(definition):
        for words in start_words(command):
            if _option(words, "--object-spilling-directory") is None:
                yield where, "objects spill to the system disk: --object-spilling-directory=$HOME/scratch"


def few_open_files(definition: Definition) -> Lines:
    """A raylet holds a socket for each worker and each transfer; 1024, the usual limit, is soon used up."""
    for where, command in starts(definition):
        if start_words(command) and "ulimit -n" not in command:
            yield where, "`ray start` under the shell's limit of open files: ulimit -n 65536 before it"


def no_limit(definition: Definition) -> Lines:
    """A group without a limit of its own may become as many machines as the whole cluster may have."""
    for group in workers(definition):
        if "max_workers" not in group.data:
            yield group.where, "no max_workers: how many of these may cost money at once?"


def fractional_resources(definition: Definition) -> Lines:
    """The autoscaler counts whole units; part of a CPU or GPU is what a task asks for, not what a node has."""
    for group in groups(definition):
        resources = group.data.get("resources")
        for key, value in resources.items() if isinstance(resources, dict) else ():
            if isinstance(value, float):
                yield (*group.where, "resources", key), f"{value} of {key}: whole numbers"
    for where, command in starts(definition):
        for option, number in re.findall(r"--(num-cpus|num-gpus)[= ](\d*\.\d+)", command):
            yield where, f"--{option}={number}: whole numbers"


def unlabelled(definition: Definition) -> Lines:
    """Jobs select nodes by the labels `role` and `market`."""
    for group in workers(definition):
        if not below(group.data, "labels", "role"):
            yield group.where, "no label role: labels: {role: data} where Ray Data works, {role: train} with GPUs"
        if group.spot is not None:
            market = "spot" if group.spot else "on-demand"
            told = below(group.data, "labels", "market")
            if told != market:
                yield group.where, f"labels.market is {told}, and its machines are {market}"


def no_spot_watcher(definition: Definition) -> Lines:
    """Ray does not ask the cloud for spot notices: without the watcher, a node goes without a checkpoint."""
    spot = [group.name for group in workers(definition) if group.spot]
    commands = " ".join(command for where, command in starts(definition) if where[0] == START_PHASES[1])
    if spot and "spot_watch.py" not in commands:
        message = f"{', '.join(spot)}: no spot watcher; end with: python ~/groundwork-node/spot_watch.py --daemon"
        yield (START_PHASES[1],), message


def training_across_zones(definition: Definition) -> Lines:
    """Gradients between zones are slow, and each byte is billed."""
    training = [group for group in workers(definition) if group.gpus]
    zones = below(definition.data, "provider", "availability_zone")
    several = isinstance(zones, str) and "," in zones
    anywhere = zones is None or (definition.provider == "azure" and str(zones).lower() in ("auto", "none"))
    for group in training:
        parameters = group.config.get("azure_arm_parameters")
        own = parameters.get("availability_zone") if isinstance(parameters, dict) else None
        subnets = group.config.get("SubnetIds")
        if isinstance(subnets, list) and len(subnets) > 1:
            yield (*group.config_where, "SubnetIds"), f"{group.name} may come up in {len(subnets)} subnets: one"
        elif own is None and (several or anywhere) and not (isinstance(subnets, list) or "SubnetId" in group.config):
            said = "in any zone" if anywhere else f"in each of {zones}"
            yield ("provider", "availability_zone"), f"{group.name} may come up {said}: name one"
        elif own is not None and ("," in str(own) or str(own).lower() in ("auto", "none")):
            yield (*group.config_where, "azure_arm_parameters", "availability_zone"), f"{own}: name one zone"


def stopped_nodes_kept(definition: Definition) -> Lines:
    """A stopped machine's disks are billed on, and a stopped spot machine may never start again."""
    kept = below(definition.data, "provider", "cache_stopped_nodes")
    if kept or (kept is None and definition.provider in ("aws", "azure")):
        said = "cache_stopped_nodes is on" + ("" if kept else " by default")
        yield ("provider", "cache_stopped_nodes"), f"{said}: nodes are stopped, not deleted; write false"


def _option(words: list[str], name: str) -> str | None:
    for i, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2]
        if word == name and i + 1 < len(words):
            return words[i + 1]
    return None
