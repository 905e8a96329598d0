"""The node's service addresses: what kube-proxy does for pods whose traffic no sidecar takes.

A meshed pod's Envoy picks the endpoint itself and never sends to a service address it knows.
"""

from collections.abc import Mapping, Sequence

from e2e.harness.commands import run
from e2e.harness.manifests import PodSpec, ServiceSpec
from e2e.harness.namespaces import Namespace


def rules(endpoints: Mapping[ServiceSpec, Sequence[PodSpec]]) -> str:
    """Address translation from service to pods, in turns, as input of iptables-restore(8)."""
    lines = ["*nat", ":PREROUTING ACCEPT [0:0]"]
    for service, pods in endpoints.items():
        ready = [pod for pod in pods if pod.ready]
        for port in service.ports if service.address else ():
            for left, pod in zip(range(len(ready), 0, -1), ready, strict=True):
                # Of every `left` connections that reach this rule it takes one, so that all rules take equally many.
                lines.append(
                    f"-A PREROUTING -d {service.address}/32 -p tcp --dport {port.number}"
                    f" -m statistic --mode nth --every {left} --packet 0"
                    f" -j DNAT --to-destination {pod.address}:{port.target or port.number}"
                )
    return "\n".join((*lines, "COMMIT", ""))


async def program(node: Namespace, rules: str) -> None:
    """Put rules in force, all at once; connections that are open stay where they are."""
    await run("ip", "netns", "exec", node.name, "iptables-restore", stdin=rules)
