"""What a response may be asked for: complete in itself, stored nowhere, bounded by its bytes and its cap."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.editing import spliced
from tollway.providers.openai import response_fields
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE, OpenAIFamily
from tollway.providers.openai.responses import RESPONSES
from tollway.providers.port import Kind, ParsedCall, RequestRefused

USER = {"role": "user", "content": "hi"}


def body(**members: object) -> bytes:
    return json.dumps({"model": "gpt-5-mini", "input": "hi", **members}).encode()


def item(**members: object) -> bytes:
    return body(input=[USER, members])


def says(**part: object) -> bytes:
    return item(role="user", content=[{"type": "input_text", "text": "see"}, part])


def parse(request: bytes, family: OpenAIFamily = OPENAI) -> ParsedCall:
    return family.parse(RESPONSES, request, "application/json")


def refused(request: bytes, family: OpenAIFamily = OPENAI) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        parse(request, family)
    return caught.value


REFUSED = {
    "no input": (body(input=None), "request.unreadable", "input"),
    "no items": (body(input=[]), "request.unreadable", "input"),
    "input as an object": (body(input={}), "request.unreadable", "input"),
    "an item as text": (body(input=["hi"]), "request.unreadable", "input[0]"),
    "instructions as items": (body(instructions=[USER]), "request.unreadable", "instructions"),
    "content as a number": (item(role="user", content=1), "request.unreadable", "input[1].content"),
    "a cap of zero": (body(max_output_tokens=0), "request.unreadable", "max_output_tokens"),
    "a cap as text": (body(max_output_tokens="10"), "request.unreadable", "max_output_tokens"),
    "the cap of chat completions": (body(max_tokens=10), "request.unknown_field", "max_tokens"),
    "several answers": (body(n=2), "request.unknown_field", "n"),
    "stream as text": (body(stream="true"), "request.unreadable", "stream"),
    "store as text": (body(store="yes"), "request.unreadable", "store"),
    "reasoning as text": (body(reasoning="high"), "request.unreadable", "reasoning"),
    "unknown reasoning": (body(reasoning={"budget": 1}), "request.unknown_field", "reasoning.budget"),
    "several runs of the model": (body(reasoning={"mode": "pro"}), "request.unbounded", "reasoning.mode"),
    "unknown stream options": (body(stream_options={"pace": 1}), "request.unknown_field", "stream_options.pace"),
    "a tier without a price": (body(service_tier="ultrafast"), "request.unbounded", "service_tier"),
    "an unknown tier": (body(service_tier="turbo"), "request.unreadable", "service_tier"),
    "a model that searches": (body(model="gpt-5-search-api"), "request.unbounded", "model"),
    "a background run": (body(background=True), "request.stateful", "background"),
    "options of one": (body(background_options={}), "request.stateful", "background_options"),
    "a stored response": (body(previous_response_id="resp_1"), "request.stateful", "previous_response_id"),
    "a stored conversation": (body(conversation={"id": "conv_1"}), "request.stateful", "conversation"),
    "a stored prompt": (body(prompt={"id": "pmpt_1"}), "request.stateful", "prompt"),
    "a stored item": (item(type="item_reference", id="msg_1"), "request.stateful", "input[1]"),
    "a stored item that does not say so": (item(id="msg_1"), "request.stateful", "input[1]"),
    "a stored item, null": (item(type=None, id="msg_1"), "request.stateful", "input[1]"),
    "stored reasoning": (
        item(type="reasoning", id="rs_1", summary=[]), "request.stateful", "input[1].encrypted_content"),
    "a stored image": (says(type="input_image", file_id="file-1"), "request.stateful", "input[1].content[1].file_id"),
    "a stored file": (says(type="input_file", file_id="file-1"), "request.stateful", "input[1].content[1].file_id"),
    "another's cache": (
        body(prompt_cache_options={"comparison_response_id": "resp_1"}),
        "request.stateful", "prompt_cache_options.comparison_response_id"),
    "a cache that is kept for long": (
        body(prompt_cache_options={"ttl": "12h"}), "request.unbounded", "prompt_cache_options.ttl"),
    "a cache time of an unhashable type": (
        body(prompt_cache_options={"ttl": []}), "request.unbounded", "prompt_cache_options.ttl"),
    "compaction by the provider": (
        body(context_management=[{"type": "compaction"}]), "request.unbounded", "context_management"),
    "an access of the account": (body(access_programs={"cyber": "x"}), "request.unbounded", "access_programs"),
    "a second model": (body(moderation={"model": "m"}), "request.unbounded", "moderation"),
    "an image": (says(type="input_image", image_url="data:x"), "request.unbounded", "input[1].content[1]"),
    "a file by URL": (says(type="input_file", file_url="https://x"), "request.unbounded", "input[1].content[1]"),
    "audio": (says(type="input_audio", input_audio={}), "request.unbounded", "input[1].content[1]"),
    "an unknown part": (says(type="hologram"), "request.unknown_field", "input[1].content[1].type"),
    "an image hidden in a text part": (
        says(type="input_text", text="", image_url="x"), "request.unknown_field", "input[1].content[1].image_url"),
    "an image as a tool's output": (
        item(type="function_call_output", call_id="c", output=[{"type": "input_image", "image_url": "x"}]),
        "request.unbounded", "input[1].output[0]"),
    "an image in a summary": (
        item(type="reasoning", encrypted_content="x", summary=[{"type": "input_image"}]),
        "request.unbounded", "input[1].summary[0]"),
    "an unknown item": (item(type="dream"), "request.unknown_field", "input[1].type"),
    "an item of an unhashable type": (item(type=[]), "request.unreadable", "input[1].type"),
    "an unknown field of an item": (item(**USER, files=[]), "request.unknown_field", "input[1].files"),
    "a known field in capitals": (body(MAX_OUTPUT_TOKENS=1), "request.unknown_field", "MAX_OUTPUT_TOKENS"),
    "tools as an object": (body(tools={}), "request.unreadable", "tools"),
}  # fmt: skip


@pytest.mark.parametrize(("request_body", "reason", "param"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("family", [OPENAI, OPENAI_COMPATIBLE], ids=lambda family: family.name)
def test_what_cannot_be_understood_or_bounded_is_refused(
    request_body: bytes, reason: str, param: str, family: OpenAIFamily
) -> None:
    refusal = refused(request_body, family)
    assert (refusal.reason, refusal.param, refusal.kind) == (reason, param, Kind.INVALID)


PROVIDERS_TOOLS = [
    "web_search", "web_search_preview", "file_search", "code_interpreter", "image_generation", "mcp", "computer",
    "computer_use_preview", "shell", "local_shell", "apply_patch", "tool_search", "namespace",
    "programmatic_tool_calling",
]  # fmt: skip


@pytest.mark.parametrize("tool", PROVIDERS_TOOLS)
def test_a_tool_that_the_provider_runs_is_refused(tool: str) -> None:
    refusal = refused(body(tools=[{"type": "function", "name": "f"}, {"type": tool}]))
    assert (refusal.reason, refusal.param) == ("request.unbounded", "tools[1].type")


@pytest.mark.parametrize("kind", sorted(response_fields.FORBIDDEN_ITEMS))
def test_an_item_of_a_tool_that_the_provider_runs_is_refused(kind: str) -> None:
    assert refused(item(type=kind)).param == "input[1]"


@pytest.mark.parametrize("field", sorted(response_fields.FORBIDDEN))
def test_null_is_as_good_as_absent(field: str) -> None:
    assert parse(body(**{field: None})).output_cap is None


@pytest.mark.parametrize("field", sorted(response_fields.EXTENSIONS))
def test_fields_of_compatible_servers_pass_to_them_and_not_to_openai(field: str) -> None:
    assert parse(body(**{field: 1}), OPENAI_COMPATIBLE).model == "gpt-5-mini"
    assert refused(body(**{field: 1})).reason == "request.unknown_field"


def test_a_run_in_the_foreground_may_be_asked_for() -> None:
    assert not parse(body(background=False, store=True)).stream


def test_openai_takes_no_cap_below_16_and_other_servers_do() -> None:
    assert (parse(body()).least_output, parse(body(), OPENAI_COMPATIBLE).least_output) == (16, 1)


def test_a_stream_always_shows_its_usage() -> None:
    assert parse(body(stream=True)).wants_usage


def test_stored_reasoning_is_refused_with_the_way_out() -> None:
    assert "reasoning.encrypted_content" in refused(item(type="reasoning", id="rs_1", summary=[])).message


def test_refusals_quote_nothing_that_was_said() -> None:
    for request, _, _ in REFUSED.values():
        canary = request.replace(b'"hi"', b'"canary"').replace(b'"x"', b'"canary"')
        assert "canary" not in refused(canary).message


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.none() | st.booleans() | st.integers(-3, 200) | TEXTS | st.just([]) | st.just({}) | st.just([USER])
KINDS = st.sampled_from(
    sorted([*response_fields.ITEMS, *response_fields.FORBIDDEN_ITEMS, *response_fields.PARTS.texts])
)
THINGS = st.dictionaries(
    st.sampled_from(["type", "role", "content", "id", "output", "summary", "encrypted_content"]),
    VALUES
    | KINDS
    | st.lists(st.dictionaries(st.sampled_from(["type", "text", "file_id"]), VALUES | KINDS), max_size=2),
)
REQUESTS = st.dictionaries(
    st.sampled_from(sorted(response_fields.READ | response_fields.HARMLESS | response_fields.FORBIDDEN.keys())),
    VALUES | THINGS | st.lists(THINGS, max_size=3),
    max_size=6,
).map(lambda request: {"model": "m", "input": "hi", **request})


@given(REQUESTS)
def test_arbitrary_requests_are_parsed_or_refused(request: dict[str, Any]) -> None:
    encoded = json.dumps(request).encode()
    for family in (OPENAI, OPENAI_COMPATIBLE):
        with contextlib.suppress(RequestRefused):
            assert parse(encoded, family).input_bound > len(encoded)


@given(st.lists(TEXTS, min_size=1, max_size=8), TEXTS, st.booleans())
def test_the_input_bound_is_above_the_utf_8_bytes_of_all_texts_and_markers(
    texts: list[str], instructions: str, ascii_only: bool
) -> None:
    request = {"model": "m", "instructions": instructions, "input": [{"role": "user", "content": t} for t in texts]}
    said = sum(len(text.encode()) for text in [*texts, instructions])
    assert parse(json.dumps(request, ensure_ascii=ascii_only).encode()).input_bound >= said + 8 * len(texts) + 64


CAPS = st.none() | st.integers(16, 5000)
EDITABLE = st.fixed_dictionaries(
    {"model": st.just("m"), "input": TEXTS | st.lists(st.just(USER), min_size=1, max_size=3)},
    optional={
        "store": st.none() | st.booleans(),
        "service_tier": st.none() | st.sampled_from(["auto", "flex"]),
        "max_output_tokens": CAPS,
        "stream": st.none() | st.booleans(),
        "instructions": st.none() | TEXTS,
        "reasoning": st.none() | st.just({"effort": "low", "mode": "standard"}),
        "metadata": st.dictionaries(TEXTS, TEXTS, max_size=2),
        "temperature": st.floats(0, 2),
    },
)


@given(EDITABLE, CAPS, st.sampled_from([OPENAI, OPENAI_COMPATIBLE]), st.randoms(), st.sampled_from([None, 1]))
def test_edits_change_what_they_must_and_nothing_else(
    members: dict[str, Any], granted: int | None, family: OpenAIFamily, order: Any, indent: int | None
) -> None:
    shuffled = [*members.items()]
    order.shuffle(shuffled)
    request = dict(shuffled)
    original = json.dumps(request, indent=indent).encode()
    forwarded = json.loads(spliced(original, family.edits(parse(original, family), original, granted)))
    assert forwarded == _intended(request, granted, family)


def _intended(request: dict[str, Any], granted: int | None, family: OpenAIFamily) -> dict[str, Any]:
    """The same, said in plain words over parsed JSON."""
    wanted = dict(request)
    own = request.get("max_output_tokens")
    if granted is not None and (own is None or granted < own):
        wanted["max_output_tokens"] = granted
    if request.get("store") or family is OPENAI:
        wanted["store"] = False
    if family is OPENAI and request.get("service_tier") is None:
        wanted["service_tier"] = "default"
    return wanted
