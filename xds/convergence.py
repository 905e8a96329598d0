"""How long a client takes to have a change: from the change of its views to its ACK."""


class Convergence:
    """Change times of one stream, by the nonces of the responses that carry them.

    A response carries all that changed since the one before, and what waited for the ACK of one that is in flight. The
    times are lower bounds where a response waits for longer than that.
    """

    __slots__ = ("_carried", "_changed", "_last")

    def __init__(self) -> None:
        self._changed: float | None = None
        self._last: float | None = None
        self._carried: dict[str, float | None] = {}

    def changed(self, now: float) -> None:
        """The views changed."""
        if self._changed is None:
            self._changed = now

    def sent(self, nonce: str) -> None:
        """A response goes out."""
        if self._changed is not None:
            self._last, self._changed = self._changed, None
        self._carried[nonce] = self._last

    def answered(self, nonce: str) -> float | None:
        """Return when what the response carried had changed; None if it was not sent because of a change."""
        return self._carried.pop(nonce, None)

    def rest(self) -> None:
        """Nothing more is due."""
        if not self._carried:
            # What changed and was not sent does not concern this client.
            self._changed = self._last = None
