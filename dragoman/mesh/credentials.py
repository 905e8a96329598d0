"""Names of credentials: what a gateway asks for, and which Kubernetes Secrets may answer.

Only names enter the engine, contents never do. Istio: pilot/pkg/model/credentials/resource.go.
"""

from __future__ import annotations

from crds.servertls import ServerTLSMode, ServerTLSSettings

SCHEME = "kubernetes://"
CA_SUFFIX = "-cacert"
"""Ends the name of a credential that is a certificate authority."""


def sds_name(credential: str) -> str:
    """The SDS name of a credential as an object writes it, which may be with its scheme already."""
    return credential if credential.startswith(SCHEME) else SCHEME + credential


def secret_names(name: str) -> tuple[str, ...]:
    """The Kubernetes Secrets that may hold the SDS secret `name`, the first that exists counts: an authority stands in
    a Secret of its own or in that of the certificate it goes with (Istio: pilot/pkg/credentials/kube, GetCaCert)."""
    own = name.removeprefix(SCHEME)
    return (own, own.removesuffix(CA_SUFFIX)) if own.endswith(CA_SUFFIX) else (own,)


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
