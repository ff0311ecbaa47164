"""Policy for what stands anywhere in a definition: addresses, secrets, installs. No finding repeats a secret."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from typing import Any

import yaml

from jobs.clusters import lock
from jobs.clusters.definition import Definition, Where, below, leaves

Lines = Iterator[tuple[Where, str]]

_RUNTIME_ENV = ("spec", "runtimeEnvYAML")
_WORLD = ("0.0.0.0/0", "::/0")
_SECRET_SHAPES = {
    "an AWS access key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a private key": r"-----BEGIN [A-Z ]*PRIVATE KEY",
    "a GitHub token": r"\bgh[pousr]_[A-Za-z0-9]{30,}|\bgithub_pat_[A-Za-z0-9_]{30,}",
    "a Hugging Face token": r"\bhf_[A-Za-z0-9]{30,}",
    "a Google API key": r"\bAIza[0-9A-Za-z_-]{35}",
    "an API key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a Slack token": r"\bxox[abpr]-[A-Za-z0-9-]{10,}",
    "a password in a URL": r"://[^/\s:@$]+:[^/\s:@$]+@",
}
_SECRET_NAME = re.compile(
    r"(?i)(?:^|[_.-])(?:password|passwd|passphrase|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|credentials)$"
)
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)=(?P<value>\"[^\"]*\"|'[^']*'|[^\s;&|]+)")
# A path, or what a shell fills in, is where a secret is, not the secret.
_REFERENCE = re.compile(r"^[\"']?(?:\$|~|/|\.|<|\{\{|$)")
_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?(?P<rest>.*)$")
_OPTIONS_WITH_VALUES = (
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-i",
    "--index-url",
    "--extra-index-url",
    "-f",
    "--find-links",
    "-t",
    "--target",
    "--python",
    "-e",
    "--editable",
)


def open_to_the_world(definition: Definition) -> Lines:
    """Whoever reaches Ray's ports with the token, or an SSH port with a key, runs code on the cluster."""
    for where, leaf in leaves(definition.data):
        if isinstance(leaf, str) and leaf.strip() in _WORLD:
            yield where, f"{leaf} is every address: yours only"


def secret_in_file(definition: Definition) -> Lines:
    """A definition is copied to the nodes, shown by the dashboard and committed."""
    for where, leaf, around in _strings(definition):
        found = _secret(where, leaf, around)
        if found:
            yield where, f"{found}: bring it by a mounted file, an identity, or a secret store"


def unpinned_install(definition: Definition) -> Lines:
    """A node that starts next week gets other packages than its neighbours."""
    for where, command in _commands(definition):
        for word in installed(command):
            if not _pinned(word):
                yield where, f"pip install of {word} at no fixed version: {word.split('@')[0].strip()}==VERSION"


def other_version(definition: Definition) -> Lines:
    """Ray refuses nodes of another version than the head's, and a pickle may not cross versions of anything."""
    wanted = lock.pinned()
    for where, command in _commands(definition):
        for word in installed(command):
            name, _, version = word.partition("==")
            known = wanted.get(lock.normal(name.split("[")[0]))
            if version and known and version.strip() != known:
                yield where, f"{word}, and cluster/requirements.txt has {known}"
    if definition.provider == "kuberay":
        from jobs.clusters.kubernetes import cluster_spec

        where, spec = cluster_spec(definition)
        if spec and spec.get("rayVersion") != wanted["ray"]:
            message = f"rayVersion is {spec.get('rayVersion')}, and cluster/requirements.txt has {wanted['ray']}"
            yield (*where, "rayVersion"), message


def installed(command: str) -> list[str]:
    """What the `pip install`s in a shell command would install: requirements, without options and local files."""
    found: list[str] = []
    for part in re.split(r"&&|\|\||[;|\n]", command):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        for i in range(len(words) - 1):
            if re.fullmatch(r"(?:.*/)?pip[0-9.]*", words[i]) and words[i + 1] == "install":
                found += _requirements(words[i + 2 :])
    return found


def _requirements(words: list[str]) -> Iterator[str]:
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = word in _OPTIONS_WITH_VALUES
        elif not re.match(r"[./~$]", word):
            yield word


def _pinned(requirement: str) -> bool:
    if "://" in requirement:
        exact = re.search(r"@[0-9a-f]{40}\b|#sha256=[0-9a-f]{64}", requirement) is not None
        return exact or (requirement.endswith(".whl") and "/latest/" not in requirement)
    match = _REQUIREMENT.match(requirement)
    return match is not None and match["rest"].strip().startswith("==") and "*" not in match["rest"]


def _commands(definition: Definition) -> Iterator[tuple[Where, str]]:
    """Scalars that may be commands, and the `pip` lists of runtime environments as such."""
    for where, leaf, _ in _strings(definition):
        if "install" in leaf:
            yield where, leaf
    packages = below(_runtime_env(definition), "pip")
    packages = packages.get("packages") if isinstance(packages, dict) else packages
    if isinstance(packages, list):
        yield (*_RUNTIME_ENV, "pip"), shlex.join(["pip", "install", *map(str, packages)])


def _strings(definition: Definition) -> Iterator[tuple[Where, str, Any]]:
    """Every text in a definition, with what is around it: the value it is of, or a variable's entry."""
    for where, leaf in leaves(definition.data):
        if isinstance(leaf, str):
            yield where, leaf, below(definition.data, *where[:-1])
    for where, leaf in leaves(_runtime_env(definition)):
        if where:
            yield (*_RUNTIME_ENV, *where), str(leaf), None


def _runtime_env(definition: Definition) -> Any:
    """A RayJob's runtime environment, which is YAML within a text."""
    text = below(definition.data, *_RUNTIME_ENV)
    with contextlib.suppress(yaml.YAMLError):
        return yaml.safe_load(text) if isinstance(text, str) else None
    return None


def _secret(where: Where, leaf: str, entry: Any) -> str | None:
    for shape, pattern in _SECRET_SHAPES.items():
        if re.search(pattern, leaf):
            return f"{shape} stands here"
    name = next((part for part in reversed(where) if isinstance(part, str)), "")
    if name == "value" and isinstance(entry, dict):  # a variable of a container, an item of metadata
        name = str(entry.get("name") or entry.get("key") or "")
    if _SECRET_NAME.search(name) and leaf and not _REFERENCE.match(leaf) and "auth_token" not in name:
        return f"the value of {name} stands here"
    for match in _ASSIGNMENT.finditer(leaf):
        if _SECRET_NAME.search(match["name"]) and not _REFERENCE.match(match["value"]):
            return f"the value of {match['name']} stands here"
    return None
