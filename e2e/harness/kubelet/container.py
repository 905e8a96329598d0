"""One container: its program, started as often as its policy says, its probes and its hooks."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Literal

from e2e.harness.kubelet.probes import Target
from e2e.harness.kubelet.states import ContainerStatus, Running, State, Terminated, Waiting, now
from e2e.harness.kubelet.watching import Object
from e2e.harness.processes import Process

Policy = Literal["Always", "OnFailure", "Never"]

FIRST_BACK_OFF_SECONDS = 0.5
LONGEST_BACK_OFF_SECONDS = 8.0
"""Kubernetes waits ten seconds to five minutes; tests have less time."""
_EAGER_SECONDS = 0.2
LEAST_GRACE_SECONDS = 2.0
"""What a program has to end in, also where a hook has used up all of the time (Kubernetes: pkg/kubelet/kuberuntime)."""


class Container:
    """`run` lets it live; `stop` ends it. `changed` is called whenever its status has changed."""

    def __init__(
        self,
        spec: Object,
        policy: Policy,
        start: Callable[[], Awaitable[Process]],
        target: Target,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.up = asyncio.Event()
        """It has been started as its startup probe sees it; what comes after it may be."""
        self._policy = policy
        self._start = start
        self._target = target
        self._changed = changed
        self._process: Process | None = None
        self._state: State = Waiting("PodInitializing")
        self._last_state: State | None = None
        self._restarts = 0
        self._ready = False
        self._stopping = False
        self._task: asyncio.Task[int] | None = None

    @property
    def status(self) -> ContainerStatus:
        """What is told of it."""
        return ContainerStatus(
            self.name,
            self.spec["image"],
            self._state,
            self._last_state,
            self._restarts,
            self.up.is_set(),
            self._ready,
        )

    @property
    def process(self) -> Process | None:
        """Its program, if it has been started."""
        return self._process

    def run(self) -> asyncio.Task[int]:
        """Start it; the task's result is the status with which it ended for good."""
        self._task = asyncio.create_task(self._live(), name=f"container {self.name}")
        return self._task

    async def stop(self, grace: float, turn: Callable[[], Awaitable[None]]) -> None:
        """End it: its hook, then SIGTERM when it is its `turn`, then SIGKILL when `grace` seconds are over."""
        self._stopping = True
        end = asyncio.get_running_loop().time() + grace
        if self._process is None or not self._process.running:
            await _cancelled(self._task)
            return
        hook = self.spec.get("lifecycle", {}).get("preStop")
        if hook and grace > 0:
            await self._target.hook(hook, grace)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(end):
                await turn()
        number = getattr(signal, self.spec.get("lifecycle", {}).get("stopSignal", "SIGTERM"))
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, number)
        left = max(end - asyncio.get_running_loop().time(), LEAST_GRACE_SECONDS if grace > 0 else 0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left):
                await self._process.wait()
        await self._process.kill()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _live(self) -> int:
        back_off = FIRST_BACK_OFF_SECONDS
        while True:
            code = await self._once()
            if self._stopping or self._policy == "Never" or (self._policy == "OnFailure" and code == 0):
                return code
            self._last_state, self._state = self._state, Waiting("CrashLoopBackOff", f"back-off {back_off} s")
            self._changed()
            await asyncio.sleep(back_off)
            back_off = min(2 * back_off, LONGEST_BACK_OFF_SECONDS)
            self._restarts += 1

    async def _once(self) -> int:
        """From its start to its end."""
        self._process = await self._created()
        since = now()
        self._state = Running(since)
        self._changed()
        watching = asyncio.create_task(self._watch())
        try:
            status = await self._process.wait()
        finally:
            await _cancelled(watching)
            self._ready = False
            self.up.clear()
            # With its first program a container's other ones end, as they have no process namespace of their own here.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        code = 128 - status if status < 0 else status
        self._state = Terminated(code, since, now())
        self._changed()
        return code

    async def _created(self) -> Process:
        """Its program; what it needs and is not there is waited for."""
        while True:
            try:
                return await self._start()
            except LookupError as error:
                self._state = Waiting("CreateContainerConfigError", str(error))
                self._changed()
                await asyncio.sleep(FIRST_BACK_OFF_SECONDS)

    async def _watch(self) -> None:
        """Its hook and its probes while it runs."""
        hook = self.spec.get("lifecycle", {}).get("postStart")
        if hook and not await self._target.hook(hook, 3600):
            await self._start_anew()
        if probe := self.spec.get("startupProbe"):
            async for well in self._verdicts(probe):
                if well:
                    break
                await self._start_anew()
        self.up.set()
        self._ready = "readinessProbe" not in self.spec
        self._changed()
        async with asyncio.TaskGroup() as probes:
            if probe := self.spec.get("readinessProbe"):
                probes.create_task(self._follow_readiness(probe))
            if probe := self.spec.get("livenessProbe"):
                probes.create_task(self._follow_liveness(probe))

    async def _follow_readiness(self, probe: Object) -> None:
        async for well in self._verdicts(probe):
            if well != self._ready:
                self._ready = well
                self._changed()

    async def _follow_liveness(self, probe: Object) -> None:
        async for well in self._verdicts(probe):
            if not well:
                await self._start_anew()

    async def _verdicts(self, probe: Object) -> AsyncIterator[bool]:
        """What a probe says, time after time, once as many tries in a row agree as its threshold asks for."""
        thresholds = {True: probe.get("successThreshold", 1), False: probe.get("failureThreshold", 3)}
        period = probe.get("periodSeconds", 10)
        await asyncio.sleep(probe.get("initialDelaySeconds", 0))
        last, in_a_row, any_success = None, 0, False
        while True:
            well = await self._target.succeeds(probe)
            any_success |= well
            in_a_row = in_a_row + 1 if well is last else 1
            last = well
            if in_a_row >= thresholds[well]:
                yield well
            # What is not up yet is asked often: a failure counts as little as the period says.
            pause = period if any_success else min(period, _EAGER_SECONDS)
            if not any_success:
                thresholds[False] = probe.get("failureThreshold", 3) * period / pause
            await asyncio.sleep(pause)

    async def _start_anew(self) -> None:
        """End the program, as a probe wants; who waits for its end starts it again."""
        assert self._process is not None
        await self._process.stop(seconds=LEAST_GRACE_SECONDS)


async def _cancelled(task: "asyncio.Task[int] | asyncio.Task[None] | None") -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
