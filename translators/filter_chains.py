"""How an inbound port tells its connections apart: by mTLS mode and declared protocol.

The table of Istio's pilot/pkg/networking/core/filterchain_options.go. Order does not matter to Envoy, which takes the
most specific match; it is kept so that the output can be read beside Istio's.
"""

from __future__ import annotations

from dataclasses import dataclass

from dragoman.mesh.policies import MtlsMode
from dragoman.mesh.protocol import Protocol
from translators.alpn import MESH_ANY, MESH_HTTP, MESH_TCP, PLAIN_HTTP

TLS = "tls"
RAW = "raw_buffer"


@dataclass(frozen=True, slots=True)
class Chain:
    """One filter chain of an inbound port."""

    http: bool
    """Requests are read; otherwise bytes are passed on."""
    terminates: bool
    """The mesh's mutual TLS ends here; otherwise bytes (the application's own TLS included) go on as they are."""
    transport: str
    alpn: tuple[str, ...] = ()


_PERMISSIVE_AUTO = (
    Chain(True, True, TLS, MESH_HTTP),
    Chain(True, False, RAW, PLAIN_HTTP),
    Chain(False, True, TLS, MESH_TCP),
    Chain(False, False, RAW),
    Chain(False, False, TLS),
)
_PERMISSIVE_HTTP = (Chain(True, True, TLS, MESH_ANY), Chain(True, False, RAW))
_PERMISSIVE_TCP = (Chain(False, True, TLS, MESH_ANY), Chain(False, False, TLS), Chain(False, False, RAW))
_STRICT_AUTO = (Chain(True, True, TLS, MESH_HTTP), Chain(False, True, TLS))
_STRICT_HTTP = (Chain(True, True, TLS),)
_STRICT_TCP = (Chain(False, True, TLS),)
# The last one is ours: on ports that no service names the inspector runs, and would find the application's TLS a chain
# that is not there.
_DISABLE_AUTO = (Chain(True, False, RAW, PLAIN_HTTP), Chain(False, False, RAW), Chain(False, False, TLS))
_DISABLE_HTTP = (Chain(True, False, RAW),)
_DISABLE_TCP = (Chain(False, False, RAW),)


def chains(mode: MtlsMode, protocol: Protocol) -> tuple[Chain, ...]:
    """The chains of a port under a mode."""
    if protocol is Protocol.AUTO:
        table = {
            MtlsMode.PERMISSIVE: _PERMISSIVE_AUTO,
            MtlsMode.STRICT: _STRICT_AUTO,
            MtlsMode.DISABLE: _DISABLE_AUTO,
        }
    elif protocol.is_http:
        table = {
            MtlsMode.PERMISSIVE: _PERMISSIVE_HTTP,
            MtlsMode.STRICT: _STRICT_HTTP,
            MtlsMode.DISABLE: _DISABLE_HTTP,
        }
    else:
        table = {
            MtlsMode.PERMISSIVE: _PERMISSIVE_TCP,
            MtlsMode.STRICT: _STRICT_TCP,
            MtlsMode.DISABLE: _DISABLE_TCP,
        }
    return table[mode]


def inspects_tls(listed: tuple[Chain, ...]) -> bool:
    return any(chain.transport == TLS for chain in listed)
