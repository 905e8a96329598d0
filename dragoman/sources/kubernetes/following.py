"""A reflector at work: its requests sent, its answers handed to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Final, NoReturn

import msgspec
import structlog

from dragoman.kube import ApiError, Cluster
from dragoman.sources.kubernetes.reflector import Delta, Reflector

log = structlog.get_logger(__name__)

_PAGE_WITHIN: Final = 60.0
"""Seconds: a page of five hundred objects may come from a slow server."""

_METADATA: Final = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"}
_METADATA_LIST: Final = {"Accept": "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"}
"""Of objects and of a list (Kubernetes: API concepts, metadata-only fetches)."""

Deliver = Callable[[Iterable[Delta]], None]


async def follow(
    cluster: Cluster,
    path: str,
    reflector: Reflector,
    deliver: Deliver,
    on_turn: Callable[[], None] = lambda: None,
    *,
    metadata_only: bool = False,
) -> NoReturn:
    """Follow the objects under a path, or their metadata, until cancelled.

    `deliver` gets what changed and exhausts it; `on_turn` is told when all is listed and of each answer that is over,
    after which the reflector may be denied or in trouble.
    """
    while True:
        request = reflector.request()
        error = None
        started = time.monotonic()
        try:
            if request.stream:
                listed = reflector.listed
                async with cluster.lines(
                    path, query=request.query, idle_timeout=request.idle, headers=_METADATA if metadata_only else None
                ) as lines:
                    async for line in lines:
                        deliver(reflector.event(line))
                        if reflector.listed != listed:
                            listed = reflector.listed
                            on_turn()
            else:
                headers = _METADATA_LIST if metadata_only else None
                body = await cluster.request("GET", path, query=request.query, headers=headers, within=_PAGE_WITHIN)
                deliver(reflector.page(body))
        except ApiError as failure:
            error = failure
        except msgspec.MsgspecError as failure:
            # A proxy in between that answers in its own words, or an answer that was cut off.
            error = ApiError(0, "Unreadable", f"{cluster.server}{path}: {failure}")
        pause = reflector.ended(error, lived=time.monotonic() - started)
        if error is not None and pause:
            log.info("watch interrupted", path=path, error=str(error), again_in=round(pause, 3))
        on_turn()
        await asyncio.sleep(pause)
