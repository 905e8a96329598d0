"""Resources for tests: small, valid for a real Envoy, with the references that translators would give them."""

from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, Encoded, Ref, from_json

EXTENSIONS = "type.googleapis.com/envoy.extensions."
ADS = {"ads": {}, "resourceApiVersion": "V3", "initialFetchTimeout": "0s"}


def resource(type_url: str, name: str, message: dict[str, Any], *refs: Ref) -> Encoded:
    return Encoded.of_payload(type_url, name, from_json(type_url, message), refs=frozenset(refs))


def blob(type_url: str, name: str, content: object, *refs: Ref) -> Encoded:
    """A resource for machines that never look inside."""
    return Encoded.of_payload(type_url, name, str(content).encode(), refs=frozenset(refs))


def cluster(name: str, **fields: Any) -> Encoded:
    message = {"name": name, "type": "EDS", "connectTimeout": "1s", "edsClusterConfig": {"edsConfig": ADS}, **fields}
    secrets = [(SECRET, secret) for secret in _secrets(fields)]
    return resource(CLUSTER, name, message, (ENDPOINT, name), *secrets)


def tls(secret: str) -> dict[str, Any]:
    context = {"commonTlsContext": {"tlsCertificateSdsSecretConfigs": [{"name": secret, "sdsConfig": ADS}]}}
    upstream = f"{EXTENSIONS}transport_sockets.tls.v3.UpstreamTlsContext"
    return {"transportSocket": {"name": "tls", "typedConfig": {"@type": upstream, **context}}}


def _secrets(fields: dict[str, Any]) -> list[str]:
    context = fields.get("transportSocket", {}).get("typedConfig", {}).get("commonTlsContext", {})
    return [config["name"] for config in context.get("tlsCertificateSdsSecretConfigs", [])]


def endpoints(name: str, *ports: int, **fields: Any) -> Encoded:
    addresses = [{"endpoint": {"address": _address(port)}} for port in ports]
    message = {"clusterName": name, "endpoints": [{"lbEndpoints": addresses}], **fields}
    return resource(ENDPOINT, name, message)


def listener(name: str, route_name: str, port: int = 0, **fields: Any) -> Encoded:
    """Bound to a port of the kernel's choice, so that tests never meet."""
    manager = {
        "@type": f"{EXTENSIONS}filters.network.http_connection_manager.v3.HttpConnectionManager",
        "statPrefix": name,
        "httpFilters": [
            {
                "name": "envoy.filters.http.router",
                "typedConfig": {"@type": f"{EXTENSIONS}filters.http.router.v3.Router"},
            }
        ],
        "rds": {"routeConfigName": route_name, "configSource": ADS},
    }
    chains = [{"filters": [{"name": "http", "typedConfig": manager}]}]
    message = {"name": name, "address": _address(port), "filterChains": chains, **fields}
    return resource(LISTENER, name, message, (ROUTE, route_name))


def route(name: str, *clusters: str, **fields: Any) -> Encoded:
    hosts = [
        {
            "name": f"host{index}",
            "domains": ["*" if index == 0 else f"host{index}"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
        }
        for index, cluster in enumerate(clusters)
    ]
    message = {"name": name, "virtualHosts": hosts, "validateClusters": True, **fields}
    return resource(ROUTE, name, message, *((CLUSTER, cluster) for cluster in clusters))


def changes(*resources: Encoded, gone: tuple[Ref, ...] = ()) -> dict[Ref, Encoded | None]:
    found: dict[Ref, Encoded | None] = {(item.type_url, item.name): item for item in resources}
    return found | dict.fromkeys(gone)


def _address(port: int) -> dict[str, Any]:
    return {"socketAddress": {"address": "127.0.0.1", "portValue": port}}


def secret(name: str, pem: str) -> Encoded:
    certificate = {"certificateChain": {"inlineString": pem}, "privateKey": {"inlineString": pem}}
    return resource(SECRET, name, {"name": name, "tlsCertificate": certificate})


def self_signed() -> str:
    """A key and its certificate in one PEM, which Envoy takes for either."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    begin = datetime(2020, 1, 1, tzinfo=UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=36500))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    format_, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return (certificate + key.private_bytes(serialization.Encoding.PEM, format_, encryption)).decode()
