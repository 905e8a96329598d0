"""Who may ask for certificates in the name of others: agents of a node, for the workloads that run on it.

A ztunnel keeps the keys of all pods of its node (Istio: security/pkg/server/ca/node_auth.go, CA_TRUSTED_NODE_ACCOUNTS).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ca.caller import Caller
from ca.identity import InvalidIdentityError, SpiffeId
from crds.kubernetes.pod import Pod
from crds.meta import ObjectKey


class ImpersonationError(Exception):
    """The caller may not have a certificate of that identity. `str()` says why."""


@dataclass(frozen=True, slots=True)
class NodeAccounts:
    """`trusted` are the accounts `(namespace, name)` of node agents, `objects` all that is in force, pods among it."""

    trusted: frozenset[tuple[str, str]]
    objects: Mapping[ObjectKey, Any]

    def authorize(self, caller: Caller, wanted: str) -> SpiffeId:
        """The identity `wanted`, if the caller runs on a node with a pod of it. Raises `ImpersonationError`."""
        if not self.trusted:
            raise ImpersonationError("no account of node agents is trusted (--trusted-node-account)")
        agent = next((each for each in caller.identities if self._trusts(each)), None)
        if agent is None:
            raise ImpersonationError("the caller's account is not that of a trusted node agent")
        try:
            identity = SpiffeId.parse(wanted)
        except InvalidIdentityError as error:
            raise ImpersonationError(str(error)) from None
        if identity.trust_domain != agent.trust_domain:
            raise ImpersonationError(f"{identity} is of another trust domain than the caller")
        node = self._node_of(caller, agent)
        if not any(
            isinstance(pod, Pod)
            and pod.spec.node_name == node
            and (pod.namespace, pod.service_account) == (identity.namespace, identity.service_account)
            for key, pod in self.objects.items()
            if key.kind == "Pod" and key.namespace == identity.namespace
        ):
            raise ImpersonationError(f"no pod of {identity} runs on the caller's node {node!r}")
        return identity

    def _trusts(self, identity: SpiffeId) -> bool:
        return (identity.namespace, identity.service_account) in self.trusted

    def _node_of(self, caller: Caller, agent: SpiffeId) -> str:
        """The node that the caller's pod runs on, which must be what its token says it is."""
        if caller.pod is None:
            raise ImpersonationError("the caller's token is not bound to a pod")
        pod = self.objects.get(ObjectKey("Pod", caller.pod.namespace, caller.pod.name))
        if not isinstance(pod, Pod) or (caller.pod.uid and pod.metadata.uid != caller.pod.uid):
            raise ImpersonationError(f"the caller's pod {caller.pod.namespace}/{caller.pod.name} does not exist")
        if (pod.namespace, pod.service_account) != (agent.namespace, agent.service_account):
            raise ImpersonationError("the caller's pod runs as another account than its token says")
        if not pod.spec.node_name:
            raise ImpersonationError("the caller's pod runs on no node yet")
        return pod.spec.node_name
