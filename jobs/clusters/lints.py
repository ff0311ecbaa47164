"""The registry of policy lints: what Ray and the cloud would accept, and a cluster that people trust does not have.

A lint is one function `(definition) -> (where, message) ...` and one line here; its docstring says why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from jobs.clusters import cloud_lints, kuberay_lints, ray_lints, text_lints
from jobs.clusters.definition import Definition, Finding, Where

CLOUDS = ("aws", "gcp", "azure")
RAY = (*CLOUDS, "local", "external")
REAL = (*CLOUDS, "local")
"""External providers start Ray as they like, and their machines are not ours to judge."""


@dataclass(frozen=True)
class Lint:
    """A rule: its name, the providers it is for (and kinds of manifest, where not all), and its check."""

    name: str
    providers: Collection[str]
    check: Callable[[Definition], Iterator[tuple[Where, str]]]
    kinds: Collection[str] = ()

    @property
    def why(self) -> str:
        """One sentence: what goes wrong without it."""
        return " ".join((self.check.__doc__ or "").split())

    def applies(self, definition: Definition) -> bool:
        """Whether the rule has something to say about such a file."""
        return definition.provider in self.providers and (not self.kinds or definition.kind in self.kinds)


_CLUSTERS = ("RayCluster", "RayJob", "RayService")

LINTS = (
    Lint("head-takes-work", RAY, ray_lints.head_takes_work),
    Lint("head-on-spot", CLOUDS, ray_lints.head_on_spot),
    Lint("dashboard-open", RAY, ray_lints.dashboard_open),
    Lint("ray-without-token", RAY, ray_lints.ray_without_token),
    Lint("token-not-brought", REAL, ray_lints.token_not_brought),
    Lint("no-spill-directory", REAL, ray_lints.no_spill_directory),
    Lint("few-open-files", REAL, ray_lints.few_open_files),
    Lint("no-limit", (*CLOUDS, "external"), ray_lints.no_limit),
    Lint("fractional-resources", RAY, ray_lints.fractional_resources),
    Lint("unlabelled", (*CLOUDS, "external"), ray_lints.unlabelled),
    Lint("no-spot-watcher", CLOUDS, ray_lints.no_spot_watcher),
    Lint("training-across-zones", CLOUDS, ray_lints.training_across_zones),
    Lint("stopped-nodes-kept", CLOUDS, ray_lints.stopped_nodes_kept),
    Lint("open-to-the-world", (*RAY, "kuberay"), text_lints.open_to_the_world),
    Lint("secret-in-file", (*RAY, "kuberay"), text_lints.secret_in_file),
    Lint("unpinned-install", (*RAY, "kuberay"), text_lints.unpinned_install),
    Lint("other-version", (*RAY, "kuberay"), text_lints.other_version),
    Lint("aws-image", ("aws",), cloud_lints.aws_image),
    Lint("aws-instance-profile", ("aws",), cloud_lints.aws_instance_profile),
    Lint("aws-security-group", ("aws",), cloud_lints.aws_security_group),
    Lint("aws-metadata-v1", ("aws",), cloud_lints.aws_metadata_v1),
    Lint("aws-disk", ("aws",), cloud_lints.aws_disk),
    Lint("gcp-image", ("gcp",), cloud_lints.gcp_image),
    Lint("gcp-network", ("gcp",), cloud_lints.gcp_network),
    Lint("gcp-service-account", ("gcp",), cloud_lints.gcp_service_account),
    Lint("gcp-disk", ("gcp",), cloud_lints.gcp_disk),
    Lint("gcp-shielded", ("gcp",), cloud_lints.gcp_shielded),
    Lint("gcp-project-key", ("gcp",), cloud_lints.gcp_project_key),
    Lint("gcp-spot-kept", ("gcp",), cloud_lints.gcp_spot_kept),
    Lint("azure-image", ("azure",), cloud_lints.azure_image),
    Lint("azure-public", ("azure",), cloud_lints.azure_public),
    Lint("azure-identity", ("azure",), cloud_lints.azure_identity),
    Lint("azure-spot-kept", ("azure",), cloud_lints.azure_spot_kept),
    Lint("local-workers", ("local",), cloud_lints.local_workers),
    Lint("local-autoscaler", ("local",), cloud_lints.local_autoscaler),
    Lint("kuberay-no-token", ("kuberay",), kuberay_lints.no_token, _CLUSTERS),
    Lint("kuberay-head-takes-work", ("kuberay",), kuberay_lints.head_takes_work, _CLUSTERS),
    Lint("kuberay-service-open", ("kuberay",), kuberay_lints.service_open, _CLUSTERS),
    Lint("kuberay-autoscaler", ("kuberay",), kuberay_lints.autoscaler_version, _CLUSTERS),
    Lint("kuberay-limits", ("kuberay",), kuberay_lints.limits_untold, _CLUSTERS),
    Lint("kuberay-image-moves", ("kuberay",), kuberay_lints.image_moves, _CLUSTERS),
    Lint("kuberay-no-limit", ("kuberay",), kuberay_lints.no_limit, _CLUSTERS),
    Lint("kuberay-unlabelled", ("kuberay",), kuberay_lints.unlabelled, _CLUSTERS),
    Lint("kuberay-pod-privileges", ("kuberay",), kuberay_lints.pod_privileges, _CLUSTERS),
    Lint("kuberay-api-token", ("kuberay",), kuberay_lints.api_token_on_workers, _CLUSTERS),
    Lint("kuberay-whole-cpus", ("kuberay",), kuberay_lints.whole_cpus, _CLUSTERS),
    Lint("kuberay-zones", ("kuberay",), kuberay_lints.training_across_zones, _CLUSTERS),
    Lint("kuberay-no-spot-watcher", ("kuberay",), kuberay_lints.no_spot_watcher, _CLUSTERS),
    Lint("kuberay-no-spill-directory", ("kuberay",), kuberay_lints.no_spill_directory, _CLUSTERS),
    Lint("rayjob-stays", ("kuberay",), kuberay_lints.job_stays, ("RayJob",)),
)


def check(definition: Definition, ignored: Collection[str] = ()) -> list[Finding]:
    """What the lints that apply to this file find, without those in `ignored`."""
    return [
        Finding(lint.name, where, message)
        for lint in LINTS
        if lint.name not in ignored and lint.applies(definition)
        for where, message in lint.check(definition)
    ]
