"""The webhooks over HTTPS: `/validate` and `/inject` (Istio: pkg/webhooks/validation/server, pkg/kube/inject).

An object never causes an HTTP error: whatever is wrong with it is an answer. What is no review is 400.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry

from crds.codes import problem
from dragoman.admission.injection_path import environment
from dragoman.admission.listener import listen
from dragoman.admission.metrics import AdmissionMetrics
from dragoman.admission.review import AdmissionRequest, MalformedReviewError, Verdict, answer, read
from dragoman.admission.validation import judge

log = structlog.get_logger(__name__)

Inject = Callable[[AdmissionRequest, Mapping[str, str]], Awaitable[Verdict]]
"""What becomes of a pod; the mapping is what the webhook's path says of the proxy (`injection_path.environment`)."""

BODY_BYTES: Final = 6 << 20
"""Largest review (Istio: pkg/kube, MaxRequestBodyBytes): twice what etcd stores, for the old and the new object."""

_SMALL_BYTES: Final = 256 << 10
_SMALL_AT_ONCE: Final = 512
_LARGE_AT_ONCE: Final = 8
"""Bodies in memory at once: some 170 MB at the very worst. The others wait."""

_READ_SECONDS: Final = 10.0
"""An API server waits no longer for an answer than that by default."""

_IDLE_SECONDS: Final = 120.0
"""Longer than API servers keep idle connections (90 s, Go's net/http), so that it is never this side that closes one
upon which a review is on its way."""

_GRACE_SECONDS: Final = 5.0


class AdmissionServer:
    """Answers an API server.

    `certificate` is asked for each connection; `inject` decides about pods; `registry` gets the metrics.
    """

    def __init__(
        self, certificate: Callable[[], ssl.SSLContext], inject: Inject, registry: CollectorRegistry | None = None
    ) -> None:
        self._certificate = certificate
        self._inject = inject
        self._metrics = AdmissionMetrics(registry or CollectorRegistry())
        self._small = asyncio.Semaphore(_SMALL_AT_ONCE)
        self._large = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._validating = asyncio.Lock()
        self._injecting = asyncio.Lock()
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/validate", self._validation)
        app.router.add_post("/inject", self._injection)
        app.router.add_post("/inject/{about:.*}", self._injection)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            shutdown_timeout=_GRACE_SECONDS,
            keepalive_timeout=_IDLE_SECONDS,
            handle_signals=False,
            # Who has given up waiting keeps nobody else waiting.
            handler_cancellation=True,
        )
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; port 0 takes a free one, which is returned. Raises OSError when the address cannot be bound."""
        await self._runner.setup()
        assert self._runner.server is not None  # noqa: S101 - made by setup
        try:
            self._server = await listen(self._runner.server, host, port, self._certificate)
        except OSError:
            await self._runner.cleanup()
            raise
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept no more, answer what has been asked, and close the connections."""
        if self._server is not None:
            self._server.close()
        await self._runner.cleanup()

    async def _validation(self, http: web.Request) -> web.Response:
        try:
            request = await self._read(http)
            verdict = await _decided(self._validating, request, lambda: _judged(request))
        except web.HTTPException as refusal:
            self._metrics.refused(injection=False, status=refusal.status)
            raise
        self._metrics.validated(request, verdict)
        if not verdict.allowed:
            _log_refusal("configuration refused", request, verdict)
        return _answered(request, verdict)

    async def _injection(self, http: web.Request) -> web.Response:
        try:
            request = await self._read(http)
            about = environment(http.match_info.get("about", ""))
            started = time.perf_counter()
            verdict = await _decided(self._injecting, request, lambda: self._inject(request, about))
        except web.HTTPException as refusal:
            self._metrics.refused(injection=True, status=refusal.status)
            raise
        self._metrics.injected(verdict, time.perf_counter() - started)
        if not verdict.allowed:
            _log_refusal("pod refused", request, verdict)
        return _answered(request, verdict)

    async def _read(self, http: web.Request) -> AdmissionRequest:
        """The review in a request; raises an HTTP error for what is none."""
        if http.content_type != "application/json":
            raise web.HTTPUnsupportedMediaType(text=f"expected application/json, not {http.content_type}\n")
        size = http.content_length
        bodies = self._small if size is not None and size <= _SMALL_BYTES else self._large
        try:
            async with asyncio.timeout(_READ_SECONDS), bodies:
                return read(await http.read())
        except web.HTTPRequestEntityTooLarge:
            raise web.HTTPBadRequest(text=f"larger than {BODY_BYTES} bytes\n") from None
        except MalformedReviewError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        except TimeoutError:
            raise web.HTTPRequestTimeout(text=f"the review did not come within {_READ_SECONDS:g} s\n") from None


async def _judged(request: AdmissionRequest) -> Verdict:
    return judge(request)


async def _decided(turn: asyncio.Lock, request: AdmissionRequest, decide: Callable[[], Awaitable[Verdict]]) -> Verdict:
    """The decision; where that fails by our own fault, the object stays out, with a word for its author.

    One in each turn of the event loop: a thousand pods at once must not keep streams waiting.
    """
    async with turn:
        await asyncio.sleep(0)
        try:
            return await decide()
        except MalformedReviewError as error:
            raise web.HTTPBadRequest(text=f"{error}\n") from None
        except Exception:
            log.exception("webhook failed", kind=request.kind.kind, namespace=request.namespace, name=request.name)
            remedy = "see the control plane's log"
            return Verdict(errors=(problem("DRG0701", "", "the webhook failed on this object", remedy),))


def _answered(request: AdmissionRequest, verdict: Verdict) -> web.Response:
    return web.Response(body=answer(request, verdict), content_type="application/json")


def _log_refusal(event: str, request: AdmissionRequest, verdict: Verdict) -> None:
    log.info(
        event,
        kind=request.kind.kind,
        namespace=request.namespace,
        name=request.name,
        operation=request.operation,
        dry_run=request.dry_run,
        codes=[each.code for each in verdict.errors],
    )
