"""Which changes are in force at every proxy, by what the control plane says each time that it is asked."""

from collections.abc import Collection, Mapping


class Progress:
    """Of one run of changes, which are numbered from 1 on.

    A proxy has a change when it was seen quiet (nothing is on its way to it) twice after the control plane had read
    the change: once could be the moment before the first of several responses. The proxies are looked at one by one:
    while changes go on coming there is hardly a moment at which nothing is on its way to any of them.
    """

    def __init__(self) -> None:
        self._read_when_quiet: dict[str, int] = {}
        """What the control plane had read before a proxy was last seen quiet."""
        self._has: dict[str, int] = {}

    def look(self, read: int, quiet: Mapping[str, bool], needed: Collection[str]) -> int:
        """The latest change that all connected proxies have, and all that are needed.

        `read` is the latest change that the control plane had read before it was asked who is `quiet` of those that
        are connected.
        """
        for proxy, is_quiet in quiet.items():
            if is_quiet:
                self._has[proxy] = self._read_when_quiet.get(proxy, 0)
                self._read_when_quiet[proxy] = read
        return min(self._has.get(proxy, 0) for proxy in {*quiet, *needed})
