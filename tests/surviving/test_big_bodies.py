"""64 bodies of 32 MiB at once, where there is memory for few: what has no room is refused in shape, everybody lives."""

import contextlib
import http.client
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from ending.acting_provider import CAP
from ending.stage import CHAT, MESSAGES, Stage, Way, staged
from surviving.faults import Told, is_in_order, limited, memory, recovers, told

BODIES = 64
LARGEST = 32 << 20
GATEWAY_HEAP = 512 << 20
MIB = 1 << 20


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with staged(gateway_heap=GATEWAY_HEAP, hold_ms=4000) as stage:
        yield stage


@pytest.fixture(scope="module")
def bodies() -> dict[str, bytes]:
    """Of each provider one of exactly the largest size."""
    return {way.provider: largest(way) for way in (CHAT, MESSAGES)}


def largest(way: Way) -> bytes:
    few = way.body("json #big", CAP, stream=False)
    return way.body("json #big" + "x" * (LARGEST - len(few)), CAP, stream=False)


def told_of(stage: Stage, way: Way, body: bytes) -> Told:
    """Send it; who is refused before all of it is sent reads why, as the SDKs do."""
    began = time.monotonic()
    host, provider = stage.installation.base_url("team-a/caller", way.provider).removeprefix("http://").split("/")[:2]
    connection = http.client.HTTPConnection(host, timeout=60)
    try:
        connection.putrequest("POST", f"/{provider}{way.path}")
        headers = {"content-type": "application/json", "content-length": str(len(body)), **way.headers}
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        with contextlib.suppress(OSError):
            connection.sock.sendall(body)
        response = connection.getresponse()
        read = response.read()
    finally:
        connection.close()
    reason = response.headers.get("x-tollway-reason", "")
    return Told(way, began, time.monotonic(), response.status, reason, read)


def test_64_bodies_of_32_mib_under_a_memory_limit_are_answered_or_refused_in_shape_and_everybody_lives(
    stage: Stage, bodies: dict[str, bytes]
) -> None:
    gateway, sidecar, data_plane = stage.gateway, stage.sidecar, stage.data_plane
    assert {len(body) for body in bodies.values()} == {LARGEST}
    ways = [CHAT, MESSAGES] * (BODIES // 2)
    with (
        limited(data_plane, resource.RLIMIT_AS, memory(data_plane, "VmSize") + 768 * MIB),
        ThreadPoolExecutor(BODIES) as pool,
    ):
        answers = list(pool.map(lambda way: told_of(stage, way, bodies[way.provider]), ways))
        sent = time.monotonic()
        assert recovers(stage, sent)
    strange = [each for each in answers if each.status != 200 and not each.is_refusal]
    assert not strange, (len(strange), strange[:3])
    assert any(each.is_refusal for each in answers)
    assert (stage.gateway, stage.sidecar, stage.data_plane) == (gateway, sidecar, data_plane)
    # What comes in between two looks at the heap is beyond the limit; all of the bodies would be four times it.
    assert memory(gateway, "VmHWM") < GATEWAY_HEAP * 1.5
    assert memory(sidecar, "VmHWM") < 200 * MIB
    assert is_in_order(stage)


def test_small_calls_are_answered_after_that_without_a_refusal(stage: Stage) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda way: told(stage, way), [CHAT, MESSAGES] * 20))
    assert all(answer.is_answer for answer in answers), [each for each in answers if not each.is_answer][:3]
    assert is_in_order(stage)
