"""Bodies of requests, made up: agreement with a second, strict reading, bounds that hold, and edits that change nothing
else. What is asserted is in `fuzz.bodies` and in the fuzzing targets."""

from typing import Any

from fuzz import goldens
from fuzz.bodies import Door, check_body, parsed
from fuzz.targets import anthropic_bodies, json_scan, openai_bodies
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from reading_hostile.json_texts import TEXTS, VALUES, written

DOORS = {f"{door.family.name} {door.operation.name}": door for door in (*openai_bodies.DOORS, *anthropic_bodies.DOORS)}
CAPS = st.integers(1, 2**31 - 1)


def maybe(**members: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Any of these members, in any order."""
    return st.fixed_dictionaries({}, optional=members)


MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": TEXTS}), min_size=1, max_size=3)
TOOL = st.fixed_dictionaries({"name": st.just("f"), "description": TEXTS, "parameters": st.just({"type": "object"})})
SHARED = maybe(
    stream=st.booleans(), temperature=st.floats(0, 1), service_tier=st.sampled_from([None, "auto", "default"])
)
IN_ORDER: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "chat.completions": st.builds(
        lambda messages, shared, own, cap: {"model": "gpt-5", "messages": messages, **shared, **own, **cap},
        MESSAGES,
        SHARED,
        maybe(
            n=st.integers(1, 128),
            store=st.sampled_from([None, True, False]),
            stream_options=st.sampled_from([None, {}, {"include_usage": False}, {"include_usage": True}]),
            tools=st.lists(st.builds(lambda tool: {"type": "function", "function": tool}, TOOL), max_size=2),
        ),
        maybe(max_tokens=CAPS) | maybe(max_completion_tokens=st.none() | CAPS),
    ),
    "responses": st.builds(
        lambda given, shared, own: {"model": "gpt-5", "input": given, **shared, **own},
        TEXTS | MESSAGES,
        SHARED,
        maybe(max_output_tokens=st.none() | st.integers(16, 2**31 - 1), store=st.booleans(), instructions=TEXTS),
    ),
    "embeddings": st.builds(
        lambda given: {"model": "text-embedding-3-small", "input": given},
        TEXTS
        | st.lists(TEXTS, min_size=1, max_size=3)
        | st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=4), min_size=1, max_size=3),
    ),
    "messages": st.builds(
        lambda messages, cap, own: {"messages": messages, "max_tokens": cap, "model": "claude-sonnet-4-5", **own},
        MESSAGES,
        st.integers(2000, 2**31 - 1),
        maybe(
            stream=st.booleans(),
            system=TEXTS,
            service_tier=st.sampled_from([None, "auto", "standard_only"]),
            thinking=st.sampled_from([None, {"type": "disabled"}, {"budget_tokens": 1999, "type": "enabled"}]),
        ),
    ),
    "messages.count_tokens": st.builds(lambda messages: {"messages": messages, "model": "claude-x"}, MESSAGES),
}


@st.composite
def bodies_in_order(draw: st.DrawFn) -> tuple[Door, bytes]:
    door = draw(st.sampled_from([*DOORS.values()]))
    request = draw(IN_ORDER[door.operation.name])
    names = draw(st.permutations([*request]))
    return door, draw(written({name: request[name] for name in names}))


@settings(max_examples=300, deadline=None)
@given(bodies_in_order())
def test_a_request_in_order_is_understood_bounded_and_edited_however_it_is_written(made: tuple[Door, bytes]) -> None:
    door, body = made
    assert parsed(door, body) is not None, body
    check_body(door, body)


NAMES = st.sampled_from(
    [
        *("model", "messages", "input", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "stream"),
        *("stream_options", "store", "service_tier", "thinking", "tools", "system", "metadata", "prompt", "x"),
    ]
)


@settings(max_examples=300, deadline=None)
@given(bodies_in_order(), NAMES, VALUES, st.data())
def test_a_request_with_anything_in_one_member_is_refused_or_understood(
    made: tuple[Door, bytes], name: str, value: Any, data: st.DataObject
) -> None:
    door, body = made
    said: dict[str, Any] = dict(json_scan.read_object(body))
    check_body(door, data.draw(written({**said, name: value})))


@settings(max_examples=200, deadline=None)
@given(bodies_in_order(), st.integers(0, 10_000), st.integers(0, 3), st.binary(max_size=3))
def test_a_body_with_some_bytes_changed_is_refused_or_understood(
    made: tuple[Door, bytes], at: int, gone: int, put: bytes
) -> None:
    door, body = made
    at %= len(body)
    changed = body[:at] + put + body[at + gone :]
    json_scan.check(changed)
    check_body(door, changed)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4).flatmap(written))
@example(b'{"a":[18446744073709551615,-9223372036854775808]}')
@example(b'{"\\u0061":1, "a":1}')
def test_any_json_object_is_read_as_a_strict_reading_reads_it(body: bytes) -> None:
    json_scan.check(body)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([*goldens.requests("openai"), *goldens.requests("anthropic")]), st.data())
def test_a_key_that_stands_twice_anywhere_is_seen(body: bytes, data: st.DataObject) -> None:
    colons = [at for at in range(len(body)) if body.startswith(b'":', at)]
    at = data.draw(st.sampled_from(colons))
    start = body.rindex(b'"', 0, at)
    assume(body[start - 1 : start] in (b"{", b",", b" ", b"\n"))
    key = body[start : at + 1]
    json_scan.check(body[:start] + key + b":null," + body[start:])
