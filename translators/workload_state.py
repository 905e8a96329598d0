"""What a connection knows of the workloads at its ends, computed once when it opens.

Metrics name both workloads, 14 labels in each of up to four metrics. Reading them out of the node and the peer's
certificate for every request costs more than the rest of a request does (a regular expression is compiled each time it
is used), so network filters put them into filter state of the connection, where formats read them for next to nothing
(Envoy: "Set Filter State" network filter). The listeners stay the same for all workloads: a proxy's own names come from
its node, the peer's from the certificate that the handshake verified.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

from envoy_data_plane.envoy.config.core.v3 import DataSource, SubstitutionFormatString
from envoy_data_plane.envoy.config.listener.v3 import Filter, ListenerFilter
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.listener.set_filter_state.v3 import Config as ListenerConfig
from envoy_data_plane.envoy.extensions.filters.network.set_filter_state.v3 import Config

from dragoman.codec import pack
from translators.coalesce import UNKNOWN, UNKNOWN_STATE, Operator, cel, first_of, state

FILTER = "envoy.filters.network.set_filter_state"
LISTENER_FILTER = "envoy.filters.listener.set_filter_state"

_FACTORY = "envoy.string"


class Attribute(enum.StrEnum):
    """What metrics say of a workload."""

    WORKLOAD = "workload"
    NAMESPACE = "namespace"
    APP = "app"
    VERSION = "version"
    CANONICAL_SERVICE = "canonical_service"
    CANONICAL_REVISION = "canonical_revision"
    CLUSTER = "cluster"


def local(attribute: Attribute) -> Operator:
    """The proxy's own attribute, as `local_filter` found it."""
    return state(_key("local", attribute))


def peer(attribute: Attribute) -> Operator:
    """The client's attribute, as `peer_filter` found it."""
    return state(_key("peer", attribute))


def _key(end: str, attribute: Attribute) -> str:
    return f"dragoman.{end}.{attribute}"


def _label(key: str) -> Operator:
    return cel(f"xds.node.metadata.LABELS['{key}']")


# Istio: pkg/model/proxy.go (NodeMetadata); pkg/model/label (CanonicalServiceName, CanonicalServiceRevision).
_LOCAL: Mapping[Attribute, tuple[Operator, ...]] = MappingProxyType(
    {
        Attribute.WORKLOAD: (cel("xds.node.metadata.WORKLOAD_NAME"),),
        Attribute.NAMESPACE: (cel("xds.node.metadata.NAMESPACE"),),
        Attribute.APP: (_label("app"),),
        Attribute.VERSION: (_label("version"),),
        Attribute.CANONICAL_SERVICE: (
            _label("service.istio.io/canonical-name"),
            _label("app.kubernetes.io/name"),
            _label("app"),
            cel("xds.node.metadata.WORKLOAD_NAME"),
        ),
        Attribute.CANONICAL_REVISION: (
            _label("service.istio.io/canonical-revision"),
            _label("app.kubernetes.io/version"),
            _label("version"),
            cel("'latest'"),
        ),
        Attribute.CLUSTER: (cel("xds.node.metadata.CLUSTER_ID"),),
    }
)


def _extracted(san: str, pattern: str) -> Operator:
    return cel(f"re.extract(connection.{san}_san_peer_certificate,'{pattern}','\\\\1')")


def _tagged(tag: str) -> Operator:
    """An attribute in the DNS name of a workload's certificate (`ca.identity.WorkloadIdentity.dns_name`)."""
    return _extracted("dns", f"(?:^|[.])~{tag}[.]([^~]+)[.]~")


_PEER: Mapping[Attribute, tuple[Operator, ...]] = MappingProxyType(
    {
        Attribute.WORKLOAD: (_tagged("w"),),
        Attribute.NAMESPACE: (_extracted("uri", "^spiffe://[^/]+/ns/([^/]+)/sa/"),),
        Attribute.APP: (_tagged("a"),),
        Attribute.VERSION: (_tagged("v"),),
        Attribute.CANONICAL_SERVICE: (_tagged("s"), _tagged("a"), _tagged("w")),
        Attribute.CANONICAL_REVISION: (_tagged("r"), _tagged("v")),
        Attribute.CLUSTER: (_tagged("c"),),
    }
)


def _values(end: str, found: Mapping[Attribute, tuple[Operator, ...]]) -> list[FilterStateValue]:
    return [_value(_key(end, attribute), first_of(*operators)) for attribute, operators in found.items()]


def _value(key: str, text: str) -> FilterStateValue:
    return FilterStateValue(
        object_key=key,
        factory_key=_FACTORY,
        format_string=SubstitutionFormatString(text_format_source=DataSource(inline_string=text)),
    )


# In order: what comes later may fall back on the first.
_AT_FIRST = [_value(UNKNOWN_STATE, UNKNOWN), *_values("local", _LOCAL)]
# A handshake that fails is logged too.
_NOBODY = [_value(_key("peer", attribute), UNKNOWN) for attribute in Attribute]

LOCAL_FILTER = Filter(name=FILTER, typed_config=pack(Config(on_new_connection=_AT_FIRST)))
"""Reads the proxy's own attributes, in a filter chain: for listeners that have one or two."""

LOCAL_LISTENER_FILTER = ListenerFilter(name=LISTENER_FILTER, typed_config=pack(ListenerConfig(on_accept=_AT_FIRST)))
"""Reads the same for all filter chains of a listener: each of its expressions is compiled once, not once a chain."""

PEER_FILTER = Filter(
    name=FILTER,
    typed_config=pack(Config(on_new_connection=_NOBODY, on_downstream_tls_handshake=_values("peer", _PEER))),
)
"""Reads the client's attributes, when the mesh's handshake has verified its certificate."""
