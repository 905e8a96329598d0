"""What follows from a field that is not honoured yet, where that is more than its own absence.

`crds.support` says of a field that it has no effect. Here are those that take more with them, or hold in some places
only; what is said of one replaces what the table would say of everything below it.
"""

from collections.abc import Iterator

from crds.authorizationpolicy import AuthorizationPolicy
from crds.clienttls import ClientTLSMode, ClientTLSSettings
from crds.codes import problem
from crds.destinationrule import DestinationRule
from crds.meta import IstioObject
from crds.problem import Problem
from crds.requestauthentication import RequestAuthentication
from crds.trafficpolicy import TrafficPolicy
from crds.virtualservice import TCPRoute, TLSRoute, VirtualService

_MESH = "mesh"
_PUBLIC = ("configmap://", "clustertrustbundle://")
"""Credentials that are authorities only, which everybody may know."""


def consequences(obj: IstioObject) -> Iterator[Problem]:
    """Warnings, each at the field that it is about."""
    match obj:
        case VirtualService():
            yield from _delegation(obj)
            for index, tls in enumerate(obj.spec.tls):
                yield from _at_sidecars(obj, tls, f"spec.tls[{index}]")
            for index, tcp in enumerate(obj.spec.tcp):
                yield from _at_sidecars(obj, tcp, f"spec.tcp[{index}]")
        case DestinationRule():
            selects = obj.spec.workload_selector is not None
            if obj.spec.traffic_policy is not None:
                yield from _policy(obj.spec.traffic_policy, "spec.trafficPolicy", selects)
            for index, subset in enumerate(obj.spec.subsets):
                if subset.traffic_policy is not None:
                    yield from _policy(subset.traffic_policy, f"spec.subsets[{index}].trafficPolicy", selects)
        case AuthorizationPolicy() | RequestAuthentication():
            yield from _targets(obj)


def _targets(obj: AuthorizationPolicy | RequestAuthentication) -> Iterator[Problem]:
    several = bool(obj.spec.target_refs)
    in_vain = [
        (f"spec.targetRefs[{index}]" if several else "spec.targetRef", target)
        for index, target in enumerate(obj.spec.targets)
        if not target.is_gateway
    ]
    for path, target in in_vain:
        message = f"policies of a {target.kind} are for waypoints, which there are not yet: "
        if len(in_vain) < len(obj.spec.targets):
            yield problem("DRG0202", path, f"{message}this target has no effect", "remove it")
        else:
            message += "this policy has no effect at all, since one with targets holds for no sidecar"
            remedy = "select the workloads by their labels: spec.selector"
            yield problem("DRG0206", path, f"{message} (Istio: ShouldAttachPolicy)", remedy)


def _delegation(obj: VirtualService) -> Iterator[Problem]:
    if not obj.spec.hosts:
        message = "delegation does not work yet: without hosts this VirtualService has no effect"
        yield problem("DRG0206", "spec.hosts", message, "write its routes where it is delegated to")
    for index, route in enumerate(obj.spec.http):
        if route.delegate is not None:
            message = (
                "delegation does not work yet: no route of this whole VirtualService takes effect,"
                " its hosts keep their last good routes or have the default ones"
            )
            yield problem("DRG0206", f"spec.http[{index}].delegate", message, "write the delegate's routes here")


def _at_sidecars(obj: VirtualService, route: TLSRoute | TCPRoute, path: str) -> Iterator[Problem]:
    everywhere = obj.spec.gateways or (_MESH,)
    places = {place for match in route.match or (None,) for place in (match and match.gateways) or everywhere}
    if _MESH not in places:
        return
    if places == {_MESH}:
        message = "routes of TCP and TLS work at gateways only yet: at sidecars this one has no effect"
        yield problem("DRG0202", path, message, "bind it to a gateway, or remove it")
    else:
        message = "routes of TCP and TLS work at gateways only yet: this one has no effect for `mesh`, the sidecars"
        yield problem("DRG0205", path, message, "take `mesh` out of its gateways")


def _policy(policy: TrafficPolicy, path: str, selects: bool) -> Iterator[Problem]:
    yield from _credential(policy.tls, f"{path}.tls", selects)
    for index, port in enumerate(policy.port_level_settings):
        yield from _credential(port.tls, f"{path}.portLevelSettings[{index}].tls", selects)


def _credential(tls: ClientTLSSettings | None, path: str, selects: bool) -> Iterator[Problem]:
    if tls is None or not tls.credential_name:
        return
    if tls.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        message = f"mode {tls.mode or ClientTLSMode.DISABLE} uses no credential: this one is ignored"
        yield problem("DRG0406", f"{path}.credentialName", message, "remove it, or set mode SIMPLE or MUTUAL")
    elif not selects and not tls.credential_name.startswith(_PUBLIC):
        message = (
            "gateways get this credential; sidecars get one only from a rule that selects them:"
            " every connection of other sidecars under this policy is refused"
        )
        remedy = "select the clients: workloadSelector; or name files: caCertificates, clientCertificate, privateKey"
        yield problem("DRG0409", f"{path}.credentialName", message, remedy)
