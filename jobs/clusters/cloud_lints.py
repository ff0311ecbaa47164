"""Policy for one cloud or launcher each: images, identities, networks, disks. Lints yield (where, what is wrong)."""

from __future__ import annotations

from collections.abc import Iterator

from jobs.clusters.definition import Definition, Where, below
from jobs.clusters.nodes import Group, groups, head, workers

Lines = Iterator[tuple[Where, str]]


def aws_image(definition: Definition) -> Lines:
    """Ray's built-in image is an Ubuntu 18.04 with CUDA 11."""
    for group in groups(definition):
        if "ImageId" not in group.config:
            yield group.config_where, "no ImageId: name an image of yours"


def aws_instance_profile(definition: Definition) -> Lines:
    """Ray gives a profile to the head alone: without one, a worker reaches no bucket, or keys come into the file."""
    for group in groups(definition):
        if "IamInstanceProfile" not in group.config:
            why = "Ray's own has full rights to EC2 and S3" if group.head else "this node reaches no bucket"
            yield group.config_where, f"no IamInstanceProfile: {why}"


def aws_security_group(definition: Definition) -> Lines:
    """A group of Ray's making, also one that the file describes, opens port 22 to every address."""
    if below(definition.data, "provider", "security_group") is not None:
        yield ("provider", "security_group"), "Ray opens port 22 to every address in it: SecurityGroupIds instead"
    for group in groups(definition):
        own = below(group.config, "NetworkInterfaces", 0, "Groups")
        if not group.config.get("SecurityGroupIds") and not own:
            yield group.config_where, "no SecurityGroupIds: Ray makes a group that opens port 22 to every address"


def aws_metadata_v1(definition: Definition) -> Lines:
    """With version 1 of the metadata service, a page fetched on a node's behalf can read the node's credentials."""
    for group in groups(definition):
        if below(group.config, "MetadataOptions", "HttpTokens") != "required":
            yield group.config_where, "IMDSv1 is allowed: MetadataOptions: {HttpTokens: required}"


def aws_disk(definition: Definition) -> Lines:
    """A disk holds spilled text and checkpoints: encrypted, and gone with its node."""
    for group in groups(definition):
        devices = group.config.get("BlockDeviceMappings")
        if not isinstance(devices, list) or not devices:
            yield group.config_where, "no BlockDeviceMappings: the disk is as the image says, perhaps not encrypted"
            continue
        for i, device in enumerate(devices):
            where: Where = (*group.config_where, "BlockDeviceMappings", i)
            ebs = below(device, "Ebs")
            if ebs is not None and below(ebs, "Encrypted") is not True:
                yield where, "the disk is not encrypted: Encrypted: true"
            if ebs is not None and below(ebs, "DeleteOnTermination") is not True:
                yield where, "the disk stays, and costs, after its node: DeleteOnTermination: true"


def gcp_image(definition: Definition) -> Lines:
    """A family's image is another one tomorrow."""
    for group in groups(definition):
        disks = group.config.get("disks")
        images = [below(disk, "initializeParams", "sourceImage") for disk in disks or [] if below(disk, "boot")]
        if "sourceInstanceTemplate" not in group.config and not any(images):
            yield group.config_where, "no boot disk with a sourceImage"
        for image in images:
            if image and "/family/" in str(image):
                yield (*group.config_where, "disks"), f"{image} is a family: name one image of it"


def gcp_network(definition: Definition) -> Lines:
    """Ray takes the region's first subnet; the default network lets every address reach port 22."""
    for group in groups(definition):
        interfaces = group.config.get("networkInterfaces")
        network = str(below(interfaces, 0, "network") or "")
        subnet = below(interfaces, 0, "subnetwork")
        if subnet is None and (not network or network.endswith("networks/default")):
            yield group.config_where, "no networkInterfaces with a subnetwork of yours"


def gcp_service_account(definition: Definition) -> Lines:
    """Without an account of its own a node has none, or the project's default one, which may do nearly everything."""
    first = head(definition)
    heads = None if first is None else below(first.config, "serviceAccounts", 0, "email")
    for group in groups(definition):
        email = below(group.config, "serviceAccounts", 0, "email")
        if not email:
            yield group.config_where, "no serviceAccounts: this node reaches no bucket"
        elif str(email) == "default" or "-compute@developer" in str(email):
            yield (*group.config_where, "serviceAccounts"), "the project's default account: one of the cluster's own"
        elif not group.head and email == heads:
            yield (*group.config_where, "serviceAccounts"), "a worker has the head's account: it may start machines"


def gcp_disk(definition: Definition) -> Lines:
    """A disk that outlives its node costs until somebody finds it."""
    for group in groups(definition):
        for i, disk in enumerate(group.config.get("disks") or []):
            if below(disk, "autoDelete") is not True:
                yield (*group.config_where, "disks", i), "the disk stays after its node: autoDelete: true"


def gcp_shielded(definition: Definition) -> Lines:
    """A Shielded VM starts what is signed, and nothing else."""
    wanted = ("enableSecureBoot", "enableVtpm", "enableIntegrityMonitoring")
    for group in groups(definition):
        missing = [key for key in wanted if below(group.config, "shieldedInstanceConfig", key) is not True]
        if missing:
            yield (*group.config_where, "shieldedInstanceConfig"), f"{', '.join(missing)}: true"


def gcp_project_key(definition: Definition) -> Lines:
    """The key that Ray makes opens every machine of the project, and the project's keys open every node."""
    if not below(definition.data, "auth", "ssh_private_key"):
        yield ("auth",), "no ssh_private_key: Ray adds a key of its making to the whole project"
    for group in groups(definition):
        items = below(group.config, "metadata", "items")
        told = {below(item, "key"): below(item, "value") for item in (items if isinstance(items, list) else ())}
        if str(told.get("block-project-ssh-keys")).upper() != "TRUE":
            yield group.config_where, 'the project\'s keys open it: metadata block-project-ssh-keys: "TRUE"'


def gcp_spot_kept(definition: Definition) -> Lines:
    """What Compute Engine takes back it stops by default: the disk costs on, and Ray counts a node too few."""
    for group in workers(definition):
        if group.spot and below(group.config, "scheduling", "instanceTerminationAction") != "DELETE":
            yield (*group.config_where, "scheduling"), "spot nodes are stopped: instanceTerminationAction: DELETE"


def azure_image(definition: Definition) -> Lines:
    """`latest` is another image tomorrow."""
    for group, parameters in _azure(definition):
        where = (*group.config_where, "azure_arm_parameters")
        if not parameters.get("imageId") and not parameters.get("imageOffer"):
            yield where, "no image: imageId, or imagePublisher, imageOffer, imageSku and imageVersion"
        elif not parameters.get("imageId") and str(parameters.get("imageVersion", "latest")) == "latest":
            yield (*where, "imageVersion"), "the image's version is 'latest': name one"


def azure_public(definition: Definition) -> Lines:
    """Ray's network security group for Azure lets every address reach port 22, whatever the file says."""
    if below(definition.data, "provider", "use_internal_ips") is not True:
        yield ("provider", "use_internal_ips"), "nodes get public addresses, with port 22 open to all: true"
    if below(definition.data, "provider", "use_external_head_ip"):
        yield ("provider", "use_external_head_ip"), "the head gets a public address, with port 22 open to all: false"


def azure_identity(definition: Definition) -> Lines:
    """An identity of Ray's making has rights to the nodes' resource group, and none to your storage."""
    for key in ("msi_name", "msi_resource_group"):
        if not below(definition.data, "provider", key):
            yield ("provider", key), "missing: name an identity that may read and write your storage"


def azure_spot_kept(definition: Definition) -> Lines:
    """A deallocated machine's disk costs on."""
    for group, parameters in _azure(definition):
        if group.spot and parameters.get("evictionPolicy", "Delete") != "Delete":
            yield (*group.config_where, "azure_arm_parameters", "evictionPolicy"), "evicted nodes stay: Delete"


def local_workers(definition: Definition) -> Lines:
    """The autoscaler starts `min_workers` machines at once and `max_workers` at most; both are all that are named."""
    machines = below(definition.data, "provider", "worker_ips")
    if not isinstance(machines, list):
        return
    for key in ("min_workers", "max_workers"):
        if definition.data.get(key) != len(machines):
            yield (key,), f"{key} is {definition.data.get(key)}, and worker_ips names {len(machines)} machines"


def local_autoscaler(definition: Definition) -> Lines:
    """With provider `local`, Ray 2.60's autoscaler v2 counts the head as a worker and never starts the last machine."""
    if "RAY_UP_enable_autoscaler_v2=0" not in definition.text:
        yield (
            ("provider", "type"),
            "say in the file's head how it is started: RAY_UP_enable_autoscaler_v2=0 ray up",
        )


def _azure(definition: Definition) -> Iterator[tuple[Group, dict[str, object]]]:
    for group in groups(definition):
        parameters = group.config.get("azure_arm_parameters")
        if isinstance(parameters, dict):
            yield group, parameters
