"""TLS of servers (Istio: validateTLSOptions)."""

import re
from collections.abc import Iterator

from crds.codes import problem
from crds.problem import Problem
from crds.servertls import CIPHER_SUITES, ECDH_CURVES, ServerTLSMode, ServerTLSSettings, TLSProtocol
from crds.validate import names

_ORDER = tuple(TLSProtocol)
# What Envoy takes (Envoy: CertificateValidationContext); one it refuses would take the whole port with it.
_SPKI = re.compile(r"[A-Za-z0-9+/]{43}=")
_HASH = re.compile(r"[0-9A-Fa-f]{64}|([0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")
_OWN_CERTIFICATE = (ServerTLSMode.SIMPLE, ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)
_CLIENT_CERTIFICATE = (ServerTLSMode.MUTUAL, ServerTLSMode.OPTIONAL_MUTUAL)


def server_tls(tls: ServerTLSSettings, path: str) -> Iterator[Problem]:
    files = [
        name
        for name, held in (
            ("serverCertificate", tls.server_certificate),
            ("privateKey", tls.private_key),
            ("caCertificates", tls.ca_certificates),
            ("tlsCertificates", tls.tls_certificates),
        )
        if held
    ]
    secrets = [
        name
        for name, held in (("credentialName", tls.credential_name), ("credentialNames", tls.credential_names))
        if held
    ]
    if len(secrets) > 1:
        yield problem("DRG0307", path, "credentialName and credentialNames exclude each other", "keep one of them")
    if tls.mode is ServerTLSMode.ISTIO_MUTUAL and (files or secrets):
        yield problem("DRG0311", path, "ISTIO_MUTUAL brings its own certificates", "remove the certificates")
    if tls.mode in _OWN_CERTIFICATE and not secrets:
        yield from _from_files(tls, path)
    if not 0 <= len(tls.credential_names) <= 2:
        yield problem("DRG0314", f"{path}.credentialNames", "at most two: one RSA and one ECDSA certificate")
    if _rank(tls.min_protocol_version) > _rank(tls.max_protocol_version) > 0:
        yield problem(
            "DRG0311", f"{path}.minProtocolVersion", f"higher than maxProtocolVersion {tls.max_protocol_version}"
        )
    if tls.insecure_skip_verify and tls.mode is not ServerTLSMode.MUTUAL:
        yield problem("DRG0311", f"{path}.insecureSkipVerify", "only mode MUTUAL has something to skip", "remove it")
    for index, suite in enumerate(tls.cipher_suites):
        if suite in tls.cipher_suites[:index]:
            yield problem("DRG0309", f"{path}.cipherSuites[{index}]", f"{suite!r} is listed twice")
        if suite not in CIPHER_SUITES:
            yield _unknown(f"{path}.cipherSuites[{index}]", suite, "cipher suite")
    for index, curve in enumerate(tls.ecdh_curves):
        if curve not in ECDH_CURVES:
            yield _unknown(f"{path}.ecdhCurves[{index}]", curve, "curve")
    for field, held, form, what in (
        ("verifyCertificateSpki", tls.verify_certificate_spki, _SPKI, "the base64 of a SHA-256"),
        ("verifyCertificateHash", tls.verify_certificate_hash, _HASH, "the hexadecimal digits of a SHA-256"),
    ):
        for index, value in enumerate(held):
            if not form.fullmatch(value):
                yield problem("DRG0314", f"{path}.{field}[{index}]", f"{value!r} is not {what}")
    for index, name in enumerate(tls.subject_alt_names):
        if "://" not in name:
            yield from names.host(name, f"{path}.subjectAltNames[{index}]", ip=True)


def _unknown(path: str, name: str, what: str) -> Problem:
    return problem("DRG0204", path, f"{name!r} is no {what} that proxies know: it is ignored", "remove it")


def _from_files(tls: ServerTLSSettings, path: str) -> Iterator[Problem]:
    if not tls.tls_certificates:
        for name, held in (("serverCertificate", tls.server_certificate), ("privateKey", tls.private_key)):
            if not held:
                yield problem("DRG0316", f"{path}.{name}", f"{tls.mode} needs a certificate", "or a credentialName")
    if tls.mode in _CLIENT_CERTIFICATE and not (tls.ca_certificates or tls.ca_cert_credential_name):
        yield problem("DRG0316", f"{path}.caCertificates", f"{tls.mode} needs the CA of its clients")


def _rank(version: TLSProtocol | None) -> int:
    return 0 if version is None else _ORDER.index(version)
