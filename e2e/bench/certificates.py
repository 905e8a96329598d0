"""The process that measures the certificate service: requests as its callers send them, without the network.

What is counted is all that the service does for a caller that is known: the request decoded, its signature verified,
the certificate signed by an authority that is kept in a file, the audit's log line and metric, the answer encoded.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from prometheus_client import CollectorRegistry

from ca.audit import Audit
from ca.authority import new_root
from ca.caller import Caller
from ca.identity import SpiffeId
from ca.keeper import Keeper
from ca.store import FileStore
from dragoman.cli.logs import LogFormat, LogLevel, configure
from dragoman.codec import encode
from dragoman.codec.messages import IstioCertificateRequest
from dragoman.runtime.certificate_service import CertificateRequests
from dragoman.runtime.impersonation import NodeAccounts
from e2e.bench.measure import memory_mb

_WARM_UP: Final = 200
_REQUESTS: Final = 5000


def _request() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return encode(IstioCertificateRequest(csr=csr.public_bytes(Encoding.PEM).decode(), validity_duration=86_400))


async def _measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        keeper = Keeper(FileStore(Path(folder) / "authority.json"), "bench")
        now = datetime.now(UTC)
        await keeper.open(partial(new_root, "bench", now=now), now)
        requests = CertificateRequests(
            keeper.promise,
            lambda: keeper.authority.roots,
            Audit(CollectorRegistry()),
            NodeAccounts(frozenset(), {}),
        )
        callers = [Caller((SpiffeId("bench", "ns", f"account-{i}"),), "token") for i in range(100)]
        documents = [_request() for _ in range(100)]
        for i in range(_WARM_UP):
            await requests.answer(documents[i % 100], callers[i % 100])
        cpu, clock = time.process_time(), time.perf_counter()
        for i in range(_REQUESTS):
            answer = await requests.answer(documents[i % 100], callers[i % 100])
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - clock
    rss, peak = memory_mb()
    return {
        "ms_per_certificate": cpu * 1000 / _REQUESTS,
        "certificates_per_cpu_second": _REQUESTS / cpu,
        "cpu_s": cpu,
        "seconds": seconds,
        "messages": _REQUESTS,
        "bytes": _REQUESTS * len(answer),
        "rss_mb": rss,
        "peak_rss_mb": peak,
    }


if __name__ == "__main__":
    # As `dragoman serve` logs, but standard output is taken.
    configure(LogFormat.json, LogLevel.info, sys.stderr)
    sys.stdin.readline()
    sys.stdout.write(json.dumps(asyncio.run(_measure())) + "\n")
