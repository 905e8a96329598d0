"""PeerAuthentication (Istio: ValidatePeerAuthentication)."""

from collections.abc import Iterator

from crds.codes import problem
from crds.peerauthentication import PeerAuthentication
from crds.problem import Problem
from crds.validate import attachment, bounds


def check(obj: PeerAuthentication) -> Iterator[Problem]:
    spec = obj.spec
    yield from attachment.selector(spec.selector)
    if spec.port_level_mtls and (spec.selector is None or not spec.selector.match_labels):
        remedy = "add selector.matchLabels"
        yield problem("DRG0316", "spec.selector", "settings of ports need the workloads that have them", remedy)
    for port in spec.port_level_mtls:
        yield from bounds.port(port, f"spec.portLevelMtls[{port}]")
