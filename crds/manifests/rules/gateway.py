"""Gateway and TLS of servers: see `crds.validate.gateway` and `crds.validate.servertls`."""

from collections.abc import Mapping

import msgspec

from crds.gateway import GatewaySpec, Port, Server
from crds.manifests.cel import implies, is_one_of, lists, not_both, texts, yes
from crds.manifests.constraint import Constraint, Rule
from crds.manifests.patterns import (
    BIND,
    GATEWAY_HOST,
    LABEL_VALUES,
    NOT_EMPTY,
    PORT,
    SUBJECT_NAME,
    any_case,
    items,
    text,
)
from crds.servertls import ServerTLSSettings
from crds.shape import ListOf, message_of
from crds.validate.gateway import PROTOCOLS

PROTOCOL = text("protocol", any_case(*sorted(PROTOCOLS)), maxLength=8)

_ENCRYPTED = "(self.port.protocol.upperAscii() in ['HTTPS', 'TLS'])"
_PLAIN_HTTP = "self.port.protocol.upperAscii() in ['HTTP', 'HTTP2', 'GRPC', 'GRPC-WEB', 'GRPC_WEB']"
_REDIRECTS = "(has(self.tls) && has(self.tls.httpsRedirect) && self.tls.httpsRedirect)"
_TLS_FIELDS = " || ".join(
    f"(has(self.tls.{field.name}) && size(self.tls.{field.name}) > 0)"
    if isinstance(field.shape, ListOf)
    else f"has(self.tls.{field.name})"
    for field in message_of(ServerTLSSettings).fields.values()
    if field.name != "httpsRedirect"
)
_FILES = f"({texts('serverCertificate', 'privateKey', 'caCertificates')} || {lists('tlsCertificates')})"
_SECRETS = f"({texts('credentialName')} || {lists('credentialNames')})"

CONSTRAINTS: Mapping[type[msgspec.Struct], Constraint] = {
    GatewaySpec: Constraint(required=("servers",), fields={"servers": {"minItems": 1}, "selector": LABEL_VALUES}),
    Server: Constraint(
        rules=(
            Rule(
                implies(_ENCRYPTED, "has(self.tls)"), "HTTPS and TLS need tls settings: add tls.mode", "DRG0316", ".tls"
            ),
            Rule(
                f"{_ENCRYPTED} || !has(self.tls) || !({_TLS_FIELDS})",
                "only HTTPS and TLS are served over TLS: use one of them, or remove the tls settings",
                "DRG0311",
                ".tls",
            ),
            Rule(
                implies(_REDIRECTS, _PLAIN_HTTP),
                "only servers of plain HTTP have something to redirect: remove tls.httpsRedirect",
                "DRG0311",
                ".tls.httpsRedirect",
            ),
        ),
        fields={"hosts": items(GATEWAY_HOST, minItems=1), "bind": BIND},
    ),
    Port: Constraint(fields={"number": PORT, "protocol": PROTOCOL, "name": NOT_EMPTY}),
    ServerTLSSettings: Constraint(
        rules=(
            Rule(
                not_both(texts("credentialName"), lists("credentialNames")),
                "credentialName and credentialNames exclude each other: keep one of them",
                "DRG0307",
            ),
            Rule(
                not_both(is_one_of("mode", "ISTIO_MUTUAL"), f"({_FILES} || {_SECRETS})"),
                "ISTIO_MUTUAL brings its own certificates: remove the certificates",
                "DRG0311",
            ),
            *(
                Rule(
                    f"!{is_one_of('mode', 'SIMPLE', 'MUTUAL', 'OPTIONAL_MUTUAL')} || {_SECRETS}"
                    f" || {lists('tlsCertificates')} || {texts(field)}",
                    "the mode needs a certificate and its key, or a credentialName",
                    "DRG0316",
                    f".{field}",
                )
                for field in ("serverCertificate", "privateKey")
            ),
            Rule(
                f"!{is_one_of('mode', 'MUTUAL', 'OPTIONAL_MUTUAL')} || {_SECRETS}"
                f" || {texts('caCertificates', 'caCertCredentialName')}",
                "the mode needs the CA of its clients: caCertificates, caCertCredentialName or a credentialName",
                "DRG0316",
                ".caCertificates",
            ),
            Rule(
                "!has(self.minProtocolVersion) || !has(self.maxProtocolVersion)"
                " || self.minProtocolVersion == 'TLS_AUTO' || self.maxProtocolVersion == 'TLS_AUTO'"
                " || self.minProtocolVersion <= self.maxProtocolVersion",
                "minProtocolVersion is higher than maxProtocolVersion",
                "DRG0311",
                ".minProtocolVersion",
            ),
            Rule(
                implies(yes("insecureSkipVerify"), is_one_of("mode", "MUTUAL")),
                "only mode MUTUAL has something to skip: remove insecureSkipVerify",
                "DRG0311",
                ".insecureSkipVerify",
            ),
        ),
        fields={
            "credentialNames": {"maxItems": 2},
            "verifyCertificateSpki": items(text("SHA256_in_base64", "[A-Za-z0-9+/]{43}=")),
            "verifyCertificateHash": items(
                text("SHA256_in_hexadecimal_digits", "[0-9A-Fa-f]{64}|(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}")
            ),
            "subjectAltNames": items(SUBJECT_NAME),
        },
    ),
}
