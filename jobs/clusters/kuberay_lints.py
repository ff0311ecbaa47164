"""Policy for KubeRay manifests. Each lint yields (where, what is wrong and what to write)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from jobs.clusters.definition import Definition, Where, below
from jobs.clusters.kubernetes import as_ray_file, cluster_spec
from jobs.clusters.nodes import containers, groups, head, workers
from pipelines.tokens.reach import LIMITS_VARIABLE, limit_of, told_limits

Lines = Iterator[tuple[Where, str]]


def no_token(definition: Definition) -> Lines:
    """Without it, whoever reaches the service runs code on the cluster."""
    where, spec = cluster_spec(definition)
    if spec and below(spec, "authOptions", "mode") != "token":
        yield (*where, "authOptions"), "authOptions: {mode: token}: the operator makes the token"


def head_takes_work(definition: Definition) -> Lines:
    """A task on the head can take the memory that the whole cluster's bookkeeping lives in."""
    group = head(definition)
    if group is None:
        return
    cpus = below(group.data, "rayStartParams", "num-cpus")
    if cpus != "0":
        yield (*group.where, "rayStartParams"), 'the head takes work: num-cpus: "0"'
    if group.gpus:
        yield group.config_where, "the head has GPUs: trials would be placed on it"


def service_open(definition: Definition) -> Lines:
    """The dashboard's job interface runs any code it is sent, and it speaks plain HTTP."""
    group = head(definition)
    if group is None:
        return
    for keys in (("serviceType",), ("headService", "spec", "type")):
        kind = below(group.data, *keys)
        if kind not in (None, "ClusterIP"):
            yield (*group.where, *keys), f"{kind} shows the dashboard outside: ClusterIP, and kubectl port-forward"
    if group.data.get("enableIngress"):
        yield (*group.where, "enableIngress"), "an ingress shows the dashboard outside: kubectl port-forward"


def autoscaler_version(definition: Definition) -> Lines:
    """Version 1 does not honour `idleTimeoutSeconds` and `priority` of a group."""
    where, spec = cluster_spec(definition)
    if not spec:
        return
    if not spec.get("enableInTreeAutoscaling"):
        yield (*where, "enableInTreeAutoscaling"), "the cluster neither grows nor shrinks: true"
    elif below(spec, "autoscalerOptions", "version") != "v2":
        yield (*where, "autoscalerOptions"), "version: v2"


def limits_untold(definition: Definition) -> Lines:
    """A driver cannot ask the operator what could come: `device: auto` would train on CPUs while no GPU is there."""
    group, spec = head(definition), cluster_spec(definition)[1]
    if group is None or not spec.get("enableInTreeAutoscaling"):
        return
    try:
        made = as_ray_file(spec)
    except Exception:  # told by kubernetes.autoscaler_view
        return
    limits = {name: limit_of(made, name) for name in ("CPU", "GPU")}
    expected = f"{LIMITS_VARIABLE} with '{json.dumps({name: round(count) for name, count in limits.items()})}'"
    where, container = next(containers(group), (group.config_where, {}))
    for i, variable in enumerate(container.get("env") or []):
        if below(variable, "name") == LIMITS_VARIABLE:
            try:
                told = told_limits(str(below(variable, "value")))
            except ValueError as error:
                yield (*where, "env", i), str(error)
                return
            if {name: told.get(name, 0.0) for name in limits} != limits:
                yield (*where, "env", i), f"not what the groups can come to: {expected}"
            return
    yield where, f"drivers do not know what can come: env {expected}"


def image_moves(definition: Definition) -> Lines:
    """A node that starts next week gets another image than its neighbours."""
    for group in groups(definition):
        for where, container in containers(group):
            image = str(container.get("image", ""))
            name, _, tag = image.rpartition("/")[2].partition(":")
            if "@sha256:" not in image and tag in ("", "latest", "nightly"):
                yield (*where, "image"), f"{name or 'no image'} at no fixed version: a tag, better a digest"


def no_limit(definition: Definition) -> Lines:
    """A group without a limit takes whatever the Kubernetes cluster may become."""
    for group in workers(definition):
        for key in ("minReplicas", "maxReplicas"):
            if key not in group.data:
                yield group.where, f"no {key}"


def unlabelled(definition: Definition) -> Lines:
    """Jobs select nodes by the labels `role` and `market`; those of rayStartParams the autoscaler does not see."""
    for group in groups(definition):
        for key in ("role", "market"):
            if not group.head and not below(group.data, "labels", key):
                yield group.where, f"no label {key}"
        if "labels" in (group.data.get("rayStartParams") or {}):
            yield (*group.where, "rayStartParams", "labels"), "the autoscaler ignores these: the group's own `labels`"


def pod_privileges(definition: Definition) -> Lines:
    """A job's code runs in these pods: it should find nothing to break out by."""
    for group in groups(definition):
        pod = group.config
        for key in ("hostNetwork", "hostPID", "hostIPC"):
            if pod.get(key):
                yield (*group.config_where, key), f"{key}: false"
        for i, volume in enumerate(pod.get("volumes") or []):
            if "hostPath" in volume:
                yield (*group.config_where, "volumes", i), "a hostPath is the node's disk: emptyDir"
        for where, container in containers(group):
            both = [below(container, "securityContext"), below(pod, "securityContext")]
            if not any(below(context, "runAsNonRoot") for context in both):
                yield where, "it may run as root: securityContext: {runAsNonRoot: true}"
            if below(both[0], "privileged") or below(both[0], "allowPrivilegeEscalation") is not False:
                yield where, "it may gain rights: securityContext: {allowPrivilegeEscalation: false}"


def api_token_on_workers(definition: Definition) -> Lines:
    """A worker that runs a job's code has nothing to ask the Kubernetes API."""
    for group in workers(definition):
        if group.config.get("automountServiceAccountToken") is not False:
            yield group.config_where, "automountServiceAccountToken: false"


def whole_cpus(definition: Definition) -> Lines:
    """Ray counts the CPU limit rounded up: with 500m it would put a whole task onto half a core."""
    for group in groups(definition):
        where, container = next(containers(group), ((), {}))
        resources = container.get("resources") or {}
        for kind in ("limits", "requests"):
            cpu = str(below(resources, kind, "cpu") or "")
            if re.fullmatch(r"\d*\.\d+|\d+m", cpu) and not re.fullmatch(r"\d+000m", cpu):
                yield (*where, "resources", kind, "cpu"), f"{cpu}: whole cores"
        if not group.head and below(resources, "limits", "cpu") is None:
            yield where, "no CPU limit: Ray cannot count this node's CPUs before it is there"
        if below(resources, "limits", "memory") is None:
            yield where, "no memory limit: Ray takes the whole machine's memory for its own"


def training_across_zones(definition: Definition) -> Lines:
    """Gradients between zones are slow, and each byte is billed."""
    for group in workers(definition):
        selector = below(group.config, "nodeSelector", "topology.kubernetes.io/zone")
        if group.gpus and not selector and "affinity" not in group.config:
            yield group.config_where, "pods may come up in any zone: nodeSelector topology.kubernetes.io/zone"


def no_spot_watcher(definition: Definition) -> Lines:
    """Ray does not ask the cloud for spot notices: without the watcher, a pod goes without a checkpoint."""
    for group in workers(definition):
        if group.spot and not any("spot_watch.py" in str(container) for _, container in containers(group)):
            yield group.config_where, "no spot watcher: lifecycle.postStart runs spot_watch.py --daemon"


def no_spill_directory(definition: Definition) -> Lines:
    """Ray spills below /tmp by default: a full root filesystem gets the pod evicted."""
    for group in groups(definition):
        directory = below(group.data, "rayStartParams", "object-spilling-directory")
        if directory is None:
            yield (*group.where, "rayStartParams"), "objects spill to /tmp: object-spilling-directory, on a volume"
        elif not any(
            str(directory).startswith(str(mount.get("mountPath")))
            for _, container in containers(group)
            for mount in container.get("volumeMounts") or []
        ):
            yield (*group.where, "rayStartParams", "object-spilling-directory"), f"{directory} is on no volume"


def job_stays(definition: Definition) -> Lines:
    """A cluster made for one job costs until somebody deletes it."""
    if below(definition.data, "spec", "shutdownAfterJobFinishes") is not True:
        yield ("spec", "shutdownAfterJobFinishes"), "the cluster stays after the job: true"
    if below(definition.data, "spec", "activeDeadlineSeconds") is None:
        yield ("spec", "activeDeadlineSeconds"), "missing: a job that hangs holds its nodes for ever"
