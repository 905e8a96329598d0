"""The product's capture in the network namespaces of tests: as the init container would set it up."""

from dragoman.capture import Capture, Family, iptables, system
from dragoman.capture.rules import INBOUND_SOURCES, rules
from dragoman.capture.settings import Mode
from e2e.harness.commands import run
from e2e.harness.namespaces import Namespace

PROXY_ID = Capture().proxy_uid
"""User and group id of Envoy: the rules tell its connections from the application's by it."""

OUTBOUND_PORT = Capture().outbound_port
INBOUND_PORT = Capture().inbound_port
INBOUND_SOURCE = INBOUND_SOURCES[Family.V4].partition("/")[0]
"""Where Envoy's connections to the application come from."""

NOT_CAPTURED = (15090, 15021, 15020)
"""Inbound ports that reach their listener as they are: metrics, readiness, what the kubelet asks."""


async def capture(
    namespace: Namespace,
    *,
    excluded_inbound: tuple[int, ...] = (),
    excluded_outbound: tuple[int, ...] = (),
    ipv6: bool = False,
    mode: Mode = "REDIRECT",
    backend: system.Backend = "iptables",
) -> None:
    """Install the rules in a pod, for IPv4 and with `ipv6` for both families.

    The excluded ports are those of the annotations traffic.sidecar.istio.io/excludeInboundPorts and
    excludeOutboundPorts.
    """
    wanted = Capture(
        mode, exclude_inbound_ports=(*NOT_CAPTURED, *excluded_inbound), exclude_outbound_ports=excluded_outbound
    )
    if ipv6 or mode == "TPROXY" or backend != "iptables":
        namespace.inside(lambda: system.apply(wanted, backend))
        return
    # A new namespace has nothing saved. Not by the command: a second for each pod of each test is better spent.
    text = iptables.replacement("", rules(wanted, Family.V4))
    await run("ip", "netns", "exec", namespace.name, "iptables-restore", "--noflush", stdin=text)
