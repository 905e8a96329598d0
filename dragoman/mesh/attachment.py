"""Which workloads a policy is attached to: by labels, or by naming the Gateway that they are instances of.

Both come to labels. Whoever runs a Gateway of the Gateway API puts its name on the pods, and a policy with targets
holds for the pods that bear one of these names, in its own namespace, and for nobody else; a policy without targets
holds for whom its selector finds, such pods included (Istio: pilot/pkg/model/policyattachment.go, ShouldAttachPolicy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from crds.authorizationpolicy import AuthorizationPolicy
from crds.peerauthentication import PeerAuthentication
from crds.requestauthentication import RequestAuthentication
from dragoman.mesh.labels import Labels, selects

GATEWAY_NAME: Final = "gateway.networking.k8s.io/gateway-name"
"""The label of a Gateway's pods (Gateway API: GEP-1762)."""

TargetingPolicy = AuthorizationPolicy | RequestAuthentication


def match_labels(policy: PeerAuthentication | TargetingPolicy) -> Mapping[str, str]:
    """What the selector of a policy asks for; nothing where it has none."""
    return policy.spec.selector.match_labels if policy.spec.selector is not None else {}


def attachments(policy: TargetingPolicy, namespace: str) -> tuple[Mapping[str, str], ...]:
    """Labels of which a workload of `namespace` must have one set or another; none where the policy holds for nobody.

    Targets that are no Gateways are for waypoints, and attach to nothing here.
    """
    targets = policy.spec.targets
    if not targets:
        return (match_labels(policy),)
    if namespace != policy.namespace:
        return ()
    names = (target.name for target in targets if target.is_gateway and target.namespace in (None, "", namespace))
    return tuple({GATEWAY_NAME: name} for name in dict.fromkeys(names))


def attached(policy: TargetingPolicy, namespace: str, labels: Labels) -> bool:
    """Whether a policy holds for a workload."""
    return any(selects(wanted, labels) for wanted in attachments(policy, namespace))
