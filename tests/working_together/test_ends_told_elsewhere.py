"""A call is decided in one process, and its end told to another."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tollway.ledger.port import Source
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_extauthz.waiting_room import WAIT_MS
from waiting.stage import Stage, until

LOOKS = 12
"""After so many it is sure that the other has granted, or never will."""


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[Stage, Stage]]:
    """Two data planes on one file."""
    with ExitStack() as stack:
        ledgers = [stack.enter_context(closing(SQLiteLedger(tmp_path / "ledger.sqlite"))) for _ in range(2)]
        one, other = (Stage(tmp_path / "authority", ledger) for ledger in ledgers)
        yield one, other


async def test_it_ends_the_hold_and_is_counted_once_however_often_both_are_told(both: tuple[Stage, Stage]) -> None:
    one, other = both
    asked = one.ask("a")
    await until(lambda: asked.said == "granted")
    for stage in (other, one, other):
        stage.end("a")
        await until(lambda: _is_ended(one, "a"))
    assert one.ledger.verify() == []
    settled = ("tollway_settlements", "openai", "provider")
    assert [stage.metrics.counts().get(settled, 0) for stage in both] == [0, 1]


async def test_whoever_waits_for_it_is_let_go_at_once(both: tuple[Stage, Stage]) -> None:
    one, other = both
    first = one.ask("a")
    await until(lambda: first.said == "granted")
    second = one.ask("b")
    other.end("a")
    await until(lambda: second.said)
    assert second.said == "granted"
    assert second.took_s < WAIT_MS / 1000


async def test_an_end_that_was_told_before_the_other_granted_ends_the_hold_a_little_later(
    both: tuple[Stage, Stage],
) -> None:
    one, other = both
    other.end("a")  # it looked for the hold, and found none
    late = one.ask("a")
    await until(lambda: late.said == "granted")
    for _ in range(LOOKS):
        assert not _is_ended(one, "a")
        other.rounds.end_overtaken()
    assert _is_ended(one, "a")


def _is_ended(stage: Stage, call_id: str) -> bool:
    hold = stage.ledger.hold(call_id)
    return hold is not None and hold.source is Source.PROVIDER
