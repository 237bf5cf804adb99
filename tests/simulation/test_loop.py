"""The loop itself: virtual time, processes that die or stand still, and the same course for the same seed."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.simulation.loop import Loop, Process, Stuck, current_process


def make(seed: int = 1) -> Loop:
    return Loop(random.Random(seed))


def test_time_is_virtual_and_jumps_to_the_next_timer():
    loop = make()

    async def main() -> list[float]:
        seen = []
        await asyncio.gather(*(loop.sleep(s) for s in (3600.0, 0.5, 7.0)))
        seen.append(loop.time())
        async with asyncio.timeout(2):
            await loop.sleep(1)
        seen.append(loop.time())
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await loop.sleep(10)
        seen.append(loop.time())
        return seen

    assert loop.run(main()) == [3600.0, 3601.0, 3603.0]


def test_the_order_is_drawn_and_repeats_with_the_seed():
    def course(seed: int) -> str:
        loop, seen = make(seed), []

        async def one(name: str) -> None:
            for _ in range(4):
                await asyncio.sleep(0)
                seen.append(name)

        async def main() -> None:
            await asyncio.gather(*(one(name) for name in "abcd"))

        loop.run(main())
        return "".join(seen)

    courses = {course(seed) for seed in range(20)}
    assert len(courses) > 10
    assert course(3) == course(3)


def test_a_dead_process_runs_nothing_any_more_not_even_finally():
    loop, said = make(), []
    process = Process("p")

    async def inside() -> None:
        try:
            said.append("began")
            await asyncio.create_task(loop.sleep(5))
            said.append("went on")
        finally:
            said.append("finally")

    async def main() -> None:
        task = loop.spawn(process, inside())
        await loop.sleep(1)
        loop.kill(process)
        await loop.sleep(100)
        assert not task.done()

    process.on_death.append(lambda: said.append("died"))
    loop.run(main())
    assert said == ["began", "died"]


def test_a_process_dies_at_the_drawn_callback():
    loop, steps = make(), []
    process = Process("p")
    process.dies_at = 4

    async def inside() -> None:
        while True:
            steps.append(current_process())
            await asyncio.sleep(0)

    async def main() -> None:
        loop.spawn(process, inside())
        await loop.sleep(1)

    loop.run(main())
    assert steps == [process] * 3
    assert not process.alive


def test_a_paused_process_is_held_back_and_its_timers_fire_late():
    loop, seen = make(), []
    process = Process("p")

    async def inside() -> None:
        await loop.sleep(2)
        seen.append(loop.time())

    async def main() -> None:
        loop.spawn(process, inside())
        await loop.sleep(1)
        loop.pause(process)
        await loop.sleep(20)
        assert seen == []
        loop.resume(process)
        await loop.sleep(1)

    loop.run(main())
    assert seen == [21.0]


def test_what_a_process_starts_belongs_to_it_and_the_world_to_nobody():
    loop = make()
    process = Process("p")

    async def inside() -> list[Process | None]:
        async def deeper() -> Process | None:
            return current_process()

        return [current_process(), await asyncio.create_task(deeper())]

    async def main() -> list[Process | None]:
        return [current_process(), *await loop.spawn(process, inside())]

    assert loop.run(main()) == [None, process, process]


def test_waiting_for_what_never_comes_and_spinning_are_found():
    loop = make()

    async def forever() -> None:
        await loop.create_future()

    with pytest.raises(Stuck, match="no timer"):
        loop.run(forever())
    loop.close([])

    async def spin() -> None:
        while True:
            await asyncio.sleep(0)

    loop = make()
    with pytest.raises(Stuck, match="without progress"):
        loop.run(spin())
    loop.close([])


def test_errors_that_nobody_hears_are_told():
    loop = make()
    process = Process("p")

    async def fails() -> None:
        raise ValueError("unheard")

    async def main() -> None:
        loop.spawn(process, fails())
        loop.call_soon(lambda: 1 / 0)
        await loop.sleep(1)

    loop.run(main())
    assert ["ZeroDivisionError" in error for error in loop.errors] == [True]
    assert ["unheard" in text for text in loop.close([process])] == [True]
