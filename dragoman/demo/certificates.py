"""Which certificate a sidecar has, and which one it shows to whoever connects."""

from __future__ import annotations

import asyncio
import json
import ssl
from contextlib import suppress

from cryptography import x509

from dragoman.sidecar import Admin


async def installed(admin: Admin) -> set[int]:
    """Serial numbers of all workload certificates in use, also for connecting (Envoy: admin interface, /certs)."""
    listed = json.loads(await admin.get("/certs"))["certificates"]
    return {int(leaf["serial_number"], 16) for entry in listed for leaf in entry.get("cert_chain", ())}


async def presented(host: str, port: int) -> int:
    """Serial number of the certificate in a new handshake. Raises OSError where nobody answers.

    A client without a certificate is shown the server's, and is turned away only then (RFC 8446, section 4.4.2.4).
    """
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection(host, port, ssl=stranger)
    try:
        certificate: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return x509.load_der_x509_certificate(certificate).serial_number
