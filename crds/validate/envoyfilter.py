"""EnvoyFilter (Istio: pkg/config/validation/envoyfilter)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.envoyfilter import ApplyTo, EnvoyConfigObjectPatch, EnvoyFilter, Operation
from crds.problem import Problem
from crds.validate import attachment, bounds

MATCHES = {
    "listener": frozenset(
        (ApplyTo.LISTENER, ApplyTo.FILTER_CHAIN, ApplyTo.NETWORK_FILTER, ApplyTo.HTTP_FILTER, ApplyTo.LISTENER_FILTER)
    ),
    "routeConfiguration": frozenset((ApplyTo.ROUTE_CONFIGURATION, ApplyTo.VIRTUAL_HOST, ApplyTo.HTTP_ROUTE)),
    "cluster": frozenset((ApplyTo.CLUSTER,)),
}
_WITHOUT_VALUE = (Operation.REMOVE,)


def check(obj: EnvoyFilter) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.networking_selector(spec.workload_selector, "spec.workloadSelector")
    yield from attachment.policy(None, None, spec.target_refs)
    if spec.workload_selector is not None and spec.target_refs:
        yield problem("DRG0307", "spec", "workloadSelector and targetRefs exclude each other", "keep one of them")
    for index, patch in enumerate(spec.config_patches):
        yield from _patch(patch, f"spec.configPatches[{index}]")


def _patch(held: EnvoyConfigObjectPatch, path: str) -> Iterator[Problem]:
    if held.apply_to in (None, ApplyTo.INVALID):
        yield problem("DRG0316", f"{path}.applyTo", "the patch does not say what it applies to")
    operation = held.patch.operation if held.patch is not None else None
    if held.patch is None or operation in (None, Operation.INVALID):
        yield problem("DRG0316", f"{path}.patch.operation", "the patch does not say what to do")
    elif held.patch.value is None and operation not in _WITHOUT_VALUE:
        yield problem("DRG0316", f"{path}.patch.value", f"{operation} needs a value")
    if (match := held.match) is None:
        return
    if match.proxy is not None and match.proxy.proxy_version:
        yield from bounds.regex(match.proxy.proxy_version, f"{path}.match.proxy.proxyVersion")
    for name, given in (
        ("listener", match.listener),
        ("routeConfiguration", match.route_configuration),
        ("cluster", match.cluster),
    ):
        if given is not None and held.apply_to is not None and held.apply_to not in MATCHES[name]:
            yield problem("DRG0311", f"{path}.match.{name}", f"{name} does not select a {held.apply_to}")
