"""Certificates of a test's own Kubernetes cluster, and the kubeconfigs that hold them."""

import base64
import datetime as dt
import ipaddress
import json
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


class ClusterCA:
    """Signs the API server's certificate and those by which it knows its users. Its own are `ca.crt` and `ca.key`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tests")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        self.key = folder / "ca.key"
        self.key.write_bytes(_pem(self._key))

    def serving(self, name: str, hosts: Sequence[str]) -> tuple[Path, Path]:
        """The files of a certificate, and its key, for a server at these names and addresses."""
        alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        return self._issue(name, (), alternatives, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]))

    def kubeconfig(self, server: str, user: str, groups: Sequence[str]) -> Path:
        """A kubeconfig with a certificate of a user in these groups."""
        certificate, key = self._issue(user, groups, x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]))
        trusted = {"server": server, "certificate-authority-data": _base64(self.certificate)}
        credentials = {"client-certificate-data": _base64(certificate), "client-key-data": _base64(key)}
        path = self._folder / f"{_file_name(user)}.kubeconfig"
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "tests",
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
                    "clusters": [{"name": "tests", "cluster": trusted}],
                    "users": [{"name": user, "user": credentials}],
                }
            )
        )
        return path

    def _issue(self, name: str, groups: Sequence[str], *extensions: x509.ExtensionType) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        # Kubernetes reads the user from the common name and the groups from the organizations.
        organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        subject = x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.BasicConstraints(ca=False, path_length=None), *extensions)
        files = self._folder / f"{_file_name(name)}.crt", self._folder / f"{_file_name(name)}.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(_pem(key))
        return files

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=7))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        return builder.sign(self._key, hashes.SHA256())


def token_keys(folder: Path) -> tuple[Path, Path]:
    """The files of the key that signs service accounts' tokens, private and public."""
    key = rsa.generate_private_key(65537, 2048)
    files = folder / "tokens.key", folder / "tokens.pub"
    files[0].write_bytes(_pem(key))
    public = key.public_key()
    files[1].write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return files


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    encoding, shape = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return key.private_bytes(encoding, shape, serialization.NoEncryption())


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _file_name(user: str) -> str:
    return user.replace(":", "_").replace("/", "_")
