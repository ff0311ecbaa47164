"""From a model back to the files its text came from, each step by hash, and whether the steps meet."""

from __future__ import annotations

import hashlib
from typing import Any

from pipelines import storage

_MODELS = (("export", "pretrain"), ("export-masked", "pretrain-masked"), ("export-translator", "finetune"))


def trace(location: str, sources: str) -> dict[str, Any]:
    """Models, token store, corpus and source files of a run.

    Each model has the SHA-256 of its weights, its job's fingerprint and its inputs' fingerprints; `meets` says
    whether an input's fingerprint is that of what lies there now.
    """
    tokens = _json(storage.join(location, "tokens", "manifest.json"))
    corpus = _json(storage.join(location, "corpus", "manifest.json"))
    fetched = _json(storage.join(sources, "sources.json"))
    fingerprints = {
        "tokens": _fingerprint(storage.join(location, "tokens", "manifest.json")),
        "corpus": _fingerprint(storage.join(location, "corpus", "manifest.json")),
    }
    return {
        "models": [_model(location, name, job, fingerprints) for name, job in _MODELS],
        "tokens": tokens
        and {
            "manifest": fingerprints["tokens"],
            "tokenizer": tokens["tokenizer"],
            "corpus": tokens["corpus"],
            "meets": corpus is not None and tokens["corpus"] in (storage.fingerprint(corpus), fingerprints["corpus"]),
            "shards": sum(
                len(group["files"])
                for split in tokens["splits"].values()
                for source in split["sources"].values()
                for group in source["languages"].values()
            ),
        },
        "corpus": corpus
        and {
            "manifest": fingerprints["corpus"],
            "settings": corpus["settings"],
            "documents": corpus["documents"],
            "files": [
                {"path": file["path"], "rows": file["rows"], "sha256": file["sha256"]} for file in corpus["files"]
            ],
            "inputs": len(corpus.get("inputs", [])),
        },
        "sources": fetched
        and [
            {key: source[key] for key in ("name", "path", "package", "licence", "documents", "files", "sha256")}
            for source in fetched["sources"]
        ],
        "packages": fetched
        and [{key: package[key] for key in ("name", "version", "file", "sha256")} for package in fetched["packages"]],
    }


def _model(location: str, name: str, job: str, fingerprints: dict[str, str | None]) -> dict[str, Any]:
    directory = storage.join(location, name)
    result = _json(storage.join(location, "jobs", job, "result.json")) or {}
    inputs: dict[str, str] = result.get("inputs", {})
    there = storage.exists(directory)
    weights = [path for path in storage.expand(directory) if path.endswith(".safetensors")] if there else []
    return {
        "name": name,
        "job": job,
        "there": bool(weights),
        "weights_sha256": ", ".join(hashlib.sha256(storage.read_bytes(path)).hexdigest() for path in weights) or None,
        "fingerprint": result.get("fingerprint"),
        "finished_at": result.get("finished_at"),
        "inputs": inputs,
        "meets": {key: inputs[key] == value for key, value in fingerprints.items() if key in inputs},
    }


def _json(location: str) -> Any:
    return storage.read_json(location) if storage.exists(location) else None


def _fingerprint(location: str) -> str | None:
    return storage.file_fingerprint(location) if storage.exists(location) else None
