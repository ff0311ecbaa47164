"""A file for `ray up` against what Ray itself knows: its schema, its own checks, and the options of `ray start`.

Ray's schema is applied to the file merged with the provider's defaults, as `ray up` does it. All violations are told,
not only the first, each with its line and the key that was probably meant.
"""

from __future__ import annotations

import copy
import functools
import json
import logging
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
from jsonschema.exceptions import ValidationError

from jobs.clusters.definition import Definition, Finding, Where, nearest

RULE = "ray-schema"
START_PHASES = ("head_start_ray_commands", "worker_start_ray_commands")
# Keys of `provider` that Ray's cloud modules read and its schema, which is open there, does not list.
_PROVIDER_KEYS = (
    "external_head_ip",
    "max_retries",
    "msi_name",
    "msi_resource_group",
    "subnet_mask",
    "unique_id",
    "use_external_head_ip",
)


@functools.cache
def schema() -> dict[str, Any]:
    """Ray's schema of a cluster file."""
    import ray.autoscaler

    path = Path(str(ray.autoscaler.__file__)).parent / "ray-schema.json"
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def prepared(definition: Definition) -> dict[str, Any]:
    """The file merged with the defaults of its provider, as `ray up` uses it.

    Raises:
        Exception: of whatever kind Ray raises for a file it cannot even merge.
    """
    from ray.autoscaler._private.util import prepare_config

    logger = logging.getLogger("ray.autoscaler._private.util")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        full: dict[str, Any] = prepare_config(copy.deepcopy(definition.data))
    finally:
        logger.setLevel(before)
    return full


def check(definition: Definition) -> list[Finding]:
    """What Ray would refuse, or would not notice to be a mistake, in a file for `ray up`."""
    from ray.autoscaler._private.util import validate_config

    try:
        full = prepared(definition)
    except Exception as error:  # Ray raises what it happens to stumble over
        raw = [finding for error in _violations(definition.data) for finding in _explained(error)]
        said = str(error).splitlines()[0] if str(error) else ""
        return raw or [Finding(RULE, (), f"Ray cannot use this file: {type(error).__name__}: {said}")]
    found = [finding for error in _violations(full) for finding in _explained(error)]
    if not found:
        try:
            validate_config(full)
        except (ValueError, RuntimeError, ValidationError) as error:
            found.append(Finding(RULE, (), str(error).splitlines()[0]))
    return found + provider_keys(definition) + list(start_options(definition))


def provider_keys(definition: Definition) -> list[Finding]:
    """Keys of `provider` that look like a misspelt one: Ray would take no notice of them."""
    provider = definition.data.get("provider")
    known = {*schema()["properties"]["provider"]["properties"], *_PROVIDER_KEYS}
    return [
        Finding(RULE, ("provider", key), f"unknown key{nearest(key, known)}")
        for key in (provider if isinstance(provider, dict) and definition.provider != "external" else ())
        if key not in known and nearest(key, known)
    ]


def start_commands(data: dict[str, Any]) -> Iterator[tuple[Where, str]]:
    """The commands that start and stop Ray, with their places."""
    for phase in START_PHASES:
        for i, command in enumerate(data.get(phase) or []):
            if isinstance(command, str):
                yield (phase, i), command


def start_words(command: str) -> list[list[str]]:
    """The arguments of each `ray start` in a shell command."""
    found = []
    for part in re.split(r"&&|\|\||[;|\n]", command):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue
        calls = [i for i in range(len(words) - 1) if words[i].rpartition("/")[2] == "ray" and words[i + 1] == "start"]
        found += [words[i + 2 :] for i in calls]
    return found


@functools.cache
def known_start_options() -> frozenset[str]:
    """`--port`, `--head`, ...: what this Ray's `ray start` takes."""
    from ray.scripts.scripts import start

    return frozenset(option for parameter in start.params for option in parameter.opts if option.startswith("--"))


def start_options(definition: Definition) -> Iterator[Finding]:
    """Options that `ray start` does not have: the node's start would fail, after it was paid for."""
    for where, command in start_commands(definition.data):
        for words in start_words(command):
            for word in words:
                option = word.partition("=")[0]
                if option.startswith("--") and option not in known_start_options():
                    message = f"`ray start` has no option {option}{nearest(option, known_start_options())}"
                    yield Finding(RULE, where, message)


def _violations(data: dict[str, Any]) -> list[ValidationError]:
    errors = jsonschema.Draft7Validator(schema()).iter_errors(data)
    return sorted(errors, key=lambda error: [str(part) for part in error.absolute_path])


def _explained(error: ValidationError) -> Iterator[Finding]:
    yield from explained(error, RULE)


def explained(error: ValidationError, rule: str) -> Iterator[Finding]:
    """One violation of a JSON schema as findings: an unknown key each, a missing key each, or a wrong value."""
    where: Where = tuple(error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = set(error.schema.get("properties", {}))
        patterns = list(error.schema.get("patternProperties", {}))
        for key in error.instance:
            if key not in known and not any(re.search(pattern, str(key)) for pattern in patterns):
                yield Finding(rule, (*where, key), f"unknown key{nearest(key, known)}")
    elif error.validator == "required" and isinstance(error.instance, dict):
        for key in error.validator_value:
            if key not in error.instance:
                yield Finding(rule, where, f"'{key}' is missing")
    elif error.validator == "type":
        wanted = error.validator_value
        wanted = " or ".join(wanted) if isinstance(wanted, list) else wanted
        yield Finding(rule, where, f"{_shown(error.instance)} is no {wanted}")
    elif error.validator == "enum":
        choices = [str(choice) for choice in error.validator_value]
        hint = nearest(str(error.instance), choices) or f"; expected one of {', '.join(choices)}"
        yield Finding(rule, where, f"unknown value {_shown(error.instance)}{hint}")
    else:
        yield Finding(rule, where, error.message.splitlines()[0][:200])


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
