"""Semantic validation: what a schema cannot say (Istio: pkg/config/validation/validation.go).

Every check of a kind runs, so that an author sees all problems at once.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from crds.meta import IstioObject, Object
from crds.problem import Problem
from crds.validate import (
    authorizationpolicy,
    destinationrule,
    envoyfilter,
    gateway,
    metadata,
    peerauthentication,
    proxyconfig,
    requestauthentication,
    serviceentry,
    sidecar,
    telemetry,
    trafficextension,
    virtualservice,
    wasmplugin,
    workloadentry,
    workloadgroup,
)

_CHECKS: Mapping[str, Callable[[Any], Iterator[Problem]]] = {
    "AuthorizationPolicy": authorizationpolicy.check,
    "DestinationRule": destinationrule.check,
    "EnvoyFilter": envoyfilter.check,
    "Gateway": gateway.check,
    "PeerAuthentication": peerauthentication.check,
    "ProxyConfig": proxyconfig.check,
    "RequestAuthentication": requestauthentication.check,
    "ServiceEntry": serviceentry.check,
    "Sidecar": sidecar.check,
    "Telemetry": telemetry.check,
    "TrafficExtension": trafficextension.check,
    "VirtualService": virtualservice.check,
    "WasmPlugin": wasmplugin.check,
    "WorkloadEntry": workloadentry.check,
    "WorkloadGroup": workloadgroup.check,
}


def validate(obj: Object) -> tuple[Problem, ...]:
    """Every problem of a decoded object, errors and warnings. An object with an error must not enter the mesh."""
    found = list(metadata.check(obj))
    if isinstance(obj, IstioObject) and (check := _CHECKS.get(obj.kind)):
        found += check(obj)
    return tuple(found)
