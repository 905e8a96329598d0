"""What one stream tells of itself: numbers to the observer, words to the log."""

import time
from collections.abc import Sequence
from typing import Final

import structlog

from xds.convergence import Convergence
from xds.event import Acked, Event, Nacked, Response, Stale, Subscribed
from xds.request import Node
from xds.session import Refused
from xds.status import Observer

LOG: Final = structlog.get_logger("xds")
LOGGED_NAMES: Final = 10


class StreamLog:
    """Of the stream of a proxy, from its admission to its end; `number` is that of the stream."""

    def __init__(self, observer: Observer, proxy: str, number: int) -> None:
        self._observer = observer
        self._proxy = proxy
        self._log = LOG.bind(proxy=proxy, connection=number)
        self._began = time.monotonic()
        self._convergence = Convergence()

    def connected(self, peer: str, node: Node, method: str) -> None:
        """A client was let in."""
        self._observer.connected(self._proxy)
        self._log.info("connected", peer=peer, node=node.id, client=node.user_agent, method=method)

    def changed(self, at: float) -> None:
        """The views changed (`time.monotonic()`)."""
        self._convergence.changed(at)

    def sending(self, response: Response) -> None:
        """A response goes out."""
        self._convergence.sent(response.nonce)

    def resting(self) -> None:
        """Nothing more is due."""
        self._convergence.rest()

    def pushed(self, response: Response, seconds: float) -> None:
        """A response went out; writing it took this long."""
        count = response.count + response.removed
        self._observer.pushed(self._proxy, response.type_url, count, len(response.data), seconds)
        self._log.debug(
            "pushed",
            type=_short(response.type_url),
            nonce=response.nonce,
            version=response.versions,
            resources=response.count,
            removed=response.removed,
            bytes=len(response.data),
        )
        if response.overdue:
            self._observer.waited(self._proxy, response.type_url, response.overdue)
            names = _some(response.overdue)
            self._log.warning("wait given up", type=_short(response.type_url), names=names, of=len(response.overdue))

    def stuck(self, response: Response) -> None:
        """A response is not read, and the connection is cut."""
        size = len(response.data)
        self._log.warning("client does not read: connection cut", type=_short(response.type_url), bytes=size)
        self._observer.stuck(self._proxy, response.type_url)

    def heard(self, event: Event) -> None:
        """What a request meant."""
        match event:
            case Acked():
                changed = self._convergence.answered(event.nonce)
                seconds = event.seconds if changed is None else time.monotonic() - changed
                self._observer.acked(self._proxy, event.type_url, seconds)
                self._log.debug("acked", type=_short(event.type_url), nonce=event.nonce, resources=event.count)
            case Nacked():
                self._convergence.answered(event.nonce)
                names = tuple(name for name, _ in event.culprits)
                self._observer.nacked(self._proxy, event.type_url, names, event.message)
                self._log.warning(
                    "rejected",
                    type=_short(event.type_url),
                    nonce=event.nonce,
                    version=_some([version for _, version in event.culprits]),
                    names=_some(names),
                    error=event.message,
                )
            case Subscribed():
                self._log.debug(
                    "subscribed",
                    type=_short(event.type_url),
                    names=_some(event.subscribe),
                    subscribe=len(event.subscribe),
                    unsubscribe=len(event.unsubscribe),
                    known=event.known,
                )
            case Stale():
                self._log.debug("stale nonce", type=_short(event.type_url), nonce=event.nonce)

    def refused(self, refused: Refused) -> None:
        """The stream ends with a status that says why."""
        self._log.warning("refused", code=refused.code.name, reason=refused.message)
        self._observer.refused(refused.code.name)

    def disconnected(self) -> None:
        """The stream is over."""
        seconds = time.monotonic() - self._began
        self._observer.disconnected(self._proxy, seconds)
        self._log.info("disconnected", seconds=round(seconds, 3))


def _short(type_url: str) -> str:
    return type_url.rpartition(".")[2]


def _some(names: Sequence[str]) -> Sequence[str]:
    return names[:LOGGED_NAMES]
