"""What a broker process takes in before it can answer: bounded in bytes, for a connection and for all, and in time.

The room that a frame needs is taken when its length is known, before its bytes are. Where there is none, its connection is
not read from until a call that ended has made some: the peer's own socket fills, and its calls wait there. Whoever waited
longest for room that all share gets it first, so that a large frame is not passed by small ones for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from stanchion.base import Json, LimitExceeded, Problem
from stanchion.tools.broker.types import Peer
from stanchion.tools.broker.wire import FRAME_BYTES_MAX, HEAD_BYTES, frame_length, message_of

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one broker process holds at once. Sizes in bytes, times in seconds.

    Attributes:
        calls_max: calls in hand; more are refused (`broker.busy`).
        bytes_max: frames of calls in hand and frames that are coming, of all connections; and as much again of answers
            that were not read yet.
        connection_bytes_max: the same of one connection.
        connections_max: connections of one peer (a user of this machine, a certificate's name).
        frame_s: how long a frame may take that has begun.
        unread_s: how long a peer may leave answers unread that its socket does not take.
    """

    calls_max: int = 1024
    bytes_max: int = 256 * _MIB
    connection_bytes_max: int = 64 * _MIB
    connections_max: int = 256
    frame_s: float = 20.0
    unread_s: float = 30.0


class Room:
    """The bytes of calls that all connections of a process have in hand, and who waits for some.

    `soon` runs a function when its caller is through (`call_soon` of the loop).
    """

    def __init__(self, bytes_max: int, soon: Callable[[Callable[[], None]], object]) -> None:
        self._bytes_max = bytes_max
        self._soon = soon
        self._waiting: deque[Intake] = deque()
        self._waking = False
        self.held = 0

    def take(self, who: Intake, size: int) -> bool:
        """Take room for `size` bytes, or wait for it: `who.go_on` is called when there may be some.

        What is larger than all the room there is gets it alone, so that a small bound delays and never locks out.
        """
        first = not self._waiting or self._waiting[0] is who
        if first and (self.held + size <= self._bytes_max or self.held == 0):
            self.held += size
            if self._waiting:
                self._waiting.popleft()
            return True
        if who not in self._waiting:
            self._waiting.append(who)
        return False

    def give(self, size: int) -> None:
        """Give room back."""
        self.held -= size
        self._wake_soon()

    def leave(self, who: Intake) -> None:
        """Wait no more."""
        if who in self._waiting:
            self._waiting.remove(who)
            self._wake_soon()

    def _wake_soon(self) -> None:
        if self._waiting and not self._waking:
            self._waking = True
            self._soon(self._wake)

    def _wake(self) -> None:
        self._waking = False
        while self._waiting:
            first = self._waiting[0]
            first.go_on()
            if self._waiting and self._waiting[0] is first:
                return


class Intake:
    """The bytes that come from one peer, and the frames that become of them.

    Args:
        room: shared with the other connections.
        bytes_max: of this connection's calls in hand, with the frame that is coming.
        go_on: called when it was `blocked` and may go on.
    """

    def __init__(self, room: Room, bytes_max: int, go_on: Callable[[], None]) -> None:
        self._room = room
        self._bytes_max = bytes_max
        self._bytes = bytearray()
        self._coming: int | None = None
        self._held = 0
        self.go_on = go_on
        self.blocked = False

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and not ended."""
        return bool(self._bytes)

    def add(self, data: bytes) -> None:
        """What has come from the peer."""
        self._bytes += data

    def next(self) -> tuple[dict[str, Json], int] | None:
        """The next whole frame and its size, or None: more must come, or (`blocked`) room must be made.

        Its bytes count as in hand until they are given back by `done`. Raises Invalid `broker.bad_frame`.
        """
        self.blocked = False
        if self._coming is None and not self._begun():
            return None
        length = self._coming or 0
        if len(self._bytes) < HEAD_BYTES + length:
            return None
        # One that is no message leaves its room to `close`.
        message = message_of(bytes(memoryview(self._bytes)[HEAD_BYTES : HEAD_BYTES + length]))
        del self._bytes[: HEAD_BYTES + length]
        self._coming = None
        return message, length

    def _begun(self) -> bool:
        """Whether the next frame's length is known and there is room for it."""
        if len(self._bytes) < HEAD_BYTES:
            return False
        length = frame_length(self._bytes, FRAME_BYTES_MAX)
        if self._held and self._held + length > self._bytes_max:
            self.blocked = True
        else:
            self.blocked = not self._room.take(self, length)
        if self.blocked:
            return False
        self._held += length
        self._coming = length
        return True

    def done(self, size: int) -> None:
        """A frame's call has ended."""
        self._held -= size
        self._room.give(size)
        if self.blocked:
            self.go_on()

    def close(self) -> None:
        """The peer is gone: what was coming comes no more. Calls in hand keep their room until they end."""
        self._room.leave(self)
        self._bytes.clear()
        self.blocked = False
        if self._coming is not None:
            coming, self._coming = self._coming, None
            self.done(coming)


class Flow:
    """Whether a peer is read from, and what it must do in time: end a frame that it began, read its answers.

    Args:
        refuse: says a problem to the peer and hangs up.
    """

    def __init__(
        self, transport: asyncio.Transport, bounds: Bounds, intake: Intake, refuse: Callable[[Problem], None]
    ) -> None:
        self._transport = transport
        self._bounds = bounds
        self._intake = intake
        self._refuse = refuse
        self._paused = False
        self._frame_due: asyncio.TimerHandle | None = None
        self._unread_due: asyncio.TimerHandle | None = None

    def go_on(self, *, whole: bool) -> None:
        """Read, unless the peer leaves answers unread or its calls have no room. `whole`: a frame has ended since.

        A frame that is coming has `frame_s`; what this end makes it wait is not counted.
        """
        waits = self._unread_due is not None or self._intake.blocked
        if self._frame_due is not None and (whole or waits or self._transport.is_closing()):
            self._frame_due.cancel()
            self._frame_due = None
        if self._transport.is_closing():
            return
        if waits != self._paused:
            self._paused = waits
            (self._transport.pause_reading if waits else self._transport.resume_reading)()
        if not waits and self._intake.partial and self._frame_due is None:
            self._frame_due = asyncio.get_running_loop().call_later(self._bounds.frame_s, self._late)

    def unread(self) -> None:
        """The peer does not read: take nothing more from it, and give it up after a while: then it is gone, whatever the
        network says."""
        if self._unread_due is None:
            self._unread_due = asyncio.get_running_loop().call_later(self._bounds.unread_s, self._transport.abort)
        self.go_on(whole=False)

    def read(self) -> None:
        """The peer reads again."""
        if self._unread_due is not None:
            self._unread_due.cancel()
            self._unread_due = None

    def close(self) -> None:
        """Nothing is due any more."""
        self.read()
        if self._frame_due is not None:
            self._frame_due.cancel()
            self._frame_due = None
        self._intake.close()

    def _late(self) -> None:
        self._frame_due = None
        self._refuse(
            LimitExceeded(
                "broker.slow_frame",
                f"A frame that began did not end within {self._bounds.frame_s:g} s.",
                hint="Is the network between the two too slow, or the peer stopped?",
            )
        )


def too_many(peer: Peer, connections: int) -> LimitExceeded:
    """The problem of a peer that has as many connections as it may."""
    return LimitExceeded(
        "broker.too_many_connections",
        f"The broker has {connections} connections of {peer.name} ({peer.how}) and takes no more; nothing was sent.",
        hint="A process of ours has one. broker.connections_max is the bound.",
        retry_after_s=0.5,
    )


def unread_answer(size: int, waiting: int, everywhere: int) -> LimitExceeded:
    """The problem of an answer that is thrown away. In bytes: its own, those that wait on its connection, and on all."""
    return LimitExceeded(
        "broker.unread",
        f"An answer of {size >> 10} KiB was thrown away: {waiting >> 10} KiB of answers wait to be read on this connection,"
        f" {everywhere >> 10} KiB on all.",
        hint="Ask again, for less at once; a read changed nothing.",
        retry_after_s=0.5,
    )
