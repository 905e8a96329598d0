"""Ten ways to make a resource that Envoy rejects, each of one that it accepts."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpConnectionManager

from dragoman.codec import Encoded, decode, type_url

VIRTUAL_OUTBOUND_PORT = 15001

OTHER_KEY: Final = ec.generate_private_key(ec.SECP256R1()).private_bytes(
    Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
)
"""A key that belongs to no certificate."""


def poisoned(encoded: Encoded, poison: str) -> Encoded:
    """The resource as `poison` makes it; what it refers to stays."""
    message: Any = decode(encoded.type_url, encoded.payload)
    POISONS[poison](message)
    payload = message.SerializeToString(deterministic=True)
    return Encoded.of_payload(encoded.type_url, encoded.name, payload, refs=encoded.refs)


def _asking(routes: Any) -> Any:
    """The virtual host of whoever asked."""
    return next(host for host in routes.virtual_hosts if b"poison-" in host.SerializeToString())


def _duplicate_domain(routes: Any) -> None:
    routes.virtual_hosts.add(name="twin", domains=["same.example"])
    _asking(routes).domains.append("same.example")


def _bad_regex(routes: Any) -> None:
    _asking(routes).routes[0].match.safe_regex.regex = "(("


def _missing_cluster(routes: Any) -> None:
    _asking(routes).routes[0].route.cluster = "outbound|8080||nowhere"
    routes.validate_clusters.value = True


def _zero_weights(routes: Any) -> None:
    action = _asking(routes).routes[0].route
    name = action.cluster
    for _ in range(2):
        action.weighted_clusters.clusters.add(name=name).weight.value = 0


def _pgv(cluster: Any) -> None:
    cluster.connect_timeout.Clear()
    cluster.connect_timeout.SetInParent()


def _unknown_extension(cluster: Any) -> None:
    settings = cluster.typed_extension_protocol_options["dragoman.no_such_extension"]
    settings.type_url = "type.googleapis.com/google.protobuf.Struct"


def _lua(listener: Any) -> None:
    script = decode(Lua, b"")
    script.default_source_code.inline_string = "function envoy_on_request("
    for filters in _http_filters(listener):
        new = type(filters[0])(name="envoy.filters.http.lua")
        new.typed_config.type_url = type_url(Lua)
        new.typed_config.value = script.SerializeToString()
        filters.insert(0, new)


def _two_terminal_filters(listener: Any) -> None:
    for filters in _http_filters(listener):
        again = type(filters[0])()
        again.CopyFrom(filters[-1])
        filters.append(again)


def _http_filters(listener: Any) -> Iterator[list[Any]]:
    """The HTTP filters of each chain, to be changed in place."""
    for chain in listener.filter_chains:
        for each in chain.filters:
            if each.typed_config.type_url == type_url(HttpConnectionManager):
                manager = decode(HttpConnectionManager, each.typed_config.value)
                filters = list(manager.http_filters)
                yield filters
                del manager.http_filters[:]
                manager.http_filters.extend(filters)
                each.typed_config.value = manager.SerializeToString()


def _address_clash(listener: Any) -> None:
    listener.address.socket_address.port_value = VIRTUAL_OUTBOUND_PORT


def _certificate(secret: Any) -> None:
    secret.tls_certificate.private_key.inline_bytes = OTHER_KEY


POISONS: Final[Mapping[str, Callable[[Any], None]]] = {
    "duplicate-domain": _duplicate_domain,
    "bad-regex": _bad_regex,
    "missing-cluster": _missing_cluster,
    "zero-weights": _zero_weights,
    "pgv": _pgv,
    "unknown-extension": _unknown_extension,
    "lua": _lua,
    "two-terminal-filters": _two_terminal_filters,
    "address-clash": _address_clash,
    "certificate": _certificate,
}
