"""What workers counted is one sum, which never falls while the first of them lives."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tollway_extauthz.metrics import Metrics
from tollway_extauthz.other_workers import OtherWorkers, telling
from tollway_extauthz.serving import serve_socket

GRANTED = ("tollway_checks", "openai", "")
Start = Callable[[str, str, int], Awaitable[web.AppRunner]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a worker, by its name and the name of its life, that has granted so many calls."""
    runners = []

    async def started(name: str, life: str, granted: int) -> web.AppRunner:
        metrics = Metrics()
        for _ in range(granted):
            metrics.checked("openai", "", 0.003)
        runners.append(await serve_socket(telling(metrics, life), str(tmp_path / name)))
        return runners[-1]

    yield started
    for runner in runners:
        await runner.cleanup()


@pytest.fixture
def others(tmp_path: Path) -> OtherWorkers:
    return OtherWorkers([str(tmp_path / "1"), str(tmp_path / "2")])


async def test_it_is_of_all_of_them(start: Start, others: OtherWorkers) -> None:
    await others.begin()
    await start("1", "first", 3)
    await start("2", "first", 4)
    counts, silent = await others.count()
    assert (counts[GRANTED], counts["tollway_check_seconds", "0.005"], silent) == (7, 7, 0)


async def test_what_a_worker_said_last_stays_in_it_while_it_does_not_answer(start: Start, others: OtherWorkers) -> None:
    await others.begin()
    gone = await start("1", "first", 3)
    await start("2", "first", 4)
    await others.count()
    await gone.cleanup()
    counts, silent = await others.count()
    assert (counts[GRANTED], silent) == (7, 1)


async def test_a_worker_that_was_started_again_adds_to_what_it_counted_before(
    start: Start, others: OtherWorkers
) -> None:
    await others.begin()
    gone = await start("1", "first", 3)
    await others.count()
    await gone.cleanup()
    await start("1", "second", 2)
    assert [(await others.count())[0][GRANTED] for _ in range(2)] == [5, 5]


async def test_it_begins_with_the_first_worker_which_may_be_started_again(start: Start, others: OtherWorkers) -> None:
    before = await start("1", "first", 3)
    await others.begin()
    assert (await others.count())[0][GRANTED] == 0
    await before.cleanup()
    await start("1", "first", 5)
    assert (await others.count())[0][GRANTED] == 2
