"""What answers say they consumed, and what Envoy's log tells of a call, made up: counts or nothing, never a loss."""

import json

from fuzz.targets import access_log_lines, resource_files, usage
from hypothesis import given, settings
from hypothesis import strategies as st

from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE
from tollway.providers.port import Family

FAMILIES: tuple[Family, ...] = (OPENAI, OPENAI_COMPATIBLE, ANTHROPIC)
COUNTS = (
    st.integers(0, 5000) | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from([0.5, 2.0**40, 2.0**40 + 1])
)
WORDS = st.sampled_from(["default", "priority", "standard", "batch", "", "completed", "in_progress", "end_turn"])


def fields(family: Family) -> st.SearchStrategy[usage.Fields]:
    return st.dictionaries(st.sampled_from([*family.usage_fields]), COUNTS | WORDS | st.text(max_size=5), max_size=8)


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(FAMILIES).flatmap(lambda family: st.tuples(st.just(family), fields(family))))
def test_any_numbers_and_words_for_a_usage_give_counts_or_nothing(given_to: tuple[Family, usage.Fields]) -> None:
    usage.check_fields(*given_to)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["usage", "message", "response", "type", "model", "delta", "choices"]),
            st.recursive(
                COUNTS | WORDS | st.none() | st.booleans(),
                lambda inner: st.dictionaries(
                    st.sampled_from(["usage", "prompt_tokens", "completion_tokens", "input_tokens", "output_tokens"]),
                    inner,
                ),
                max_leaves=5,
            ),
        ),
        max_size=4,
    ),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_events_of_a_stream_give_counts_or_nothing(events: list[object], newline: str) -> None:
    usage.check("".join(f"data: {json.dumps(event)}{newline}{newline}" for event in events).encode())


LINES = st.binary(max_size=80) | st.dictionaries(
    st.sampled_from(["id", "code", "details", "usage", "start", "duration", "type", "upstream_bytes_sent", "else"]),
    st.none() | st.booleans() | COUNTS | WORDS | st.dictionaries(st.text(max_size=3), COUNTS | WORDS | st.booleans()),
    max_size=6,
).map(lambda line: json.dumps(line).encode())


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES, max_size=6))
def test_any_bytes_in_the_access_log_leave_the_lines_behind_them_to_be_taken(lines: list[bytes]) -> None:
    access_log_lines.check(b"\n".join(lines))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([*resource_files.seeds()]), st.integers(0, 5000), st.integers(0, 4), st.text(max_size=4))
def test_a_resource_file_with_some_signs_changed_gives_resources_or_problems(
    file: bytes, at: int, gone: int, put: str
) -> None:
    at %= len(file) + 1
    resource_files.check(file[:at] + put.encode("utf-8", "surrogatepass") + file[at + gone :])
