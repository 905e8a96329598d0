"""Programs that run in a namespace under a user id of their own, and never longer than the tests."""

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from e2e.harness.listeners import listening_ports
from e2e.harness.namespaces import entered

ROOT = Path(__file__).parents[2]


class ProcessError(Exception):
    """A program ended, or did not come up; the text ends with the tail of its log."""


class Process:
    """A running program. Its output goes to a log file, of which errors show the end."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """The process id: of the program itself, as the launchers before it exec."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    def check(self) -> None:
        """Raise ProcessError if the program has ended."""
        if not self.running:
            raise self.error(f"ended with status {self._process.returncode}")

    def error(self, what: str) -> ProcessError:
        """An error about this program, with the tail of its log."""
        return ProcessError(f"{self.name} {what}\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """The last lines of the log, each cut to what can be read: Envoy says all of a bootstrap that it refuses."""
        return "\n".join(line[:1000] for line in self.log.read_text(errors="replace").splitlines()[-lines:])

    async def wait(self) -> int:
        """Wait for the end; returns the status, or minus the number of the signal that ended it."""
        return await self._process.wait()

    async def stop(self, *, seconds: float = 30) -> int:
        """Ask it to end (SIGTERM) and wait; after `seconds` the kernel ends it. Returns the status."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            async with asyncio.timeout(seconds):
                return await self._process.wait()
        except TimeoutError:
            return await self.kill()

    async def kill(self) -> int:
        """End it as the kernel's out-of-memory killer would (SIGKILL), and wait."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        return await self._process.wait()

    async def listening(self, namespace: Path, *ports: int, seconds: float = 60) -> None:
        """Return as soon as the network namespace has a listening TCP socket on every one of `ports`.

        The kernel is asked for its sockets rather than a connection made: a server that speaks first would see a guest.
        Not for those of the process's own namespace, which is the host's until its launcher has changed over.
        Raises ProcessError when the program ends before that or `seconds` pass.
        """
        try:
            async with asyncio.timeout(seconds):
                while not _listening(namespace) >= set(ports):
                    self.check()
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise self.error(f"does not listen on {sorted(set(ports) - _listening(namespace))}") from None


def _listening(namespace: Path) -> set[int]:
    with contextlib.suppress(FileNotFoundError), entered(namespace):
        return listening_ports()
    return set()


async def start(
    namespace: str,
    *argv: str | Path,
    name: str,
    log: Path,
    uid: int = 0,
    become: Sequence[str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Process:
    """Start a program in a network namespace as user and group `uid`, in the project's root folder.

    `become` are arguments of setpriv(1) for another identity than that. It sees the namespace's own /etc/hosts and
    /etc/resolv.conf (ip-netns(8)), nothing of this process's environment but PATH, and dies with the thread that
    started it: hence only the main thread may.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("a program dies with the thread that started it (PR_SET_PDEATHSIG): use the main thread")
    who = identity(uid, Path(argv[0])) if become is None else become
    launcher = ("ip", "netns", "exec", namespace, "setpriv", "--pdeathsig", "KILL", *who)
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *launcher,
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})},
            start_new_session=True,
        )
    return Process(name, process, log)


def identity(uid: int, program: Path) -> tuple[str, ...]:
    """The arguments with which setpriv(1) becomes user and group `uid` to run a program."""
    if uid == 0:
        return ()
    become = ("--reuid", str(uid), "--regid", str(uid), "--clear-groups")
    if _everyone_may_enter(program):
        return become
    # A clone or an interpreter below /root or in a private temporary folder: without the right to search those folders
    # no other user could start what lies there.
    return (*become, "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search")


@functools.cache
def _everyone_may_enter(program: Path) -> bool:
    search_by_others = 0o001
    folders = {ROOT, *ROOT.parents, *program.absolute().parents, *program.resolve().parents}
    return all(folder.stat().st_mode & search_by_others for folder in folders)
