"""The loop: whatever is triggered is looked at, once, never twice at a time, and what fails later and later."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable

import pytest

from tollway_operator.cluster.errors import Conflict, Unavailable
from tollway_operator.reconciling.actions import Key, Topic
from tollway_operator.reconciling.loop import Loop

ONE, OTHER = Key(Topic.AGENTS, "one"), Key(Topic.AGENTS, "other")


class Looks:
    """What the loop looked at, and when."""

    def __init__(self) -> None:
        self.at: list[tuple[Key, float]] = []
        self.answers: list[Exception | float | None] = []
        self.takes = 0.0
        self.now = self.most = 0
        self.may = True

    async def __call__(self, key: Key) -> float | None:
        self.at.append((key, time.monotonic()))
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.now -= 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def pauses(self) -> list[float]:
        moments = [at for _, at in self.at]
        return [later - earlier for earlier, later in itertools.pairwise(moments)]


@pytest.fixture
async def looks() -> Looks:
    return Looks()


@pytest.fixture
async def loop(looks: Looks) -> AsyncIterator[Loop]:
    loop = Loop(looks, time.monotonic, lambda: looks.may, jitter=lambda: 0.5)
    task = asyncio.create_task(loop.run())
    yield loop
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(holds: Callable[[], object], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - it polls
            await asyncio.sleep(0.005)


async def test_many_triggers_of_one_key_are_one_look(loop: Loop, looks: Looks) -> None:
    for _ in range(1000):
        loop.trigger(ONE)
    await until(lambda: looks.at and loop.is_idle)
    assert [key for key, _ in looks.at] == [ONE]


async def test_a_key_triggered_while_it_is_looked_at_is_looked_at_again_and_never_twice_at_once(
    loop: Loop, looks: Looks
) -> None:
    looks.takes = 0.05
    loop.trigger(ONE)
    await until(lambda: looks.at)
    loop.trigger(ONE)
    await until(lambda: len(looks.at) == 2 and loop.is_idle)
    assert looks.most == 1


async def test_different_keys_are_looked_at_side_by_side(loop: Loop, looks: Looks) -> None:
    looks.takes = 0.1
    loop.trigger(ONE)
    loop.trigger(OTHER)
    await until(lambda: looks.most == 2)


async def test_what_fails_is_tried_again_after_growing_pauses_however_often_it_is_triggered(
    loop: Loop, looks: Looks
) -> None:
    looks.answers = [Conflict("changed")] * 3
    loop.trigger(ONE)

    def hammered() -> bool:
        loop.trigger(ONE)
        return len(looks.at) >= 4

    await until(hammered)
    first, second, third = looks.pauses[:3]
    assert first >= 0.2
    assert second >= 1.5 * first
    assert third >= 1.5 * second


async def test_the_pause_is_no_shorter_than_the_server_asked(loop: Loop, looks: Looks) -> None:
    looks.answers = [Unavailable("busy", retry_after=1.0)]
    loop.trigger(ONE)
    await until(lambda: len(looks.at) == 2)
    assert looks.pauses[0] >= 1.0


async def test_a_key_says_itself_when_it_is_to_be_looked_at_again(loop: Loop, looks: Looks) -> None:
    looks.answers = [0.3]
    loop.trigger(ONE)
    await until(lambda: len(looks.at) == 2)
    assert looks.pauses[0] >= 0.25


async def test_nothing_is_looked_at_without_the_lead_and_nothing_is_forgotten(loop: Loop, looks: Looks) -> None:
    looks.may = False
    loop.trigger(ONE)
    await asyncio.sleep(0.3)
    assert not looks.at
    looks.may = True
    await until(lambda: looks.at)


async def test_a_look_that_surprises_does_not_end_the_loop(loop: Loop, looks: Looks) -> None:
    looks.answers = [ZeroDivisionError()]
    loop.trigger(ONE)
    loop.trigger(OTHER)
    await until(lambda: len(looks.at) == 3)
