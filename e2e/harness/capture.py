"""Istio's traffic capture: every TCP connection of a pod goes through its Envoy, unless Envoy itself makes it.

The rules are those that Istio's istio-init container installs for REDIRECT with its default ports (Istio:
tools/istio-iptables/pkg/capture, "ipnets" and "inbound-ports-wildcard" cases).
"""

from e2e.harness.commands import run
from e2e.harness.namespaces import Namespace

PROXY_ID = 1337
"""User and group id of Envoy: the rules tell its connections from the application's by it."""

OUTBOUND_PORT = 15001
INBOUND_PORT = 15006
INBOUND_SOURCE = "127.0.0.6"
"""Where Envoy's connections to the application come from (InboundPassthroughBindIpv4 of Istio)."""

NOT_CAPTURED = (15008, 15090, 15021, 15020)
"""Inbound ports that reach their listener as they are: HBONE, metrics, readiness, merged metrics."""


def rules(*, excluded_inbound: tuple[int, ...] = (), excluded_outbound: tuple[int, ...] = ()) -> str:
    """The rules as input of iptables-restore(8).

    The excluded ports are those of the annotations traffic.sidecar.istio.io/excludeInboundPorts and
    excludeOutboundPorts.
    """
    own = tuple(
        line
        for owner in (f"--uid-owner {PROXY_ID}", f"--gid-owner {PROXY_ID}")
        for line in (
            # Envoy to the pod's own address by way of a service: the application's inbound rules hold here as well.
            f"-A ISTIO_OUTPUT -o lo ! -d 127.0.0.1/32 -p tcp ! --dport 15008 -m owner {owner} -j ISTIO_IN_REDIRECT",
            # The application to itself: not captured.
            f"-A ISTIO_OUTPUT -o lo -m owner ! {owner} -j RETURN",
            # Envoy to anywhere else: or it would send to itself for ever.
            f"-A ISTIO_OUTPUT -m owner {owner} -j RETURN",
        )
    )
    return "\n".join(
        (
            "*nat",
            *(f":{chain} ACCEPT [0:0]" for chain in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")),
            *(
                f":{chain} - [0:0]"
                for chain in ("ISTIO_INBOUND", "ISTIO_REDIRECT", "ISTIO_IN_REDIRECT", "ISTIO_OUTPUT")
            ),
            f"-A ISTIO_REDIRECT -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}",
            f"-A ISTIO_IN_REDIRECT -p tcp -j REDIRECT --to-ports {INBOUND_PORT}",
            "-A PREROUTING -p tcp -j ISTIO_INBOUND",
            *(f"-A ISTIO_INBOUND -p tcp --dport {port} -j RETURN" for port in (*NOT_CAPTURED, *excluded_inbound)),
            "-A ISTIO_INBOUND -p tcp -j ISTIO_IN_REDIRECT",
            "-A OUTPUT -p tcp -j ISTIO_OUTPUT",
            *(f"-A ISTIO_OUTPUT -p tcp --dport {port} -j RETURN" for port in excluded_outbound),
            f"-A ISTIO_OUTPUT -s {INBOUND_SOURCE}/32 -o lo -j RETURN",
            *own,
            "-A ISTIO_OUTPUT -d 127.0.0.1/32 -j RETURN",
            "-A ISTIO_OUTPUT -j ISTIO_REDIRECT",
            "COMMIT",
            "",
        )
    )


async def capture(
    namespace: Namespace, *, excluded_inbound: tuple[int, ...] = (), excluded_outbound: tuple[int, ...] = ()
) -> None:
    """Install the rules in a pod."""
    text = rules(excluded_inbound=excluded_inbound, excluded_outbound=excluded_outbound)
    await run("ip", "netns", "exec", namespace.name, "iptables-restore", stdin=text)
