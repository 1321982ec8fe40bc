"""Event streams, made up, through real Envoys: in whatever pieces they come, what is not the usage event goes on byte
for byte, and every call has its line in the access log."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from road.envoy_road import Road, Script, allowed, eventually, running_road
from tollway.settling.call_end import CallEnd
from tollway_extauthz.access_log_file import Line, call_end

SSE = {"content-type": "text/event-stream"}


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road() as road:
        yield road


@dataclass(frozen=True)
class Said:
    """One event of a stream; `counted` is the usage that it says, if it says nothing else."""

    text: str
    counted: tuple[int, int] | None = None


def usage_event(counts: tuple[int, int]) -> Said:
    usage = {"prompt_tokens": counts[0], "completion_tokens": counts[1], "total_tokens": sum(counts)}
    return Said(f"data: {json.dumps({'id': 'x', 'choices': [], 'usage': usage})}", counts)


def content_event(text: str) -> Said:
    return Said(f"data: {json.dumps({'choices': [{'delta': {'content': text}}], 'usage': None})}")


TEXTS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n"), max_size=30)
ODD = st.sampled_from(
    [
        ": a comment",
        "event: message",
        "data:",
        "data: [DONE]",
        "data: {",
        'data: {"choices":[]}',
        'data: {"usage":{"prompt_tokens":{"a":1}},"choices":[{}]}',
        'data: {"usage":{"prompt_tokens":"many","completion_tokens":true},"choices":[{}]}',
        'data: {"service_tier":{"a":[1,2]},"choices":[{}]}',
        'data: {"usage":{"prompt_tokens":1e999},"choices":[{}]}',
        'data: {"\\ud800":1,"choices":[{}]}',
        "data: " + "[" * 500,
        "data: true",
        "data:1",
        'data: "',
        "data: \xff",
        "retry: 1",
    ]
).map(Said)
EVENTS = st.lists(
    TEXTS.map(content_event)
    | ODD
    | TEXTS.map(lambda text: Said(f"data: {text}"))
    | st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)).map(usage_event),
    min_size=1,
    max_size=6,
)


@st.composite
def streams(draw: st.DrawFn) -> tuple[list[Said], str, list[int]]:
    """Events, what ends their lines, and the sizes of the pieces in which they come."""
    newline = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    return draw(EVENTS), newline * 2, draw(st.lists(st.integers(1, 60), min_size=1, max_size=8))


def cut(whole: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for number in range(len(whole)):
        size = sizes[number % len(sizes)]
        pieces.append(whole[:size])
        whole = whole[size:]
        if not whole:
            break
    return pieces


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(streams(), st.booleans())
def test_a_stream_goes_on_as_it_came_but_for_the_usage_that_only_we_asked_for(
    road: Road, told: tuple[list[Said], str, list[int]], strip: bool
) -> None:
    events, end, sizes = told
    whole = "".join(event.text + end for event in events).encode()
    road.upstream.script = Script(cut(whole, sizes), SSE)
    road.check.answer = lambda _: allowed(call="a-call", strip_usage=strip)
    answer = road.call()
    going = [event for event in events if not strip or event.counted is None]
    assert answer.body == b"".join(commented(event.text.encode()) + end.encode() for event in going)


def commented(line: bytes) -> bytes:
    """A line as it goes on: one whose data is JSON, but no object and no list, as a comment."""
    return b":" + line if re.match(rb'data:[ \t\xef\xbb\xbf]*["\-0-9tfn]', line) else line


LONE = {
    "a word": b"data: true",
    "no value": b"data: null",
    "a number": b"data:-1.5e3",
    "a text": b'data: "text"',
    "white space in front of it": b"data: \t  1",
    "a lot of white space in front of it": b"data:" + b" " * 5000 + b"1",
    "a byte order mark in front of it": b"data: \xef\xbb\xbf1",
}


@pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["by bytes", "in pieces", "at once"])
@pytest.mark.parametrize("line", LONE.values(), ids=LONE)
def test_a_lone_value_for_an_event_becomes_a_comment_and_the_gateway_lives(road: Road, line: bytes, size: int) -> None:
    """Envoy 1.40 takes it for an object, which ends the process: and its last words have the provider's key in them."""
    before, behind = b'data: {"a":"data: 1"}\n\n', b"data: [DONE]\n\n"
    for text in (line + b"\n\n", b"data:\n" + line + b"\nid: 1\n\n", b"\xef\xbb\xbf" + line + b"\r\n\r\n", line):
        road.upstream.script = Script(cut(before + text + behind, [size]), SSE)
        assert road.call().body == before + text.replace(line, b":" + line).replace(MARK + b":", b":" + MARK) + behind
        assert road.gateway.process.poll() is None


MARK = b"\xef\xbb\xbf"


def test_every_one_of_these_calls_has_a_line_that_can_be_read(road: Road) -> None:
    made = len(road.check.asked)
    assert made >= 60
    eventually(lambda: len(lines(road)) >= made, 10)
    assert len({end.call_id for end in lines(road)}) == made
    assert all(end.status == 200 and end.whole for end in lines(road))


def lines(road: Road) -> list[CallEnd]:
    text = Path(road.gateway_settings.access_log).read_bytes()
    return [call_end(msgspec.json.decode(line, type=Line), 0) for line in text.splitlines()]
