"""An authority as files by name, wherever they are kept: in a directory, or in a Kubernetes Secret.

`ca-cert.pem` signs with `ca-key.pem`; `root-cert.pem` is the trust bundle; `cert-chain.pem` leads from the signing
certificate to the root (Istio: "Plug in CA Certificates"). A `kubernetes.io/tls` layout (`tls.crt`, `tls.key`,
`ca.crt`) is read too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from ca.authority import Authority, AuthorityError, key_pem, pem


@dataclass(frozen=True, slots=True)
class Layout:
    certificate: str
    key: str
    root: str
    chain: str | None

    def required(self) -> tuple[str, ...]:
        return (self.certificate, self.key, self.root)

    def names(self) -> tuple[str, ...]:
        return self.required() if self.chain is None else (*self.required(), self.chain)


ISTIO: Final = Layout("ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem")
KUBERNETES_TLS: Final = Layout("tls.crt", "tls.key", "ca.crt", None)


class RootStoreError(AuthorityError):
    """What is kept is no usable authority. `str()` names the file and the remedy; never a key."""


def layout_of(names: Collection[str], place: str) -> Layout:
    """The layout of a set of files. Raises `RootStoreError` if some are missing."""
    for layout in (ISTIO, KUBERNETES_TLS):
        missing = [name for name in layout.required() if name not in names]
        if not missing:
            return layout
        if len(missing) < len(layout.required()):
            raise RootStoreError(f"{place} is incomplete: {', '.join(missing)} missing")
    expected = " or ".join(", ".join(layout.required()) for layout in (ISTIO, KUBERNETES_TLS))
    raise RootStoreError(f"{place} holds no CA: expected {expected}")


def parse(files: Mapping[str, bytes], place: str) -> Authority:
    """The authority that these files are; `place` is where they were found. Raises `RootStoreError`."""
    layout = layout_of(files, place)
    certificates = _certificates(files, layout.certificate, place)
    roots = tuple(_certificates(files, layout.root, place))
    chain = certificates
    if layout.chain is not None and layout.chain in files:
        chain = certificates[:1] + _certificates(files, layout.chain, place)
    # Bundles repeat the signing certificate, or end in the root; peers need neither twice, and have the root already.
    intermediates = tuple(dict.fromkeys(c for c in chain if c not in roots))
    try:
        return Authority(certificates[0], _key(files, layout.key, place), roots, intermediates)
    except AuthorityError as error:
        raise RootStoreError(f"{place}: {error}") from error


def files_of(authority: Authority) -> dict[str, bytes]:
    """An authority in Istio's layout."""
    return {
        "ca-cert.pem": pem([authority.certificate]),
        "ca-key.pem": key_pem(authority.key),
        "cert-chain.pem": pem(authority.intermediates or (authority.certificate,)),
        "root-cert.pem": authority.roots_pem,
    }


def _certificates(files: Mapping[str, bytes], name: str, place: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(files[name])
    except (ValueError, x509.InvalidVersion) as error:
        raise RootStoreError(f"{place}/{name} holds no PEM certificate: {error}") from error


def _key(files: Mapping[str, bytes], name: str, place: str) -> ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey:
    try:
        key = load_pem_private_key(files[name], password=None)
    except (ValueError, TypeError):
        # The cause could quote the file.
        raise RootStoreError(f"{place}/{name} holds no unencrypted PEM private key") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise RootStoreError(f"{place}/{name}: a key of this type is not supported, use EC or RSA")
    return key
