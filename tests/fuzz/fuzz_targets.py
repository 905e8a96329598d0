"""What strangers may send, target by target: bytes that a target raises for, hangs on or is hurt by are a bug.

The corpus beside this file is what the fuzzer found to lead new ways through the code, made small; `test_fuzz_corpus`
replays it. `python -m tests.fuzz TARGET` looks for more.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from ipaddress import ip_network
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.message import DecodeError
from prometheus_client import CollectorRegistry

from ca.audit import Audit
from ca.authority import Authority, new_root
from ca.caller import Caller
from ca.identity import SpiffeId
from crds import jwks
from crds.kubernetes import Secret
from crds.meta import ObjectMeta
from dragoman.admission import review, validation
from dragoman.callers.client_certificate import ClientCertificate
from dragoman.callers.credentials import Credentials, NotAuthenticatedError
from dragoman.callers.forwarded_certificate import ForwardedCertificate
from dragoman.callers.json_web_token import JsonWebToken
from dragoman.callers.key_sets import KeySet
from dragoman.codec import CLUSTER, ENDPOINT, LISTENER, ROUTE, Encoded, frame
from dragoman.runtime.certificate_service import CertificateRequests
from dragoman.runtime.impersonation import NodeAccounts
from dragoman.sources import manifest
from translators.credentials import CredentialError, credential
from xds import Patience, Refused, View
from xds.services import services
from xds.subscription import LimitExceededError

Target = Callable[[bytes], None]
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_RESPONSES: Final = 100
"""More than a stream of a handful of resources has to say to one request."""
_ANSWERS: Final = ("@", "A")
"""Nonces that stand for that of the latest response, which no fuzzer guesses."""


def delta_stream(data: bytes) -> None:
    """Requests of a stranger on an incremental stream."""
    _stream("DeltaAggregatedResources", data)


def sotw_stream(data: bytes) -> None:
    """The same in the state of the world."""
    _stream("StreamAggregatedResources", data)


def _stream(method: str, data: bytes) -> None:
    (found,) = (each for methods in services().values() for each in methods if each.name == method)
    view = _view()
    wanted = {resource.ref: resource for resource in view.dump()}
    stream = found.stream((view,), patience=Patience())
    nonces: dict[str, str] = {}
    now = 0.0
    for message in _chunks(data):
        now += 0.5
        try:
            request = found.parse(message)
            if request.nonce in _ANSWERS:
                request = replace(request, nonce=nonces.get(request.type_url, ""))
            stream.receive(request, now)
        except (DecodeError, LimitExceededError):
            break
        said = 0
        while (response := stream.next_response(now)) is not None:
            nonces[response.type_url] = response.nonce
            said += 1
            assert said < _RESPONSES, "a stream that never ends to speak"
        stream.deadline()
        stream.status()
        tuple(stream.resources(now, now))
    stream.close()
    assert {ref: view.wanted(ref) for ref in wanted} == wanted, "what is wanted changed by what a client said"
    assert not view.followers


def _view() -> View:
    view = View("fuzzed")
    endpoints = Encoded.of_payload(ENDPOINT, "c", frame(1, b"c"))
    cluster = Encoded.of_payload(CLUSTER, "c", frame(1, b"c"), refs=frozenset(((ENDPOINT, "c"),)))
    route = Encoded.of_payload(ROUTE, "r", frame(1, b"r"), refs=frozenset(((CLUSTER, "c"),)))
    listener = Encoded.of_payload(LISTENER, "l", frame(1, b"l"), refs=frozenset(((ROUTE, "r"),)))
    view.apply({(each.type_url, each.name): each for each in (endpoints, cluster, route, listener)})
    return view


def _chunks(data: bytes) -> Iterator[bytes]:
    """Messages, each after its length in two bytes."""
    while len(data) >= 2:
        size = int.from_bytes(data[:2], "big")
        yield data[2 : 2 + size]
        data = data[2 + size :]


def certificate_request(data: bytes) -> None:
    """`CreateCertificate` of a workload: never for another name than its own."""
    requests = CertificateRequests(_promise, lambda: _root().roots, _audit(), NodeAccounts(frozenset(), {}))
    caller = Caller((SpiffeId("cluster.local", "shop", "web"),), "fuzz")
    with contextlib.suppress(Refused):
        answer = _run(requests.answer(data, caller))
        assert b"spiffe" not in answer, "certificates are PEM"


async def _promise(_until: datetime) -> Authority:
    return _root()


def bearer_token(data: bytes) -> None:
    """A token that nobody signed."""
    keys = KeySet((jwt.PyJWK({**_public_key(), "alg": "ES256"}),))
    verifier = JsonWebToken("https://issuer.example", ("istio-ca",), keys, lambda: "cluster.local")
    _nobody(verifier.authenticate(Credentials("ipv4:10.0.0.1:1", token=data.decode(errors="replace"))))


def forwarded_certificate(data: bytes) -> None:
    """`x-forwarded-client-cert`, from a gateway and from a stranger: the same header convinces of one of them only."""
    text = data.decode(errors="replace")
    gateways = ForwardedCertificate((ip_network("10.0.0.1"),), lambda: ("cluster.local",))
    with contextlib.suppress(NotAuthenticatedError):
        _run(gateways.authenticate(Credentials("ipv4:10.0.0.1:1", xfcc=text)))
    _nobody(gateways.authenticate(Credentials("ipv4:10.0.0.2:1", xfcc=text)))


def client_certificate(data: bytes) -> None:
    """A certificate that OpenSSL let pass."""
    try:
        x509.load_der_x509_certificate(data)
    except (ValueError, x509.InvalidVersion):
        return  # no mesh's CA has signed that
    caller = ClientCertificate(lambda: ("cluster.local",))
    with contextlib.suppress(NotAuthenticatedError):
        _run(caller.authenticate(Credentials("ipv4:10.0.0.1:1", certificate=data)))


def key_set(data: bytes) -> None:
    """A JSON Web Key Set from a URL: what is read writes itself again as it is."""
    with contextlib.suppress(jwks.KeySetError):
        found = jwks.read(data, shared_secrets=False)
        if found.text is not None:
            assert jwks.read(found.text, shared_secrets=False).text == found.text
            assert '"d"' not in found.text
            KeySet.parse(found.text)


def gateway_credential(data: bytes) -> None:
    """Certificate and key of a Secret."""
    chain, _, key = data.partition(b"\0")
    secret = Secret(metadata=ObjectMeta(name="c", namespace="n"), data={"tls.crt": chain, "tls.key": key})
    with contextlib.suppress(CredentialError):
        credential("kubernetes://c", "n", lambda key: secret if key.kind == "Secret" else None)


def objects(data: bytes) -> None:
    """A file of YAML: it yields objects or reports, and says the same when it is read again."""
    first = manifest.manifest_of("fuzz.yaml", data)
    assert first is not None
    assert manifest.manifest_of("fuzz.yaml", data, first) == first
    for report in manifest.reports("fuzz.yaml", first):
        assert str(report)


def admission_review(data: bytes) -> None:
    """What somebody sends to the webhook."""
    with contextlib.suppress(review.MalformedReviewError):
        request = review.read(data)
        review.answer(request, validation.judge(request))


TARGETS: Final[dict[str, Target]] = {
    each.__name__: each
    for each in (
        delta_stream,
        sotw_stream,
        certificate_request,
        bearer_token,
        forwarded_certificate,
        client_certificate,
        key_set,
        gateway_credential,
        objects,
        admission_review,
    )
}


@lru_cache
def _root() -> Authority:
    return new_root("cluster.local", now=_NOW)


@lru_cache
def _audit() -> Audit:
    return Audit(CollectorRegistry())


@lru_cache
def _public_key() -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return dict(jwt.algorithms.ECAlgorithm.to_jwk(key, as_dict=True))


@lru_cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _run(coroutine: Awaitable[Any]) -> Any:
    return _loop().run_until_complete(coroutine)


def _nobody(answer: Awaitable[Caller | None]) -> None:
    with contextlib.suppress(NotAuthenticatedError):
        assert _run(answer) is None, "somebody who proved nothing was taken for somebody"
