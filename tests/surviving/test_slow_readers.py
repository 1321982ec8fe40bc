"""Callers that do not read a big answer: they cost little memory, delay nobody, and end when their time is over."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ending.acting_provider import CAP
from ending.stage import Call, Stage, staged
from installations import wait_until
from surviving.faults import is_in_order, memory, told

READERS = 32
HOLD_MS = 8000
SILENCE_S = 8
MIB = 1 << 20


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(hold_ms=HOLD_MS, silence_s=SILENCE_S) as stage:
        yield stage


@pytest.fixture(scope="module")
def slow(stage: Stage) -> list[Call]:
    """Calls whose answer has begun, and is not read."""
    with ThreadPoolExecutor(READERS) as pool:
        calls = list(pool.map(lambda _: stage.call("stream flood"), range(READERS)))
        assert list(pool.map(lambda call: call.response.status, calls)) == [200] * READERS
    return calls


def test_they_cost_no_more_memory_than_small_windows(stage: Stage, slow: list[Call]) -> None:
    wait_until(lambda: all(stage.bill(call).padding > 0 for call in slow), 10)
    assert memory(stage.gateway, "VmHWM") < 70 * MIB + 150 * MIB
    assert memory(stage.sidecar, "VmHWM") < 70 * MIB + 150 * MIB


def test_others_are_answered_meanwhile(stage: Stage, slow: list[Call]) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: told(stage), range(40)))
    assert all(answer.is_answer for answer in answers)
    assert {stage.books(stage.bill(call).call)["outcome"] for call in slow} == {"open"}
    assert time.monotonic() - began < SILENCE_S


def test_they_end_when_nothing_moves_for_too_long_and_are_charged_what_they_were_allowed(
    stage: Stage, slow: list[Call]
) -> None:
    for call in slow:
        ended = stage.ended(stage.bill(call).call, within=SILENCE_S + 10)
        assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("settled", "ceiling", CAP)
    assert is_in_order(stage)
