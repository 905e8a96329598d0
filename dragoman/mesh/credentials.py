"""Names of credentials: what a proxy asks for, and which Kubernetes objects may answer.

Only names enter the engine, contents never do. Istio: pilot/pkg/model/credentials/resource.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from crds.clienttls import ClientTLSMode, ClientTLSSettings
from crds.destinationrule import DestinationRule
from crds.meta import ObjectKey
from crds.servertls import ServerTLSMode, ServerTLSSettings
from crds.trafficpolicy import TrafficPolicy

SCHEME = "kubernetes://"
"""`kubernetes://name`, or with a namespace: a Secret of the proxy's own namespace. What has no scheme is one, too."""
GATEWAY_SCHEME = "kubernetes-gateway://"
"""`kubernetes-gateway://namespace/name`: a Secret of the namespace of the Gateway that names it."""
CONFIG_MAP_SCHEME = "configmap://"
"""`configmap://namespace/name`: a certificate authority, which is public, in a ConfigMap of any namespace."""
BUNDLE_SCHEME = "clustertrustbundle://"
"""`clustertrustbundle://name`: a certificate authority in a ClusterTrustBundle. Istio knows none of these."""
PUBLIC_SCHEMES = (CONFIG_MAP_SCHEME, BUNDLE_SCHEME)
CA_SUFFIX = "-cacert"
"""Ends the name of a credential that is a certificate authority."""


class CredentialUse(NamedTuple):
    """A field that names a credential, and the SDS name of what proxies ask for on its account."""

    name: str
    by: ObjectKey
    path: str
    """The field, from the root of the object's document."""


def sds_name(credential: str) -> str:
    """The SDS name of a credential as an object writes it, which may be with its scheme already."""
    return credential if "://" in credential else SCHEME + credential


def holders(name: str, namespace: str) -> tuple[ObjectKey, ...]:
    """The objects that may hold the SDS secret `name` for a proxy of `namespace`, the first that exists counts.

    An authority stands in an object of its own or in that of the certificate it goes with (Istio:
    pilot/pkg/credentials/kube, GetCaCert). None for a name that can mean no object.
    """
    if name.startswith(BUNDLE_SCHEME):
        bundle = name.removeprefix(BUNDLE_SCHEME).removesuffix(CA_SUFFIX)
        return (ObjectKey("ClusterTrustBundle", "", bundle),) if bundle else ()
    scheme, _, rest = name.partition("://")
    owner, slash, own = rest.rpartition("/")
    if not slash and scheme == "kubernetes":
        owner = namespace
    if not owner or not own or "/" in owner:
        return ()
    stem = own.removesuffix(CA_SUFFIX)
    match scheme:
        case "kubernetes" | "kubernetes-gateway":
            return tuple(ObjectKey("Secret", owner, each) for each in dict.fromkeys((own, stem)))
        case "configmap":
            return (ObjectKey("ConfigMap", owner, stem),)
    return ()


def may_read(use: CredentialUse, namespace: str) -> bool:
    """Whether a proxy whose verified identity is of `namespace` gets what an object names (Istio: pilot/pkg/xds/sds.go,
    filterAuthorizedResources).

    Secrets never leave their namespace. Under `kubernetes-gateway://` the object that names one must be of that
    namespace, too, and a Gateway.
    """
    if use.name.startswith(PUBLIC_SCHEMES):
        return True
    if use.name.startswith(GATEWAY_SCHEME) and (use.by.kind, use.by.namespace) != ("Gateway", namespace):
        return False
    return all(key.namespace == namespace for key in holders(use.name, namespace))


def certificate_names(settings: ServerTLSSettings) -> tuple[str, ...]:
    """SDS names of a server's own certificates: several for different kinds of key."""
    written = settings.credential_names or ((settings.credential_name,) if settings.credential_name else ())
    return tuple(map(sds_name, written))


def authority_name(settings: ServerTLSSettings) -> str | None:
    """SDS name of the CA of a server's clients: named apart, or what goes with the server's certificate.

    None where client certificates are not asked for, or the CA is a file.
    """
    if settings.mode not in (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL):
        return None
    if settings.ca_cert_credential_name:
        return sds_name(settings.ca_cert_credential_name) + CA_SUFFIX
    return next((name + CA_SUFFIX for name in certificate_names(settings)), None)


def names_of_server(settings: ServerTLSSettings) -> Iterator[tuple[str, str]]:
    """`(field, SDS name)` of every credential that a server needs."""
    if settings.mode not in (ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL):
        return
    several = bool(settings.credential_names)
    for index, name in enumerate(certificate_names(settings)):
        yield f"credentialNames[{index}]" if several else "credentialName", name
    authority = authority_name(settings)
    if authority is not None:
        beside = "credentialNames[0]" if several else "credentialName"
        yield "caCertCredentialName" if settings.ca_cert_credential_name else beside, authority


def names_of_client(settings: ClientTLSSettings | None) -> tuple[str, ...]:
    """SDS names of the credentials that a client needs: the authority of its servers, and a certificate if it shows one
    (Istio: pilot/pkg/security/model, ApplyCustomSDSToClientCommonTLSContext)."""
    if settings is None or not settings.credential_name:
        return ()
    if settings.mode not in (ClientTLSMode.SIMPLE, ClientTLSMode.MUTUAL):
        return ()
    name = sds_name(settings.credential_name)
    own = (name,) if settings.mode is ClientTLSMode.MUTUAL else ()
    return own if settings.insecure_skip_verify else (*own, name + CA_SUFFIX)


def may_hold(name: str, *, gateway: bool, selected: bool) -> bool:
    """Whether a client gets a credential that a DestinationRule names; `selected`: the rule has a workloadSelector."""
    return gateway or selected or name.startswith(PUBLIC_SCHEMES)


def uses_of(rule: DestinationRule) -> Iterator[CredentialUse]:
    """Every field of a rule that names a credential."""
    yield from _of_policy(rule.key, rule.spec.traffic_policy, "spec.trafficPolicy")
    for index, subset in enumerate(rule.spec.subsets):
        yield from _of_policy(rule.key, subset.traffic_policy, f"spec.subsets[{index}].trafficPolicy")


def _of_policy(by: ObjectKey, policy: TrafficPolicy | None, path: str) -> Iterator[CredentialUse]:
    if policy is None:
        return
    for name in names_of_client(policy.tls):
        yield CredentialUse(name, by, f"{path}.tls.credentialName")
    for index, port in enumerate(policy.port_level_settings):
        for name in names_of_client(port.tls):
            yield CredentialUse(name, by, f"{path}.portLevelSettings[{index}].tls.credentialName")
