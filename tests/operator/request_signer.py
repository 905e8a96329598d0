"""A signer of CertificateSigningRequests, as an operator may run one: it signs what is approved for its name."""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ca.authority import Authority, new_root, pem
from dragoman.kube import Cluster
from dragoman.kube.resources import CERTIFICATE_SIGNING_REQUESTS as REQUESTS


def an_intermediate(root: Authority) -> Authority:
    """A CA under a root."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .issuer_name(root.certificate.subject)
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "issuing CA")]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(root.key, hashes.SHA256())
    )
    return Authority(certificate, key, root.roots, (certificate,))


def certificate_for(
    authority: Authority,
    csr_pem: bytes,
    life: timedelta,
    *,
    names: Sequence[x509.GeneralName] | None = None,
    usages: Sequence[x509.ObjectIdentifier] = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    ca: bool = False,
    starts_in: timedelta = timedelta(minutes=-1),
    key: Any = None,
) -> x509.Certificate:
    """What most signers do: take the names from the request."""
    request = x509.load_pem_x509_csr(csr_pem)
    wanted = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value if names is None else names
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .issuer_name(authority.certificate.subject)
        .subject_name(x509.Name([]))
        .public_key(key or request.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + starts_in)
        .not_valid_after(now + life)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    if list(wanted):
        builder = builder.add_extension(x509.SubjectAlternativeName(wanted), critical=True)
    return builder.sign(authority.key, hashes.SHA256())


class RequestSigner:
    """`name` is of the test alone, `seen` the requests that came, with all that was in them."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.name = f"signer-{secrets.token_hex(4)}.example.com/mesh"
        self.root = new_root("an operator's own", now=datetime.now(UTC))
        self.authority = an_intermediate(self.root)
        self.seen: list[dict[str, Any]] = []
        self.answering = asyncio.Event()
        self.answering.set()
        self.refuses: str | None = None
        """`Denied` or `Failed` in place of a certificate."""
        self.life: timedelta | None = None
        """In place of what is asked for."""

    async def left(self) -> list[dict[str, Any]]:
        """Requests for this signer that are still there."""
        return [each for each in await self._cluster.list(REQUESTS) if each["spec"]["signerName"] == self.name]

    async def run(self) -> None:
        query = {"watch": "true", "fieldSelector": f"spec.signerName={self.name}"}
        async with self._cluster.lines(REQUESTS.path(), query=query) as events:
            async for line in events:
                event = msgspec.json.decode(line)
                if event["type"] == "DELETED":
                    continue
                request = event["object"]
                types = {each["type"] for each in request["status"].get("conditions", ())}
                if types == {"Approved"} or self.refuses == "Denied":
                    if request["status"].get("certificate") or types & {"Denied", "Failed"}:
                        continue
                    self.seen.append(request)
                    await self.answering.wait()
                    await self._answer(request)

    async def _answer(self, request: dict[str, Any]) -> None:
        if self.refuses is not None:
            condition = {"type": self.refuses, "status": "True", "reason": "Policy", "message": "not on a Sunday"}
            conditions = [*request["status"].get("conditions", ()), condition]
            where = "approval" if self.refuses == "Denied" else "status"
            await self._cluster.replace(REQUESTS, {**request, "status": {"conditions": conditions}}, subresource=where)
            return
        spec = request["spec"]
        life = self.life or timedelta(seconds=spec["expirationSeconds"])
        leaf = certificate_for(self.authority, base64.b64decode(spec["request"]), life)
        chain = base64.b64encode(pem([leaf, *self.authority.intermediates])).decode()
        status = {**request["status"], "certificate": chain}
        await self._cluster.replace(REQUESTS, {**request, "status": status}, subresource="status")


@asynccontextmanager
async def a_signer(cluster: Cluster) -> AsyncIterator[RequestSigner]:
    """One that runs."""
    signer = RequestSigner(cluster)
    running = asyncio.create_task(signer.run())
    try:
        yield signer
    finally:
        if running.done():
            running.result()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
