"""Which run a directory is of: its fingerprint, and what becomes of the checkpoints of another one."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.fs as pafs

from models.training.checkpoint import Checkpoints, nothing_left
from models.training.conversion import checkpoint_in
from models.training.data import Dataset
from models.training.journal import JOURNAL
from models.training.settings import TrainingSettings
from models.training.spec import CHECKPOINTS, FINAL_SUMMARY, METRICS, PROGRESS, SAMPLES
from models.training.storage import DamagedError, open_location, read_file, remove, write_file
from models.training.workers import Workers

if TYPE_CHECKING:
    from models.network import ModelSettings

_MARK = "run"
"""Of the file that says which run a directory is of."""
_MOST_NAMED = 6
_VALIDATION = {"validate_every_steps", "validation_sequences"}
NOT_OF_THE_RUN = _VALIDATION | {
    "engine",
    "zero_stage",
    "offload",
    "micro_batch",
    "checkpoint_activations",
    "compile",
    "sequence_parallel",
    "workers",
    "device",
    "threads",
    "max_failures",
    "max_preemptions",
    "hang_seconds",
    "keep_checkpoints",
    "checkpoint_every_steps",
    "checkpoint_every_seconds",
    "milestone_every_steps",
    "log_every_steps",
    "samples",
    "trackers",
    "resume",
}
"""Settings that may change between a run's start and its continuation."""
_DEEPSPEED_ALONE = {
    "steps_per_print",
    "wall_clock_breakdown",
    "memory_breakdown",
    "dump_state",
    "timers",
    "flops_profiler",
    "comms_logger",
    "tensorboard",
    "wandb",
    "comet",
    "csv_monitor",
}
_ZERO_ALONE = {
    "stage",
    "contiguous_gradients",
    "reduce_scatter",
    "reduce_bucket_size",
    "use_multi_rank_bucket_allreduce",
    "allgather_partitions",
    "allgather_bucket_size",
    "overlap_comm",
    "round_robin_gradients",
    "offload_param",
    "offload_optimizer",
    "sub_group_size",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
    "stage3_model_persistence_threshold",
}
"""DeepSpeed's own settings of the same kind: what it says, and in what portions it moves numbers. The others, as the
precision that gradients are exchanged in, are of the run."""


class OtherRunError(RuntimeError):
    """A directory on an object store holds checkpoints of another run; the message says which settings differ."""


@dataclass(frozen=True)
class Identity:
    """Names a run by all that its result depends on; the data by its size and a few of its samples.

    Attributes:
        fingerprint: the name.
        former: the name that groundwork gave it when validation and all of DeepSpeed's settings counted.
        description: what the name stands for, setting by setting.
    """

    fingerprint: str
    former: str
    description: dict[str, Any]

    def is_named(self, name: str) -> bool:
        """Whether the name is one of this run's."""
        return name in (self.fingerprint, self.former)


def identity(
    model: ModelSettings, initial_weights: str | None, training: TrainingSettings, dataset: Dataset, seed: int
) -> Identity:
    """See `Identity`; the arguments are those of `fit`."""
    settings = training.model_dump(mode="json")
    before = {key: value for key, value in settings.items() if key not in NOT_OF_THE_RUN - _VALIDATION}
    now = {key: value for key, value in before.items() if key not in _VALIDATION}
    now["deepspeed"] = _of_the_run(training.deepspeed)
    start = None if initial_weights is None else _weights(initial_weights)
    shape = model.model_dump(mode="json")
    values = dataset.batch([0, 1, len(dataset) // 2, max(0, len(dataset) - 1)]).values()
    data = b"".join(np.ascontiguousarray(each).tobytes() for each in values)

    def named(training: dict[str, Any]) -> str:
        described = json.dumps([shape, training, start, seed, len(dataset)], sort_keys=True)
        return _hash(described.encode() + data)

    description = {"model": shape, "training": now, "seed": seed, "samples": len(dataset), "data": _hash(data)}
    description["from"] = None if start is None else f"{start[0]} ({_hash(json.dumps(start).encode())})"
    return Identity(named(now), named(before), description)


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _of_the_run(deepspeed: dict[str, Any]) -> dict[str, Any]:
    left = {key: value for key, value in deepspeed.items() if key not in _DEEPSPEED_ALONE}
    zero = {key: value for key, value in left.pop("zero_optimization", {}).items() if key not in _ZERO_ALONE}
    return left | ({"zero_optimization": zero} if zero else {})


def _weights(location: str) -> list[Any]:
    """The weights that a run starts from: where they lie, and each file's name, size and time of its last change.

    Of a run's directory those of the checkpoint that it stands for by now.
    """
    location = location.rstrip("/")
    checkpoint = None if read_file(f"{location}/config.json") is not None else checkpoint_in(location)
    files, path = open_location(checkpoint or location)
    found = files.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    weights = sorted((i.base_name, i.size, i.mtime_ns) for i in found if i.extension == "safetensors")
    return [location, *([checkpoint] if checkpoint not in (None, location) else []), *map(list, weights)]


def make_room(run_directory: str, run: Identity, resume: bool) -> str:
    """Have the directory hold what this run continues from, and nothing of another one.

    Checkpoints of another run are set aside with its records, to `checkpoints.before-<its fingerprint>`; when that
    run comes again, it finds them back. Where nobody can rename a directory (object stores), this is refused.

    Args:
        run_directory: a path or URI.
        run: that begins or continues.
        resume: False: it begins anew; the checkpoints that are there, whose ever they are, are removed.

    Returns:
        what was done with complete checkpoints and why, for a person; empty: nothing.

    Raises:
        DamagedError: there are complete checkpoints, and none of them can be read.
        OtherRunError: they are of another run, on an object store.
    """
    checkpoints = Checkpoints(f"{run_directory}/{CHECKPOINTS}", Workers())
    found, mark = checkpoints.committed(), f"{run_directory}/{_MARK}"
    if resume and not found and (unreadable := checkpoints.unreadable()):
        # They may be of this run, or of an older format: nobody but the user removes them.
        raise DamagedError(nothing_left(unreadable))
    _records_out(run_directory)
    name, description = _marked(read_file(mark))
    before, told = found[-1][1].run if found else name, list[str]()
    if not (resume and run.is_named(before)):
        names = ", ".join(location.rsplit("/", 1)[1] for location, _ in found)
        if found and resume:
            differ = _differences(description, run.description) if name == before else ""
            told.append(_set_aside(run_directory, before, names, differ or "settings or data are others than theirs"))
        elif found:
            told.append(f"begins anew, and {names} of the run before are removed: training.resume=false")
        remove(checkpoints.root)
        remove(f"{run_directory}/{JOURNAL}")
        write_file(f"{run_directory}/{PROGRESS}", b"{}")
        told += _brought_back(run_directory, run) if resume else _removed_aside(run_directory, run)
    write_file(mark, json.dumps({"run": run.fingerprint, "of": run.description}).encode())
    remove(f"{run_directory}/{os.path.dirname(FINAL_SUMMARY)}")
    return "; ".join(told)


def _marked(content: bytes | None) -> tuple[str, dict[str, Any]]:
    """The run that a directory is marked with, and its description where there is one."""
    text = (content or b"").decode()
    if not text.startswith("{"):
        return text, {}
    values = json.loads(text)
    return values["run"], values["of"]


def _differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """`training.learning_rate is 0.001 and was 0.003, …`; empty where nothing is known of the one before."""
    one, other = _flat(before), _flat(now)
    differ = [
        f"{key} is {json.dumps(other.get(key))} and was {json.dumps(one.get(key))}"
        for key in sorted(one.keys() | other.keys() if before else ())
        if one.get(key) != other.get(key)
    ]
    more = [f"{len(differ) - _MOST_NAMED} more"] if len(differ) > _MOST_NAMED else []
    return ", ".join(differ[:_MOST_NAMED] + more)


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


_RECORDS = (JOURNAL, METRICS, SAMPLES)


def _aside(path: str, name: str) -> str:
    return f"{path}/{CHECKPOINTS}.before-{name}"


def _set_aside(run_directory: str, name: str, which: str, why: str) -> str:
    """Move the run's records into the checkpoints' directory, and rename it; what is to be told of it.

    Where it is killed on the way nothing is lost: records are in either place, and the next start moves them on.
    """
    files, path = open_location(run_directory)
    if not isinstance(files, pafs.LocalFileSystem):
        raise OtherRunError(
            f"{run_directory}: holds {which} of another run: {why}; set it back to continue them, give this run "
            "another `name`, or remove them with training.resume=false or --force"
        )
    aside = _aside(path, name)
    _move(files, path, f"{path}/{CHECKPOINTS}")
    files.move(f"{path}/{CHECKPOINTS}", aside)
    return (
        f"begins anew: {why}; {which} of the run before are in {aside}, from where it continues when its settings come "
        f"back; to delete them: rm -r {aside}"
    )


def _asides(run_directory: str, run: Identity) -> list[str]:
    """Where this run was set aside; only on filesystems that rename directories."""
    files, path = open_location(run_directory)
    places = [_aside(path, name) for name in dict.fromkeys((run.fingerprint, run.former))]
    return [place for place in places if isinstance(files, pafs.LocalFileSystem) and os.path.isdir(place)]


def _brought_back(run_directory: str, run: Identity) -> list[str]:
    """Put what was set aside of this run in its place again; what is to be told of it."""
    for aside in _asides(run_directory, run):
        files, path = open_location(run_directory)
        files.move(aside, f"{path}/{CHECKPOINTS}")
        _records_out(run_directory)
        return [f"continues from what was in {aside}"]
    return []


def _removed_aside(run_directory: str, run: Identity) -> list[str]:
    """Remove what was set aside of this run; what is to be told of it."""
    asides = _asides(run_directory, run)
    for aside in asides:
        remove(aside)
    return [f"{aside} of this run is removed: training.resume=false" for aside in asides]


def _records_out(run_directory: str) -> None:
    """Move records that lie with the checkpoints to their place."""
    files, path = open_location(run_directory)
    if isinstance(files, pafs.LocalFileSystem):
        _move(files, f"{path}/{CHECKPOINTS}", path)


def _move(files: pafs.FileSystem, source: str, target: str) -> None:
    """Move a run's records."""
    for record in _RECORDS:
        if os.path.exists(f"{source}/{record}"):
            files.move(f"{source}/{record}", f"{target}/{record}")
