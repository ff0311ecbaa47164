"""Manifests against resource definitions whose objects are closed."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from jobs.clusters import kubernetes
from jobs.clusters.definition import Definition, DefinitionError, dotted

SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "format": "int32", "minimum": 0},
        "mode": {"type": "string", "enum": ["On", "Off"]},
        "port": {"x-kubernetes-int-or-string": True, "anyOf": [{"type": "integer"}, {"type": "string"}]},
        "cpu": {"x-kubernetes-int-or-string": True, "pattern": "^[0-9]+m?$"},
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "maybe": {"type": "string", "nullable": True},
        "format": {"type": "string"},
        "items": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
    },
}
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "spec": {
        "group": "toys.example",
        "names": {"kind": "Toy", "plural": "toys"},
        "versions": [
            {
                "name": "v1",
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "spec": SPEC},
                    }
                },
            }
        ],
    },
}


@pytest.fixture
def schemas(tmp_path: Path) -> kubernetes.Schemas:
    path = tmp_path / "crd.yaml"
    path.write_text(yaml.safe_dump(CRD))
    return kubernetes.load([path])


def toy(**spec: Any) -> Definition:
    data = {"apiVersion": "toys.example/v1", "kind": "Toy", "metadata": {"name": "a"}, "spec": {"size": 1, **spec}}
    return Definition(Path("toy.yaml"), "", data)


def told(definition: Definition, schemas: kubernetes.Schemas) -> list[tuple[str, str]]:
    return [(dotted(finding.where), finding.message) for finding in kubernetes.check(definition, schemas)]


@pytest.mark.parametrize(
    "spec",
    [
        {"port": 80},
        {"port": "http"},
        {"cpu": "500m"},
        {"labels": {"any": "key"}},
        {"free": {"any": {"thing": 1}}},
        {"maybe": None},
        {"format": "x"},
        {"items": [{"name": "a"}]},
    ],
)
def test_what_an_api_server_takes(spec: dict[str, Any], schemas: kubernetes.Schemas) -> None:
    assert told(toy(**spec), schemas) == []


@pytest.mark.parametrize(
    ("spec", "key", "said"),
    [
        ({"sizes": 2}, "spec.sizes", "unknown key; did you mean 'size'?"),
        ({"size": "1"}, "spec.size", "'1' is no integer"),
        ({"size": -1}, "spec.size", "-1 is less than the minimum of 0"),
        ({"mode": "on"}, "spec.mode", "unknown value 'on'; did you mean 'On'?"),
        ({"mode": "other"}, "spec.mode", "unknown value 'other'; expected one of On, Off"),
        ({"port": 1.5}, "spec.port", "1.5 is no integer or string"),
        ({"cpu": "a lot"}, "spec.cpu", "'a lot' does not match '^[0-9]+m?$'"),
        ({"labels": {"a": 1}}, "spec.labels.a", "1 is no string"),
        ({"items": [{"nam": "a"}]}, "spec.items[0].nam", "unknown key; did you mean 'name'?"),
        ({"mode": None}, "spec.mode", "None is no string"),
    ],
)
def test_what_an_api_server_refuses_or_drops(
    spec: dict[str, Any], key: str, said: str, schemas: kubernetes.Schemas
) -> None:
    assert (key, said) in told(toy(**spec), schemas)


def test_a_missing_field_and_a_missing_name(schemas: kubernetes.Schemas) -> None:
    definition = toy()
    del definition.data["spec"]["size"], definition.data["metadata"]["name"]
    assert set(told(definition, schemas)) == {("metadata", "'name' is missing"), ("spec", "'size' is missing")}


def test_definitions_as_kubectl_lists_them_and_gzipped(tmp_path: Path, schemas: kubernetes.Schemas) -> None:
    listed = tmp_path / "list.json"
    listed.write_text(json.dumps({"kind": "List", "items": [CRD]}))
    packed = tmp_path / "crd.yaml.gz"
    packed.write_bytes(gzip.compress(yaml.safe_dump(CRD).encode()))
    assert set(kubernetes.load([listed])) == set(kubernetes.load([packed])) == set(schemas)


def test_a_file_without_a_definition_is_refused_with_how_to_get_one(tmp_path: Path) -> None:
    path = tmp_path / "pod.yaml"
    path.write_text("kind: Pod\n")
    with pytest.raises(DefinitionError, match=r"pod\.yaml: no CustomResourceDefinition; `kubectl get crd rayclusters"):
        kubernetes.load([path])
    with pytest.raises(DefinitionError, match=r"absent\.yaml: cannot be read"):
        kubernetes.load([tmp_path / "absent.yaml"])


def ray_cluster(**changes: Any) -> Definition:
    pod = {"spec": {"containers": [{"name": "ray", "resources": {"limits": {"cpu": "2", "memory": "4Gi"}}}]}}
    worker = {"groupName": "w", "minReplicas": 0, "maxReplicas": 1, "rayStartParams": {}, "template": pod}
    head = {"rayStartParams": {"num-cpus": "0"}, "template": pod}
    spec = {
        "enableInTreeAutoscaling": True,
        "headGroupSpec": {**head, **changes.get("head", {})},
        "workerGroupSpecs": [{key: value for key, value in {**worker, **changes}.items() if key != "head"}],
    }
    data = {"apiVersion": "ray.io/v1", "kind": "RayCluster", "metadata": {"name": "a"}, "spec": spec}
    return Definition(Path("raycluster.yaml"), "", data)


def test_a_kind_without_its_definition_is_a_note_that_says_how_to_get_it() -> None:
    (finding,) = kubernetes.check(ray_cluster(), {})
    assert finding.note
    assert "kubectl get crd rayclusters.ray.io -o yaml > rayclusters.yaml, and --crd" in finding.message


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        (
            {"rayStartParams": {"num-gpu": "1"}},
            "workerGroupSpecs[0].rayStartParams.num-gpu",
            "did you mean 'num-gpus'?",
        ),
        ({"rayStartParams": {"num-cpus": 1}}, "workerGroupSpecs[0].rayStartParams.num-cpus", "expected quotes"),
        ({"minReplicas": "0"}, "spec", "Ray's autoscaler cannot use it"),
        ({"head": {"template": {"spec": {"containers": []}}}}, "spec", "Ray's autoscaler cannot use it"),
    ],
)
def test_what_ray_would_stumble_over(changes: dict[str, Any], key: str, said: str) -> None:
    found = [finding for finding in kubernetes.check(ray_cluster(**changes), {}) if not finding.note]
    assert any(dotted(f.where).endswith(key) and said in f.message for f in found), found


@pytest.mark.parametrize(("text", "said"), [("a: b: c", "not YAML"), ("[a]", "list instead of a mapping")])
def test_a_runtime_environment_that_nobody_can_read(text: str, said: str) -> None:
    definition = ray_cluster()
    definition.data["spec"]["runtimeEnvYAML"] = text
    (finding,) = [f for f in kubernetes.check(definition, {}) if not f.note]
    assert dotted(finding.where) == "spec.runtimeEnvYAML"
    assert said in finding.message
