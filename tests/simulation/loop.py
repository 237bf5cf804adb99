"""A deterministic asyncio event loop: virtual time, seeded interleaving, processes that die or stand still.

Time stands still while anything is ready and jumps to the next timer when nothing is. Which ready callback runs next is
drawn from the seeded generator. Every callback belongs to the simulated process that its context names: those of a dead
process are dropped (its tasks never run again, so nothing of their `finally` reaches anybody), those of a paused one are
held back until it continues. A callback without a process belongs to the world, which never dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import itertools
import random
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")

# Callbacks without any progress of time, after which something must be spinning.
_SPIN_MAX = 100_000


class Stuck(Exception):  # noqa: N818 - a state
    """Nothing is ready, no timer is set, and what is awaited is not done; or time no longer moves."""


class Process:
    """What the loop knows of a simulated process."""

    __slots__ = ("alive", "context", "dies_at", "held", "name", "on_death", "paused", "stands", "steps", "tasks")

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        # Dead or paused: asked before each callback, hence one attribute for both.
        self.stands = False
        # Callbacks run so far; at which of them it dies, if it does.
        self.steps = 0
        self.dies_at = -1
        self.held: list[list[Any]] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.on_death: list[Callable[[], None]] = []
        # Tasks started in here belong to the process, and so does all they start.
        self.context = contextvars.Context()
        self.context.run(_PROCESS.set, self)

    def __repr__(self) -> str:
        return self.name


_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current_process() -> Process | None:
    """The simulated process whose code runs now; None for the world."""
    return _PROCESS.get()


class _Handle(list[Any]):
    """A scheduled callback that somebody may take back, as asyncio knows handles: [callback, arguments, context].

    Of the callbacks that nobody can take back there is only the plain list: most are of that kind, and making an
    object for each is a good part of what the loop costs.
    """

    __slots__ = ()

    def cancel(self) -> None:
        self[0] = None
        self[1] = ()

    def cancelled(self) -> bool:
        return self[0] is None


class _Task(asyncio.Task[Any]):
    """A task whose place in a set depends on its number and not on its address, so that a seed repeats."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


class _Future(asyncio.Future[Any]):
    """The same for futures."""

    __slots__ = ("number",)
    number: int

    def __hash__(self) -> int:
        return self.number


@contextlib.contextmanager
def _unlisted() -> Generator[None]:
    """Within the block asyncio keeps no list of all tasks (`asyncio.all_tasks`): the loop has its own, and a weak set
    costs much of a short task's beginning and end. Where this Python keeps its list elsewhere, it goes on."""
    listed: Any = getattr(asyncio.tasks, "_all_tasks", None)
    if not isinstance(listed, weakref.WeakSet):
        yield
        return
    listed.add = deque[Any](maxlen=0).append
    try:
        yield
    finally:
        del listed.add


class Loop(asyncio.AbstractEventLoop):
    """The loop. `rng` decides which ready callback is next; `order` "fifo" takes them as they came."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._random = rng.random
        self._ready: list[list[Any]] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._numbers = itertools.count()
        self.now = 0.0
        self._closed = False
        self._running = False
        self.steps = 0
        self.tasks: list[asyncio.Task[Any]] = []
        # What asyncio would have logged: exceptions of callbacks. The simulation counts them as defects.
        self.errors: list[str] = []

    # --- what asyncio asks of a loop

    def time(self) -> float:
        return self.now

    def call_soon(
        self, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle | None:  # type: ignore[override]
        if context is not None:
            # Tasks and futures say in which context, and never take back what they asked for: no handle for them.
            self._ready.append([callback, args, context])
            return None
        handle = _Handle((callback, args, copy_context()))
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:  # type: ignore[override]
        handle = _Handle((callback, args, copy_context() if context is None else context))
        heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: contextvars.Context | None = None
    ) -> _Handle:  # type: ignore[override]
        handle = _Handle((callback, args, copy_context() if context is None else context))
        heappush(self._timers, (self.now + delay, next(self._numbers), handle))
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        future = _Future(loop=self)
        future.number = next(self._numbers)
        return future

    def create_task(
        self,
        coro: Coroutine[Any, Any, ResultT],
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> asyncio.Task[ResultT]:  # type: ignore[override]
        task = _Task.__new__(_Task)
        task.number = next(self._numbers)  # some asyncio asks for it as soon as there is a task
        task.__init__(coro, loop=self, name=name or "", context=context)
        process = _PROCESS.get() if context is None else context.get(_PROCESS)
        # Held until the end, so that no task of the dead is finished by the garbage collector at some other time.
        (self.tasks if process is None else process.tasks).append(task)
        return task

    # Asked at the making of each task and future: answered without a call of ours.
    get_debug = staticmethod(bool)  # type: ignore[assignment]

    def is_running(self) -> bool:
        return self._running

    def is_closed(self) -> bool:
        return self._closed

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if not self._closed:
            self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    # --- processes

    def spawn(self, process: Process, coro: Coroutine[Any, Any, ResultT]) -> asyncio.Task[ResultT]:
        """Begin a task of `process`."""
        return process.context.copy().run(self.create_task, coro)

    def kill(self, process: Process) -> None:
        """The process dies between two instructions: nothing of it ever runs again."""
        if not process.alive:
            return
        process.alive = False
        process.stands = True
        process.held.clear()
        for told in process.on_death:
            told()

    def pause(self, process: Process) -> None:
        """The process stands still; its sessions stay open, its timers fire when it continues."""
        process.paused = process.stands = True

    def resume(self, process: Process) -> None:
        """The process continues, knowing of nothing."""
        process.paused = False
        process.stands = not process.alive
        self._ready += process.held
        process.held.clear()

    # --- running

    async def sleep(self, seconds: float) -> None:
        """Suspend the current task for `seconds` of virtual time, at least a microsecond: no clock stands still."""
        future: asyncio.Future[None] = asyncio.Future(loop=self)
        handle = _Handle((_finish, (future,), copy_context()))
        when = self.now + max(seconds, 1e-6)
        heappush(self._timers, (when, next(self._numbers), handle))
        try:
            await future
        except BaseException:
            handle.cancel()
            raise

    def run(self, main: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run the world's main task to its end. Raises Stuck if it can come to none."""
        asyncio._set_running_loop(self)
        self._running = True
        try:
            with _unlisted():
                task = self.create_task(main, context=contextvars.Context())
                self._turn(task)
            return task.result()
        finally:
            self._running = False
            asyncio._set_running_loop(None)

    def _turn(self, task: asyncio.Task[Any]) -> None:
        ready, draw, done, limit = self._ready, self._random, task.done, _SPIN_MAX
        for step in itertools.count():
            if done():
                self.steps = step
                return
            n = len(ready)
            if not n:
                before = self.now
                n = self._jump()
                if self.now > before:
                    limit = step + _SPIN_MAX
            if step >= limit:
                self.steps = step
                raise Stuck(f"{_SPIN_MAX} callbacks without progress of time at {self.now:.3f} s")
            if n > 1:
                chosen = int(draw() * n)
                handle = ready[chosen]
                ready[chosen] = ready[-1]
                del ready[-1]
            else:
                handle = ready.pop()
            callback, args, context = handle
            if callback is None:
                continue
            process = context.get(_PROCESS)
            if process is not None:
                if process.stands:
                    if process.alive:
                        process.held.append(handle)
                    continue
                process.steps = steps = process.steps + 1
                if steps == process.dies_at:
                    self.kill(process)
                    continue
            try:
                context.run(callback, *args)
            except Exception as error:
                self.errors.append(f"callback {callback!r}: {error!r}")

    def _jump(self) -> int:
        """Time goes on to the next timer; all that are due then become ready. Returns how many they are."""
        timers, ready = self._timers, self._ready
        handle: list[Any] = [None]
        when = 0.0
        while handle[0] is None:
            if not timers:
                raise Stuck(f"nothing is ready and no timer is set at {self.now:.3f} s")
            when, _, handle = heappop(timers)
        if when > self.now:
            self.now = when
        else:
            when = self.now
        ready.append(handle)
        while timers and timers[0][0] <= when:
            handle = heappop(timers)[2]
            if handle[0] is not None:
                ready.append(handle)
        return len(ready)

    def close(self, processes: list[Process]) -> list[str]:
        """End whatever still runs, after everything was looked at; return what tasks of the living raised unheard."""
        self._closed = True
        unheard: list[str] = []
        for owner, tasks in [(None, self.tasks), *((p, p.tasks) for p in processes)]:
            for task in tasks:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    _end(task)
                elif task._log_traceback:  # type: ignore[attr-defined]
                    error = task.exception()
                    if owner is None or owner.alive:
                        unheard.append(f"task of {owner or 'the world'} ended unheard by {error!r}")
            tasks.clear()
        self._ready.clear()
        self._timers.clear()
        for process in processes:
            process.held.clear()
            process.on_death.clear()
        return unheard


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _end(task: asyncio.Task[Any]) -> None:
    coro = task.get_coro()
    for _ in range(5):  # a `finally` that awaits refuses the first request to end
        try:
            coro.close()  # type: ignore[union-attr]
        except BaseException as refused:
            del refused
        else:
            return


async def first_of(loop: Loop, awaited: Awaitable[Any], seconds: float) -> bool:
    """Wait for `awaited` at most `seconds`; True if it came."""
    waiting = asyncio.ensure_future(awaited, loop=loop)
    done, _ = await asyncio.wait([waiting], timeout=seconds)
    return bool(done)
