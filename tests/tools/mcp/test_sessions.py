"""Which session makes room for another: the one that was used least recently, and never one that is being opened."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stanchion.base import SystemClock
from stanchion.tools.adapters.mcp import sessions


class LaterClock(SystemClock):
    """Stands until a test moves it."""

    at = 1_000.0

    def monotonic(self) -> float:
        return self.at


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[sessions.Session]:
    """Sessions that are open as soon as somebody reaches their server."""
    made: list[sessions.Session] = []

    async def opens(session: sessions.Session, transport: Any, timeout_s: float) -> None:
        del transport, timeout_s
        made.append(session)

    monkeypatch.setattr(sessions.Session, "open", opens)
    return made


async def at_once(session: sessions.Session) -> Any:
    del session


async def test_a_session_that_is_being_opened_makes_no_room_for_another(
    opened: list[sessions.Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 2)
    clock = LaterClock()
    held = sessions.Sessions(clock)
    old = await held.use("old", at_once, 5.0)
    clock.at += 1.0
    reached = asyncio.Event()

    async def slowly(session: sessions.Session) -> Any:
        del session
        await reached.wait()

    opening = asyncio.create_task(held.use("slow", slowly, 5.0))
    await asyncio.sleep(0)
    clock.at += 1.0
    await held.use("third", at_once, 5.0)
    reached.set()
    slow = await opening
    assert (old.ended, slow.ended) == (True, False)
    assert await held.use("slow", at_once, 5.0) is slow
    assert len(opened) == 3
    await held.close()


@pytest.mark.usefixtures("opened")
async def test_what_is_not_used_any_more_leaves_nothing_behind() -> None:
    clock = LaterClock()
    held = sessions.Sessions(clock)

    async def refuses(session: sessions.Session) -> Any:
        del session
        raise sessions.SessionEnded("cannot be reached.")

    for number in range(5):
        session = await held.use(f"open {number}", at_once, 5.0)
        await session.end()
        await held.called(f"open {number}", session)
        with pytest.raises(sessions.SessionEnded):
            await held.use(f"refused {number}", refuses, 5.0)
    assert held._held == {}
    assert held._opening == {}


@pytest.mark.usefixtures("opened")
async def test_calls_that_wait_for_a_session_that_cannot_be_opened_open_one_after_the_other() -> None:
    held = sessions.Sessions(LaterClock())
    opening, most = 0, 0

    async def refuses(session: sessions.Session) -> Any:
        nonlocal opening, most
        del session
        opening += 1
        most = max(most, opening)
        await asyncio.sleep(0)
        opening -= 1
        raise sessions.SessionEnded("cannot be reached.")

    done = await asyncio.gather(*(held.use("one", refuses, 5.0) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(one, sessions.SessionEnded) for one in done)
    assert most == 1
    assert held._opening == {}
