"""Kubernetes manifests against custom resource definitions, offline, and against what Ray makes of them.

An API server drops fields that a definition does not know, without a word. Here every object is closed, so that an
unknown field is found. Rules in CEL (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

import copy
import gzip
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from jobs.clusters.definition import Definition, DefinitionError, Finding, Where, below, nearest
from jobs.clusters.ray_schema import explained, known_start_options

RULE = "kubernetes-schema"
Schemas = dict[tuple[str, str], Any]
"""(apiVersion, kind) -> validator."""


def load(paths: Sequence[Path]) -> Schemas:
    """Validators out of files of CustomResourceDefinitions (YAML, also gzipped, also a List of them).

    Raises:
        DefinitionError: a file cannot be read, or holds no CustomResourceDefinition.
    """
    found: Schemas = {}
    for path in paths:
        before = len(found)
        try:
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            documents = [value for value in yaml.load_all(text, Loader=yaml.CSafeLoader) if isinstance(value, dict)]
        except (OSError, yaml.YAMLError) as error:
            raise DefinitionError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None
        for document in [item for value in documents for item in (value.get("items") or [value])]:
            if below(document, "kind") == "CustomResourceDefinition":
                found.update(_versions(document))
        if len(found) == before:
            raise DefinitionError(f"{path}: no CustomResourceDefinition; `{how_to_get('rayclusters')}` prints one")
    return found


def how_to_get(plural: str) -> str:
    """The command that prints a definition from a Kubernetes cluster with the KubeRay operator."""
    return f"kubectl get crd {plural}.ray.io -o yaml"


def check(definition: Definition, schemas: Schemas) -> list[Finding]:
    """What the manifest has that its definition does not allow, or a note that there is no definition for it."""
    key = (str(definition.data["apiVersion"]), definition.kind)
    found = [*ray_start_params(definition), *runtime_env(definition)]
    if definition.kind in ("RayCluster", "RayJob", "RayService"):
        found += autoscaler_view(definition)
    if key in schemas:
        return found + [f for error in schemas[key].iter_errors(definition.data) for f in explained(error, RULE)]
    if key[0].startswith("ray.io/"):
        plural = definition.kind.lower() + "s"
        told = f"{definition.kind} not checked against its definition: {how_to_get(plural)} > {plural}.yaml, and --crd"
        return [*found, Finding(RULE, ("kind",), told, note=True)]
    return found


def cluster_spec(definition: Definition) -> tuple[Where, dict[str, Any]]:
    """Where in the manifest the Ray cluster is, and the cluster: RayCluster, RayJob and RayService each hold one."""
    for where in (("spec",), ("spec", "rayClusterSpec"), ("spec", "rayClusterConfig")):
        spec = below(definition.data, *where)
        if isinstance(spec, dict) and "headGroupSpec" in spec:
            return where, spec
    return ("spec",), {}


def groups(definition: Definition) -> Iterator[tuple[Where, dict[str, Any]]]:
    """The head's group, then each worker group, with their places."""
    where, spec = cluster_spec(definition)
    if isinstance(spec.get("headGroupSpec"), dict):
        yield (*where, "headGroupSpec"), spec["headGroupSpec"]
    workers = spec.get("workerGroupSpecs")
    for i, group in enumerate(workers if isinstance(workers, list) else ()):
        if isinstance(group, dict):
            yield (*where, "workerGroupSpecs", i), group


def ray_start_params(definition: Definition) -> Iterator[Finding]:
    """Parameters that `ray start` does not have: the pod would restart for ever."""
    known = {option.removeprefix("--") for option in known_start_options()}
    for where, group in groups(definition):
        for key, value in (group.get("rayStartParams") or {}).items():
            if key not in known:
                message = f"`ray start` has no option --{key}{nearest(key, known)}"
                yield Finding(RULE, (*where, "rayStartParams", key), message)
            elif not isinstance(value, str):
                yield Finding(RULE, (*where, "rayStartParams", key), f"{value!r} is no string; expected quotes")


def runtime_env(definition: Definition) -> Iterator[Finding]:
    """A RayJob's runtime environment that the operator could not read: it is YAML within a text."""
    text = below(definition.data, "spec", "runtimeEnvYAML")
    try:
        value = yaml.safe_load(text) if isinstance(text, str) else {}
    except yaml.YAMLError as error:
        yield Finding(RULE, ("spec", "runtimeEnvYAML"), f"not YAML: {' '.join(str(error).split())}")
    else:
        if not isinstance(value, dict):
            yield Finding(RULE, ("spec", "runtimeEnvYAML"), f"{type(value).__name__} instead of a mapping")


def autoscaler_view(definition: Definition) -> list[Finding]:
    """What Ray's autoscaler would stumble over when it reads the cluster."""
    where, spec = cluster_spec(definition)
    if not spec.get("enableInTreeAutoscaling"):
        return []
    try:
        as_ray_file(spec)
    except KeyError as error:
        return [Finding(RULE, where, f"Ray's autoscaler expects {error} in each group")]
    except Exception as error:  # Ray raises what it happens to stumble over
        said = str(error).splitlines()[0] if str(error) else ""
        return [Finding(RULE, where, f"Ray's autoscaler cannot use it: {type(error).__name__}: {said}")]
    return []


def as_ray_file(spec: dict[str, Any]) -> dict[str, Any]:
    """The cluster as Ray's autoscaler sees it: the content of a cluster file of Ray's schema.

    Raises:
        Exception: whatever Ray raises where a group lacks something.
    """
    from ray.autoscaler._private.kuberay import autoscaling_config

    logging.getLogger(autoscaling_config.__name__).setLevel(logging.ERROR)
    whole = {"metadata": {"name": "checked", "namespace": "checked"}, "spec": copy.deepcopy(spec)}
    made: dict[str, Any] = autoscaling_config._derive_autoscaling_config_from_ray_cr(whole)
    return made


def _versions(crd: dict[str, Any]) -> Iterator[tuple[tuple[str, str], Any]]:
    for version in below(crd, "spec", "versions") or []:
        schema = _closed(below(version, "schema", "openAPIV3Schema") or {})
        # An API server checks these itself; definitions leave them open.
        schema.setdefault("properties", {})["metadata"] = {"type": "object", "required": ["name"]}
        key = (f"{crd['spec']['group']}/{version['name']}", crd["spec"]["names"]["kind"])
        yield key, jsonschema.Draft7Validator(schema)


def _closed(schema: Any) -> Any:
    """An OpenAPI schema as a JSON schema in which objects have the listed fields only."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"], **({"pattern": schema["pattern"]} if "pattern" in schema else {})}
    made: dict[str, Any] = {}
    for key, value in schema.items():
        if key == "properties":  # a field may have any name, also that of a keyword
            made[key] = {name: _closed(field) for name, field in value.items()}
        elif key not in ("format", "description", "nullable", "default", "example"):
            made[key] = _closed(value)
    open_object = schema.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in schema
    if "properties" in schema and not open_object:
        made["additionalProperties"] = False
    if schema.get("nullable") and isinstance(schema.get("type"), str):
        made["type"] = [schema["type"], "null"]
    return made
