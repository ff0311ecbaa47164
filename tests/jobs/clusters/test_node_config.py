"""node_config against the clouds' models of a machine."""

import json
from pathlib import Path
from typing import Any

import pytest

from jobs.clusters import node_config
from jobs.clusters.definition import Definition, Finding, dotted

ROOM = Path(__file__).resolve().parents[3] / "cluster"
# The shape of Google's document, with what an instance has of each kind of field.
DOCUMENT = {
    "schemas": {
        "Instance": {
            "type": "object",
            "properties": {
                "machineType": {"type": "string"},
                "canIpForward": {"type": "boolean"},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "disks": {"type": "array", "items": {"$ref": "Disk"}},
            },
        },
        "Disk": {
            "type": "object",
            "properties": {
                "boot": {"type": "boolean"},
                "diskSizeGb": {"type": "string", "format": "int64"},
                "interface": {"type": "string", "enum": ["NVME", "SCSI"]},
            },
        },
    }
}


def checked(provider: str, config: dict[str, Any], document: Path | None = None) -> list[Finding]:
    data = {"provider": {"type": provider}, "available_node_types": {"w": {"node_config": config}}}
    return node_config.check(Definition(Path("x.yaml"), "", data), document)


def told(findings: list[Finding]) -> list[tuple[str, str]]:
    prefix = "available_node_types.w.node_config"
    return [(dotted(f.where).removeprefix(prefix).removeprefix("."), f.message) for f in findings]


@pytest.fixture
def document(tmp_path: Path) -> Path:
    path = tmp_path / "compute.json"
    path.write_text(json.dumps(DOCUMENT))
    return path


@pytest.mark.parametrize(
    ("config", "key", "said"),
    [
        ({"ImageIds": "ami-1"}, "ImageIds", "did you mean 'ImageId'?"),
        ({"MetadataOptions": {"HttpTokens": "Required"}}, "MetadataOptions.HttpTokens", "did you mean 'required'?"),
        ({"SecurityGroupIds": "sg-1"}, "SecurityGroupIds", "no array"),
        ({"EbsOptimized": "yes"}, "EbsOptimized", "no boolean"),
        (
            {"BlockDeviceMappings": [{"Ebs": {"VolumeSize": "200"}}]},
            "BlockDeviceMappings[0].Ebs.VolumeSize",
            "no integer",
        ),
        ({"InstanceMarketOptions": {"MarketTypes": "spot"}}, "InstanceMarketOptions.MarketTypes", "'MarketType'?"),
        ({"MaxCount": True}, "MaxCount", "True is no integer"),
    ],
)
def test_what_ec2_would_refuse(config: dict[str, Any], key: str, said: str) -> None:
    ((where, message),) = told(checked("aws", config))
    assert (where, said in message) == (key, True), message


def test_an_instance_type_newer_than_the_model_is_a_note() -> None:
    (finding,) = checked("aws", {"InstanceType": "p9.48xlarge"})
    assert finding.note
    assert checked("aws", {"InstanceType": "m6id.4xlarge", "SubnetIds": ["subnet-1"]}) == []


@pytest.mark.parametrize(
    ("config", "key", "said"),
    [
        ({"disks": [{"boots": True}]}, "disks[0].boots", "did you mean 'boot'?"),
        ({"disks": [{"boot": "true"}]}, "disks[0].boot", "no boolean"),
        ({"disks": {"boot": True}}, "disks", "no array"),
        ({"disks": [{"interface": "NVM"}]}, "disks[0].interface", "did you mean 'NVME'?"),
        ({"disks": ["boot"]}, "disks[0]", "no object"),
        ({"labels": {"team": 7}}, "labels.team", "no string"),
    ],
)
def test_what_compute_engine_would_refuse(config: dict[str, Any], key: str, said: str, document: Path) -> None:
    ((where, message),) = told(checked("gcp", {"machineType": "n2-standard-8", **config}, document))
    assert (where, said in message) == (key, True), message


def test_what_compute_engine_takes(document: Path) -> None:
    disks = [{"boot": True, "diskSizeGb": "200"}, {"diskSizeGb": 375, "interface": "NVME"}]
    config = {"machineType": "a", "disks": disks, "labels": {"team": "a"}, "sourceInstanceTemplate": "x"}
    assert checked("gcp", config, document) == []
    assert told(checked("gcp", {"disks": []}, document)) == [("", "'machineType' is missing")]
    (finding,) = checked("gcp", {"acceleratorType": "v4-8"}, document)
    assert finding.note


def test_without_the_document_it_is_said_and_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_config, "_gcp_document", lambda: None)
    (finding,) = checked("gcp", {"machineType": "a"})
    assert finding.note
    assert "pip install google-api-python-client" in finding.message


def test_the_shipped_file_against_google_s_own_document() -> None:
    from jobs.clusters.definition import read

    (definition,) = read(ROOM / "gcp.yaml")
    assert node_config.check(definition) == []
    broken = json.loads(json.dumps(definition.data))
    broken["available_node_types"]["gpu-8"]["node_config"]["scheduling"]["onHostMaintenence"] = "TERMINATE"
    (finding,) = node_config.check(Definition(definition.path, "", broken))
    assert "did you mean 'onHostMaintenance'?" in finding.message


@pytest.mark.parametrize(
    ("config", "key", "said"),
    [
        ({"azure_arm_parameters": {"vmSize": "a", "vmSizes": "a"}}, "azure_arm_parameters.vmSizes", "'vmSize'?"),
        ({"azure_arm_parameters": {"vmSize": 8}}, "azure_arm_parameters.vmSize", "8 is no string"),
        ({"azure_arm_parameters": {"vmSize": "a", "osDiskSize": "9"}}, "azure_arm_parameters.osDiskSize", "no integer"),
        ({"azure_arm_parameters": {"vmSize": "a", "nsg": "mine"}}, "azure_arm_parameters.nsg", "Ray sets this itself"),
        ({"azure_arm_parameters": {"priority": "Spot"}}, "azure_arm_parameters", "'vmSize' is missing"),
        ({"azure_arm_parameters": {"vmSize": "a"}, "vmSize": "a"}, "vmSize", "Ray reads none but"),
        ({"tags": {}}, "", "'azure_arm_parameters' is missing"),
    ],
)
def test_what_rays_template_for_azure_has_not(config: dict[str, Any], key: str, said: str) -> None:
    ((where, message),) = told(checked("azure", config))
    assert (where, said in message) == (key, True), message


def test_other_providers_are_left_alone() -> None:
    assert checked("external", {"anything": 1}) == []
    assert checked("local", {"anything": 1}) == []
