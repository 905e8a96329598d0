"""The injecting webhook: a sidecar as the patch of a pod (Istio: pkg/kube/inject, webhook.go)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from crds.codes import problem
from crds.problem import Invalid, Problem
from dragoman.admission.review import AdmissionRequest, MalformedReviewError, Verdict, document
from dragoman.sidecar.injection import InjectionSettings, NamespaceFacts, NotInjected, inject

Settings = Callable[[], Awaitable[InjectionSettings]]
"""How to inject, as it is now; pods wait until that is known."""

_LEFT_ALONE: Final = Verdict()


async def injection(request: AdmissionRequest, about: Mapping[str, str], settings: Settings) -> Verdict:
    """The verdict on a pod: its patch, none for a pod that gets no sidecar, or what is wrong with its annotations.

    `about` is what the webhook's path says of the proxy (see `injection_path`). The namespace's labels were looked at
    by the API server, by the webhook's selectors. Raises `MalformedReviewError`.
    """
    if (request.kind.kind, request.operation, request.sub_resource) != ("Pod", "CREATE", ""):
        return _LEFT_ALONE
    pod = document(request.object)
    if pod is None:
        raise MalformedReviewError("CREATE without an object")
    namespace = NamespaceFacts(request.namespace or pod.get("metadata", {}).get("namespace", ""))
    try:
        # Anybody who reaches this port may ask about any pod, and must not learn what the pod itself was told.
        made = inject(pod, namespace=namespace, settings=_at(about, await settings()), nonce=request.uid)
    except Invalid as invalid:
        return Verdict(errors=invalid.problems)
    if isinstance(made, NotInjected):
        return _LEFT_ALONE
    return Verdict(warnings=(*made.warnings, *_unheeded(about)), patch=made.patch)


_CLUSTER: Final = "ISTIO_META_CLUSTER_ID"
_NETWORK: Final = "ISTIO_META_NETWORK"


def _at(about: Mapping[str, str], settings: InjectionSettings) -> InjectionSettings:
    """The settings in the cluster and network that the webhook's path names."""
    cluster, network = about.get(_CLUSTER, settings.cluster_id), about.get(_NETWORK, settings.network)
    if (cluster, network) == (settings.cluster_id, settings.network):
        return settings
    return replace(settings, cluster_id=cluster, network=network)


def _unheeded(about: Mapping[str, str]) -> tuple[Problem, ...]:
    return tuple(
        problem("DRG0602", "", f"{name} in the path of the webhook has no effect", "name `cluster` and `net` only")
        for name in about
        if name not in (_CLUSTER, _NETWORK)
    )
