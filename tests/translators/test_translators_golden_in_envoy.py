"""Every golden case in a real Envoy, by delta ADS from the real server: taken whole, warm, and as it was built."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from envoy_data_plane.envoy.config.core.v3 import DataSource
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    Secret,
    TlsCertificate,
)

from dragoman.codec import ENDPOINT, LISTENER, ROUTE, SECRET, Encoded, decode, encode, to_json
from tests.support.xds_envoy import ServedEnvoy, served_envoy
from tests.translators.gateway_certificates import Authority
from tests.translators.golden import Case, cases, resources
from translators.names import ROOT_CERTIFICATES

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="module")]

_UNBOUND = encode(Listener(bind_to_port=False))
"""Appended to a listener, so that Envoy takes it in full but binds no socket: neither root nor free ports needed."""

_OPAQUE = bytes((10 << 3 | 2, 2, 1 << 3, 0))
"""Listener.transparent = false, spelled out so that it overrides: Envoy crashes for it where there is no socket."""


class Secrets:
    """A certificate or roots for any name that is asked for, and the files that cases name."""

    def __init__(self, folder: Path) -> None:
        authority = Authority()
        self._pair = authority.issue("golden.example.com")
        self._roots = authority.pem
        (folder / "certificates").mkdir()
        for name, content in {
            "ca.pem": self._roots,
            "cert.pem": self._pair.certificate,
            "key.pem": self._pair.key,
        }.items():
            (folder / "certificates" / name).write_bytes(content)

    def __call__(self, name: str) -> Encoded:
        secret = Secret(name=name)
        if name == ROOT_CERTIFICATES or name.endswith("-cacert"):
            secret.validation_context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=self._roots))
        else:
            secret.tls_certificate = TlsCertificate(
                certificate_chain=DataSource(inline_bytes=self._pair.certificate),
                private_key=DataSource(inline_bytes=self._pair.key),
            )
        return Encoded.of(secret)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def secrets(folder: Path) -> Secrets:
    return Secrets(folder)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def envoy(folder: Path, secrets: Secrets) -> AsyncIterator[ServedEnvoy]:
    async with served_envoy(folder) as served:
        yield served


def unbound(resource: Encoded) -> Encoded:
    if resource.type_url != LISTENER:
        return resource
    payload, listener = resource.payload + _UNBOUND, decode(LISTENER, resource.payload)
    if listener.transparent.value and not listener.HasField("bind_to_port"):
        payload += _OPAQUE
    return Encoded.of_payload(LISTENER, resource.name, payload, refs=resource.refs)


def named_secrets(listed: Iterable[Encoded], secrets: Secrets) -> list[Encoded]:
    names = {name for resource in listed for type_url, name in resource.refs if type_url == SECRET}
    return [secrets(name) for name in sorted(names)]


@pytest.mark.parametrize("case", cases(), ids=str)
async def test_envoy_takes_a_case_as_it_was_built(case: Case, envoy: ServedEnvoy, secrets: Secrets) -> None:
    built = [unbound(r) for kind in resources(case.mesh(), case.proxy).values() for r in kind.values()]
    await envoy.serve([*built, *named_secrets(built, secrets)])
    named = {ref for resource in built for ref in resource.refs}
    dumped, addresses = await envoy.dump(), await envoy.addresses()
    for resource in built:
        if resource.type_url == ENDPOINT:
            assert addresses[resource.name] == set(_sockets(to_json(ENDPOINT, resource.payload)))
        elif resource.type_url != ROUTE or (ROUTE, resource.name) in named:  # Envoy asks for routes by name
            got = dumped.get((resource.type_url, resource.name))
            assert got is not None, f"Envoy does without {resource.name}"
            if decode(resource.type_url, got) != decode(resource.type_url, resource.payload):
                expected = to_json(resource.type_url, resource.payload)
                assert _without_keys(to_json(resource.type_url, got)) == _without_keys(expected)


def _sockets(assignment: Any) -> Iterator[tuple[str, int]]:
    for locality in assignment.get("endpoints", []):
        for endpoint in locality["lbEndpoints"]:
            socket = endpoint["endpoint"]["address"]["socketAddress"]
            yield socket["address"], socket["portValue"]


def _without_keys(value: Any) -> Any:
    """Envoy does not show private keys, nor where they are."""
    match value:
        case dict():
            return {key: _without_keys(held) for key, held in value.items() if key != "privateKey"}
        case list():
            return [_without_keys(held) for held in value]
    return value
