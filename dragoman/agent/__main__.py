"""The agent: waits, and has a child do what is to be done. Nothing but Python's standard library is loaded."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from typing import Final

from dragoman.agent.schedule import FIRST_PAUSE, Validity, pause, renewal
from dragoman.agent.settings import Settings

_NAP_SECONDS: Final = 30.0
"""How often the clock is looked at: it may be set, or the machine may have slept."""

_CHILD_SECONDS: Final = 60.0
"""A request that takes longer is given up."""


class Agent:
    """Renews for ever; SIGHUP has it renew at once, SIGTERM and SIGINT end it."""

    def __init__(self, settings: Settings, rng: random.Random) -> None:
        self._settings = settings
        self._rng = rng
        self._due = 0.0
        self._failures = 0

    def run(self) -> None:
        """Raises SystemExit when it is told to end."""
        signal.signal(signal.SIGTERM, _end)
        signal.signal(signal.SIGINT, _end)
        # Waited for, not handled: a sleep that a handler interrupts goes on (PEP 475).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        keep = True
        while True:
            self._turn(keep)
            keep = False
            if self._settings.once and not self._failures:
                return
            while (left := self._due - time.time()) > 0:
                if signal.sigtimedwait({signal.SIGHUP}, min(left, _NAP_SECONDS)) is not None:
                    break

    def _turn(self, keep: bool) -> None:
        command = [
            sys.executable,
            "-m",
            "dragoman.agent.request",
            self._settings.to_json(),
            *(["keep"] if keep else []),
        ]
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                command, capture_output=True, text=True, timeout=_CHILD_SECONDS, check=False
            )
            why = None if done.returncode == 0 else done.stderr.strip() or f"exit code {done.returncode}"
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        now = time.time()
        if why is None:
            validity = Validity(**json.loads(done.stdout))
            self._failures = 0
            self._due = max(renewal(validity, self._rng), now + FIRST_PAUSE)
            _log("info", "certificate in place", not_after=_text(validity.until), renewal=_text(self._due))
        else:
            self._failures += 1
            self._due = now + pause(self._failures, self._rng)
            _log("error", "no certificate, what is there stays", error=why, again=_text(self._due))


def _end(*_: object) -> None:
    raise SystemExit(0)


def _text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _log(level: str, event: str, **values: str) -> None:
    line = {"timestamp": _text(time.time()), "level": level, "event": event, **values}
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Jitter only; keys are made elsewhere.
    Agent(Settings.from_json(sys.argv[1]), random.Random()).run()  # noqa: S311
