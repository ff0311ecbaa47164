"""`node_config` against the cloud's own model of a machine; Ray hands it on unread, so a mistake shows at the launch.

| cloud | model | where it is from |
| --- | --- | --- |
| AWS | the request RunInstances | botocore |
| GCP | the resource Instance of compute v1 | the discovery document in google-api-python-client |
| Azure | the parameters of Ray's template of a machine | Ray |
"""

from __future__ import annotations

import functools
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobs.clusters.definition import Definition, Finding, Where, nearest

RULE = "node-config"
INSTALL_GCP = "pip install google-api-python-client"
# Ray spreads nodes over these itself; EC2's request has one.
_RAYS_AWS_KEYS = ("SubnetIds",)
_RAYS_GCP_KEYS = ("sourceInstanceTemplate", "networkConfig")
_RAYS_AZURE_KEYS = ("azure_arm_parameters", "tags")
_SET_BY_RAY_ON_AZURE = (
    "adminUsername",
    "msi",
    "nsg",
    "provisionPublicIp",
    "publicKey",
    "subnet",
    "vmCount",
    "vmName",
    "vmTags",
    "zones",
)


def check(definition: Definition, gcp_document: Path | None = None) -> list[Finding]:
    """Unknown fields, wrong types and unknown values in the node types' `node_config`.

    Args:
        definition: a file for `ray up`; of a provider other than the three, nothing is found.
        gcp_document: the discovery document (default: google-api-python-client's).
    """
    types = definition.data.get("available_node_types")
    groups = [
        (("available_node_types", name, "node_config"), group["node_config"])
        for name, group in (types.items() if isinstance(types, dict) else ())
        if isinstance(group, dict) and isinstance(group.get("node_config"), dict)
    ]
    if definition.provider == "aws":
        return [finding for where, config in groups for finding in aws(config, where)]
    if definition.provider == "azure":
        return [finding for where, config in groups for finding in azure(config, where)]
    if definition.provider == "gcp":
        path = gcp_document or _gcp_document()
        if path is None:
            told = f"node_config was not checked against Compute Engine's model: {INSTALL_GCP}"
            return [Finding(RULE, ("available_node_types",), told, note=True)]
        schemas = _schemas(path)
        return [finding for where, config in groups for finding in gcp(config, where, schemas)]
    return []


def aws(config: dict[str, Any], where: Where) -> Iterator[Finding]:
    """A node's request to EC2."""
    shape = _run_instances()
    yield from _aws({key: value for key, value in config.items() if key not in _RAYS_AWS_KEYS}, shape, where)


def gcp(config: dict[str, Any], where: Where, schemas: dict[str, Any]) -> Iterator[Finding]:
    """A node as a Compute Engine instance; `schemas` is the discovery document's part of that name."""
    if "machineType" not in config:
        if "acceleratorType" in config or "acceleratorConfig" in config:
            yield Finding(RULE, where, "a TPU node: not checked", note=True)
        else:
            yield Finding(RULE, where, "'machineType' is missing")
        return
    own = {key: value for key, value in config.items() if key not in _RAYS_GCP_KEYS}
    yield from _gcp(own, {"$ref": "Instance"}, schemas, where)


def azure(config: dict[str, Any], where: Where) -> Iterator[Finding]:
    """A node's parameters for Ray's template."""
    for key in config:
        if key not in _RAYS_AZURE_KEYS:
            yield Finding(RULE, (*where, key), f"Ray reads none but {' and '.join(_RAYS_AZURE_KEYS)} here")
    parameters = config.get("azure_arm_parameters")
    if not isinstance(parameters, dict):
        yield Finding(RULE, where, "'azure_arm_parameters' is missing")
        return
    where = (*where, "azure_arm_parameters")
    known = _azure_parameters()
    if "vmSize" not in parameters:
        yield Finding(RULE, where, "'vmSize' is missing")
    for key, value in parameters.items():
        if key in _SET_BY_RAY_ON_AZURE:
            yield Finding(RULE, (*where, key), "Ray sets this itself, whatever stands here")
        elif key not in known:
            yield Finding(RULE, (*where, key), f"Ray's template has no such parameter{nearest(key, known)}")
        elif not _is(value, known[key]):
            yield Finding(RULE, (*where, key), f"{value!r} is no {known[key]}")


@functools.cache
def _run_instances() -> Any:
    from botocore.session import get_session

    return get_session().get_service_model("ec2").operation_model("RunInstances").input_shape


def _aws(value: Any, shape: Any, where: Where) -> Iterator[Finding]:
    if shape.type_name == "structure" and isinstance(value, dict):
        for key, below in value.items():
            if key in shape.members:
                yield from _aws(below, shape.members[key], (*where, key))
            else:
                yield Finding(RULE, (*where, key), f"EC2 knows no such field{nearest(key, shape.members)}")
    elif shape.type_name == "list" and isinstance(value, list):
        for i, below in enumerate(value):
            yield from _aws(below, shape.member, (*where, i))
    elif shape.type_name not in ("map", "blob", "timestamp"):
        wanted = {"structure": "object", "list": "array", "long": "integer", "double": "number", "float": "number"}
        kind = wanted.get(shape.type_name, shape.type_name)
        if not _is(value, kind):
            yield Finding(RULE, where, f"{value!r} is no {kind}")
        elif kind == "string" and shape.enum and value not in shape.enum:
            new = shape.name == "InstanceType"
            said = "is newer than this botocore, or misspelt" if new else "is none of EC2's values"
            yield Finding(RULE, where, f"{value!r} {said}{nearest(value, shape.enum)}", note=new)


def _gcp_document() -> Path | None:
    package = importlib.util.find_spec("googleapiclient")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).parent / "discovery_cache" / "documents" / "compute.v1.json"
    return path if path.is_file() else None


@functools.cache
def _schemas(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(path.read_text())["schemas"]
    return loaded


def _gcp(value: Any, schema: dict[str, Any], schemas: dict[str, Any], where: Where) -> Iterator[Finding]:
    if "$ref" in schema:
        schema = schemas[schema["$ref"]]
    kind = schema.get("type", "any")
    # 64-bit numbers travel as text in Google's JSON; Ray's client sends either.
    if not (_is(value, kind) or (schema.get("format") in ("int64", "uint64") and _is(value, "integer"))):
        yield Finding(RULE, where, f"{_short(value)} is no {kind}")
    elif kind == "object":
        fields, rest = schema.get("properties", {}), schema.get("additionalProperties")
        for key, below in value.items():
            if key in fields or rest is not None:
                yield from _gcp(below, fields.get(key, rest), schemas, (*where, key))
            else:
                yield Finding(RULE, (*where, key), f"Compute Engine knows no such field{nearest(key, fields)}")
    elif kind == "array":
        for i, below in enumerate(value):
            yield from _gcp(below, schema["items"], schemas, (*where, i))
    elif "enum" in schema and value not in schema["enum"]:
        yield Finding(RULE, where, f"{value!r} is none of Compute Engine's values{nearest(value, schema['enum'])}")


@functools.cache
def _azure_parameters() -> dict[str, str]:
    import ray.autoscaler

    template = Path(str(ray.autoscaler.__file__)).parent / "_private" / "_azure" / "azure-vm-template.json"
    kinds = {"int": "integer", "bool": "boolean", "securestring": "string"}
    parameters = json.loads(template.read_text())["parameters"]
    found = {name: kinds.get(value["type"], value["type"]) for name, value in parameters.items()}
    return {**found, "availability_zone": "string"}


def _is(value: Any, kind: str) -> bool:
    wanted: dict[str, type | tuple[type, ...]] = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if isinstance(value, bool):
        return kind in ("boolean", "any")
    return kind not in wanted or isinstance(value, wanted[kind])


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
