"""A network's weights in safetensors files, written and read without ever holding more than asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from models.network.settings import ModelSettings

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_OUTPUT, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
_SHOWN = 5


def parameter_shapes(settings: ModelSettings) -> dict[str, tuple[int, ...]]:
    """What an export holds: names and shapes, in the network's order; a tied output matrix is not among them."""
    from models.network.transformer import Transformer

    with torch.device("meta"):
        shapes = {name: tuple(weight.shape) for name, weight in Transformer(settings).state_dict().items()}
    if settings.tied_embeddings:
        del shapes[_OUTPUT]
    return shapes


def check(found: Mapping[str, tuple[int, ...] | None], expected: Mapping[str, tuple[int, ...]], where: str) -> None:
    """Raise ValueError unless names and shapes are the expected ones; a shape of None is not looked at."""
    problems = [f"{name} is missing" for name in expected.keys() - found.keys()]
    problems += [f"{name} is unknown" for name in found.keys() - expected.keys()]
    problems += [
        f"{name} is {found[name]}, expected {expected[name]}"
        for name in expected.keys() & found.keys()
        if found[name] not in (None, expected[name])
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:_SHOWN])
        raise ValueError(f"{where}: not the weights of this network: {shown} ({len(problems)} in all)")


def write(weights: Iterable[tuple[str, Tensor]], directory: Path, max_shard_bytes: int) -> torch.dtype:
    """Write one file, or several of at most so many bytes each and an index; a larger tensor has a file to itself.

    Args:
        weights: (name, tensor on the CPU), taken one by one: no more than a file's worth is held.
        directory: where to.
        max_shard_bytes: of tensors a file.

    Returns:
        The type of the first, the embedding: norms may be kept more precisely than matrices.
    """
    files: list[list[str]] = []
    held: dict[str, Tensor] = {}
    total = size = 0
    dtype: torch.dtype | None = None
    for name, weight in weights:
        dtype = dtype or weight.dtype
        if held and size + weight.nbytes > max_shard_bytes:
            files.append(_save(held, directory / f"{len(files)}.part"))
            held, size = {}, 0
        held[name] = weight
        size += weight.nbytes
        total += weight.nbytes
    files.append(_save(held, directory / f"{len(files)}.part"))
    if len(files) == 1:
        (directory / "0.part").rename(directory / _SINGLE)
    else:
        _write_index(files, total, directory)
    assert dtype is not None
    return dtype


def _write_index(files: list[list[str]], total: int, directory: Path) -> None:
    index: dict[str, str] = {}
    for number, names in enumerate(files):
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (directory / f"{number}.part").rename(directory / file)
        index |= dict.fromkeys(names, file)
    content = {"metadata": {"total_size": total}, "weight_map": index}
    (directory / _INDEX).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _save(weights: dict[str, Tensor], path: Path) -> list[str]:
    from safetensors.torch import save_file

    save_file(weights, path, metadata={"format": "pt"})
    # safetensors makes it readable by its owner alone; other workers' accounts read it too.
    path.chmod(0o644)
    return list(weights)


def read(directory: Path, settings: ModelSettings, where: str) -> dict[str, Tensor]:
    """The weights of a directory, mapped from its files: pages are read when they are used.

    Arguments and errors are those of `find`.
    """
    from safetensors import safe_open

    homes = find(directory, settings, where)
    weights: dict[str, Tensor] = {}
    for path in sorted(set(homes.values())):
        with safe_open(path, "pt") as file:
            weights |= {name: file.get_tensor(name) for name, home in homes.items() if home == path}
    return weights


def read_one(name: str, path: Path) -> Tensor:
    """One weight, mapped from its file as long as it is held."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.get_tensor(name)


def find(directory: Path, settings: ModelSettings, where: str) -> dict[str, Path]:
    """The file of each weight of a directory; a tied output matrix, which it may hold too, is left out.

    Args:
        directory: a local one.
        settings: the shape they must have.
        where: what errors call the directory.

    Raises:
        ValueError: they have not; or the index names what is not there; or two tied matrices differ.
        FileNotFoundError: there are none in safetensors.
    """
    from safetensors import safe_open

    homes = dict(_homes(directory, where))
    shapes: dict[str, tuple[int, ...] | None] = {}
    for path in sorted(set(homes.values())):
        with safe_open(path, "pt") as file:
            there = set(file.keys())
            for name in [name for name, home in homes.items() if home == path]:
                if name not in there:
                    raise ValueError(f"{where}/{path.name}: has no {name}, which {_INDEX} says")
                shapes[name] = tuple(file.get_slice(name).get_shape())
    twice = settings.tied_embeddings and shapes.pop(_OUTPUT, None) is not None
    check(shapes, parameter_shapes(settings), where)
    if twice and not torch.equal(read_one(_OUTPUT, homes.pop(_OUTPUT)), read_one(_EMBEDDING, homes[_EMBEDDING])):
        raise ValueError(f"{where}: {_OUTPUT} differs from {_EMBEDDING}, and config.json has tie_word_embeddings true")
    return homes


def _homes(directory: Path, where: str) -> Iterator[tuple[str, Path]]:
    """(name, file) of each weight; tables of rotary positions, which old exports hold, are left out."""
    from safetensors import safe_open

    if (directory / _INDEX).exists():
        index = json.loads((directory / _INDEX).read_text(encoding="utf-8"))["weight_map"]
        missing = sorted({file for file in index.values() if not (directory / file).exists()})
        if missing:
            raise FileNotFoundError(f"{where}: {missing[0]} is not there, which {_INDEX} names")
    elif (directory / _SINGLE).exists():
        with safe_open(directory / _SINGLE, "pt") as file:
            index = dict.fromkeys(file.keys(), _SINGLE)
    else:
        raise FileNotFoundError(f"{where}: neither {_SINGLE} nor {_INDEX} is there")
    for name, file in index.items():
        if not name.endswith("rotary_emb.inv_freq"):
            yield name, directory / file
