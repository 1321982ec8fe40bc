"""What a message may be, what is refused and why, and what is changed on its way."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from providers.editing import spliced
from tollway.pricing.usage import CacheWrites
from tollway.providers.anthropic import fields
from tollway.providers.anthropic.content import TOKENS_PER_IMAGE
from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.anthropic.request import COUNT_TOKENS, MESSAGES, TOKENS_FOR_TOOLS
from tollway.providers.port import Kind, Operation, ParsedCall, RequestRefused

USER = {"role": "user", "content": "hi"}
TOOL = {"name": "t", "input_schema": {"type": "object"}}
PIXEL = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def body(**members: object) -> bytes:
    """A request; a member that is `...` is left out."""
    request = {"model": "claude-sonnet-5", "max_tokens": 100, "messages": [USER], **members}
    return json.dumps({name: value for name, value in request.items() if value is not ...}).encode()


def parse(request: bytes, operation: Operation = MESSAGES, content_type: str = "application/json") -> ParsedCall:
    return ANTHROPIC.parse(operation, request, content_type)


def refused(request: bytes, operation: Operation = MESSAGES) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        parse(request, operation)
    return caught.value


def says(block: Mapping[str, Any]) -> bytes:
    return body(messages=[USER, {"role": "user", "content": [{"type": "text", "text": "see"}, block]}])


def image(**source: object) -> bytes:
    return says({"type": "image", "source": source})


def document(**source: object) -> bytes:
    return says({"type": "document", "source": source})


def thinks(**thinking: object) -> bytes:
    return body(max_tokens=3000, thinking=thinking)


BLOCK = "messages[1].content[1]"
REFUSED = {
    "not JSON": (b"model=claude", "request.unreadable", None),
    "the model twice": (b'{"model":"a","model":"b","max_tokens":1,"messages":[]}', "request.unreadable", None),
    "no model": (body(model=...), "request.unreadable", "model"),
    "a model that is no name": (body(model="claude 5\n"), "request.unreadable", "model"),
    "no cap": (body(max_tokens=...), "request.unreadable", "max_tokens"),
    "a null cap": (body(max_tokens=None), "request.unreadable", "max_tokens"),
    "a negative cap": (body(max_tokens=-1), "request.unreadable", "max_tokens"),
    "a cap as a float": (body(max_tokens=10.0), "request.unreadable", "max_tokens"),
    "a cap as text": (body(max_tokens="10"), "request.unreadable", "max_tokens"),
    "a cap as a flag": (body(max_tokens=True), "request.unreadable", "max_tokens"),
    "a huge cap": (body(max_tokens=2**31), "request.unreadable", "max_tokens"),
    "the cap of another provider": (body(max_completion_tokens=5), "request.unknown_field", "max_completion_tokens"),
    "no messages": (body(messages=[]), "request.unreadable", "messages"),
    "messages as text": (body(messages="hi"), "request.unreadable", "messages"),
    "a message as text": (body(messages=["hi"]), "request.unreadable", "messages[0]"),
    "an unknown role": (body(messages=[{"role": "tool", "content": "x"}]), "request.unreadable", "messages[0].role"),
    "a role of an unhashable type": (body(messages=[{"role": [], "content": "x"}]), "request.unreadable",
                                     "messages[0].role"),
    "no content": (body(messages=[{"role": "user"}]), "request.unreadable", "messages[0].content"),
    "content as a number": (body(messages=[{"role": "user", "content": 1}]), "request.unreadable",
                            "messages[0].content"),
    "a block as text": (body(messages=[{"role": "user", "content": ["x"]}]), "request.unreadable",
                        "messages[0].content[0]"),
    "an unknown message field": (body(messages=[{**USER, "Content": "x"}]), "request.unknown_field",
                                 "messages[0].Content"),
    "system as a number": (body(system=1), "request.unreadable", "system"),
    "an image as system": (body(system=[{"type": "image", "source": {"type": "url", "url": "x"}}]),
                           "request.unbounded", "system[0].source"),
    "stream as text": (body(stream="true"), "request.unreadable", "stream"),
    "an unknown tier": (body(service_tier="turbo"), "request.unreadable", "service_tier"),
    "an unknown speed": (body(speed="turbo"), "request.unreadable", "speed"),
    "another place": (body(inference_geo="us"), "request.unbounded", "inference_geo"),
    "a place of an unhashable type": (body(inference_geo=[]), "request.unbounded", "inference_geo"),
    "an unknown output option": (body(output_config={"task_budget": 1}), "request.unknown_field",
                                 "output_config.task_budget"),
    "thinking as text": (body(thinking="enabled"), "request.unreadable", "thinking"),
    "thinking of no type": (thinks(budget_tokens=2000), "request.unreadable", "thinking"),
    "thinking of an unknown type": (thinks(type="deep"), "request.unreadable", "thinking.type"),
    "thinking without a budget": (thinks(type="enabled"), "request.unreadable", "thinking"),
    "a budget where none is taken": (thinks(type="adaptive", budget_tokens=2000), "request.unreadable", "thinking"),
    "a tiny budget": (thinks(type="enabled", budget_tokens=1023), "request.unreadable", "thinking.budget_tokens"),
    "a budget as large as the cap": (thinks(type="enabled", budget_tokens=3000), "request.conflict",
                                     "thinking.budget_tokens"),
    "an unknown field of thinking": (thinks(type="disabled", effort=1), "request.unknown_field", "thinking.effort"),
    "tools as an object": (body(tools={}), "request.unreadable", "tools"),
    "a tool as text": (body(tools=["bash"]), "request.unreadable", "tools[0]"),
    "a web search": (body(tools=[{"type": "web_search_20250305", "name": "web_search"}]), "request.unbounded",
                     "tools[0].type"),
    "a web search of few uses": (body(tools=[{"type": "web_search_20250305", "name": "web_search", "max_uses": 1}]),
                                 "request.unbounded", "tools[0].type"),
    "code that the provider runs": (body(tools=[TOOL, {"type": "code_execution_20250825", "name": "code_execution"}]),
                                    "request.unbounded", "tools[1].type"),
    "a computer": (body(tools=[{"type": "computer_toolset_20260801"}]), "request.unbounded", "tools[0].type"),
    "a tool of a type from tomorrow": (body(tools=[{"type": "telepathy_20300101"}]), "request.unbounded",
                                       "tools[0].type"),
    "a tool of an unhashable type": (body(tools=[{"type": []}]), "request.unreadable", "tools[0].type"),
    "an unknown field of a tool": (body(tools=[{**TOOL, "max_uses": 5}]), "request.unknown_field", "tools[0].max_uses"),
    "a stored container": (body(container="container_1"), "request.stateful", "container"),
    "servers that the provider calls": (body(mcp_servers=[{"type": "url", "url": "https://e.com"}]),
                                        "request.unbounded", "mcp_servers"),
    "context that the provider edits": (body(context_management={"edits": []}), "request.unbounded",
                                        "context_management"),
    "a stored thread": (body(thread={"type": "create"}), "request.stateful", "thread"),
    "another model in reserve": (body(fallbacks=[{"model": "claude-opus-4-8"}]), "request.unbounded", "fallbacks"),
    "somebody else who pays": (body(billing_policy={}), "request.stateful", "billing_policy"),
    "an earlier message to compare": (body(diagnostics={"previous_message_id": "msg_1"}), "request.stateful",
                                      "diagnostics"),
    "an unknown field": (body(n=5), "request.unknown_field", "n"),
    "an unknown field, even null": (body(n=None), "request.unknown_field", "n"),
    "a known field in capitals": (body(MAX_TOKENS=1), "request.unknown_field", "MAX_TOKENS"),
    "an empty field name": (body(**{"": 1}), "request.unknown_field", ""),
    "a cache entry of an unknown duration": (body(cache_control={"type": "ephemeral", "ttl": "24h"}),
                                             "request.unreadable", "cache_control.ttl"),
    "a cache entry of an unknown type": (says({"type": "text", "text": "", "cache_control": {"type": "eternal"}}),
                                         "request.unreadable", f"{BLOCK}.cache_control.type"),
    "a cache entry of a wider scope": (body(cache_control={"type": "ephemeral", "scope": "global"}),
                                       "request.unknown_field", "cache_control.scope"),
    "a cache entry of a tool as text": (body(tools=[{**TOOL, "cache_control": "x"}]), "request.unreadable",
                                        "tools[0].cache_control"),
    "an image by URL": (image(type="url", url="https://example.com"), "request.unbounded", f"{BLOCK}.source"),
    "a stored image": (image(type="file", file_id="file_1"), "request.stateful", f"{BLOCK}.source"),
    "an image of no known source": (image(type="dream"), "request.unknown_field", f"{BLOCK}.source.type"),
    "an image without a source": (says({"type": "image"}), "request.unreadable", f"{BLOCK}.source"),
    "an image that is no image": (image(**{**PIXEL, "media_type": "application/pdf"}), "request.unreadable",
                                  f"{BLOCK}.source.media_type"),
    "an image of no bytes": (image(type="base64", media_type="image/png"), "request.unreadable",
                             f"{BLOCK}.source.data"),
    "an image with a text beside it": (image(**PIXEL, text="x"), "request.unknown_field", f"{BLOCK}.source.text"),
    "a PDF by bytes": (document(type="base64", media_type="application/pdf", data="JVBERi0="), "request.unbounded",
                       f"{BLOCK}.source"),
    "a PDF by URL": (document(type="url", url="https://example.com"), "request.unbounded", f"{BLOCK}.source"),
    "a stored document": (document(type="file", file_id="file_1"), "request.stateful", f"{BLOCK}.source"),
    "citations": (says({"type": "document", "citations": {"enabled": True}, "source": {"type": "text", "data": "x"}}),
                  "request.unbounded", f"{BLOCK}.citations.enabled"),
    "an image by URL inside of a document": (
        document(type="content", content=[{"type": "image", "source": {"type": "url", "url": "x"}}]),
        "request.unbounded", f"{BLOCK}.source.content[0].source"),
    "an image by URL inside of a result": (
        says({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": {"type": "url"}}]}),
        "request.unbounded", f"{BLOCK}.content[0].source"),
    "an uploaded file": (says({"type": "container_upload", "file_id": "file_1"}), "request.stateful", BLOCK),
    "what a tool of the provider found": (says({"type": "web_search_tool_result", "content": []}),
                                          "request.unbounded", BLOCK),
    "an unknown block": (says({"type": "hologram"}), "request.unknown_field", f"{BLOCK}.type"),
    "a block of an unhashable type": (says({"type": {}}), "request.unreadable", f"{BLOCK}.type"),
    "an image hidden in a text": (says({"type": "text", "text": "", "source": PIXEL}), "request.unknown_field",
                                  f"{BLOCK}.source"),
}  # fmt: skip


@pytest.mark.parametrize(("request_body", "reason", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_understood_or_bounded_is_refused(request_body: bytes, reason: str, param: str | None) -> None:
    refusal = refused(request_body)
    assert (refusal.reason, refusal.param, refusal.kind) == (reason, param, Kind.INVALID)


@pytest.mark.parametrize("field", sorted(fields.FORBIDDEN))
def test_null_is_as_good_as_absent(field: str) -> None:
    assert parse(body(**{field: None})).output_cap == 100


def test_a_body_beyond_the_limit_is_too_large_and_not_invalid() -> None:
    refusal = refused(body(stop_sequences=["x" * 2**25]))
    assert (refusal.reason, refusal.kind) == ("request.too_large", Kind.TOO_LARGE)


def test_other_content_types_are_refused() -> None:
    with pytest.raises(RequestRefused, match="content-type"):
        parse(body(), content_type="text/plain")


def test_refusals_quote_nothing_that_was_said() -> None:
    for request, _, _ in REFUSED.values():
        canary = re.sub(rb': "(hi|x|turbo|us|deep|24h|msg_1|container_1)"', b': "canary"', request)
        assert "canary" not in refused(canary).message


EPHEMERAL = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
WRITES = {
    "nowhere": (body(), CacheWrites.NONE),
    "null": (body(cache_control=None), CacheWrites.NONE),
    "in the word of a text": (body(messages=[{"role": "user", "content": "cache_control"}]), CacheWrites.NONE),
    "as a parameter of a tool": (
        body(tools=[{**TOOL, "input_schema": {"properties": {"cache_control": {}}}}]), CacheWrites.NONE),
    "for the whole": (body(cache_control=EPHEMERAL), CacheWrites.FIVE_MINUTES),
    "in the system prompt": (
        body(system=[{"type": "text", "text": "", "cache_control": EPHEMERAL}]), CacheWrites.FIVE_MINUTES),
    "in a message": (says({"type": "text", "text": "", "cache_control": {**EPHEMERAL, "ttl": "5m"}}),
                     CacheWrites.FIVE_MINUTES),
    "in a tool": (body(tools=[{**TOOL, "cache_control": HOUR}]), CacheWrites.ONE_HOUR),
    "inside of a result": (
        says({"type": "tool_result", "content": [{"type": "text", "text": "", "cache_control": HOUR}]}),
        CacheWrites.ONE_HOUR),
    "of both durations": (
        body(cache_control=EPHEMERAL, system=[{"type": "text", "text": "", "cache_control": HOUR}]),
        CacheWrites.ONE_HOUR),
    "of both durations, the other way round": (
        body(cache_control=HOUR, system=[{"type": "text", "text": "", "cache_control": EPHEMERAL}]),
        CacheWrites.ONE_HOUR),
    "by an escaped key": (body(cache_control=HOUR).replace(b"cache_c", b"cache\\u005fc"), CacheWrites.ONE_HOUR),
}  # fmt: skip


@pytest.mark.parametrize(("request_body", "writes"), WRITES.values(), ids=WRITES)
def test_the_cache_can_only_be_written_where_the_request_asks_for_it(request_body: bytes, writes: CacheWrites) -> None:
    assert parse(request_body).cache_writes is writes


TIERS = {
    "standard": ({}, {"service_tier": "standard_only"}, {"speed": "standard"}, {"service_tier": None, "speed": None}),
    "fast": ({"speed": "fast"}, {"speed": "fast", "service_tier": "standard_only"}),
    "auto": ({"service_tier": "auto"}, {"speed": "fast", "service_tier": "auto"}),
}


@pytest.mark.parametrize(("tier", "members"), [(tier, each) for tier, cases in TIERS.items() for each in cases])
def test_the_tier_is_the_dearest_that_may_answer(tier: str, members: dict[str, Any]) -> None:
    assert parse(body(**members)).tier == tier


def test_thinking_within_a_budget_leaves_no_use_for_a_smaller_cap() -> None:
    assert parse(thinks(type="enabled", budget_tokens=2999)).least_output == 1025
    assert parse(thinks(type="adaptive")).least_output == 1


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(TEXTS, min_size=1, max_size=8), st.booleans())
def test_the_input_bound_is_above_the_utf_8_bytes_of_all_texts_and_markers(texts: list[str], ascii_only: bool) -> None:
    messages = [{"role": "user", "content": [{"type": "text", "text": text}]} for text in texts]
    request = {"model": "m", "max_tokens": 1, "system": texts[0], "messages": messages}
    said = len(texts[0].encode()) + sum(len(text.encode()) for text in texts)
    assert parse(json.dumps(request, ensure_ascii=ascii_only).encode()).input_bound >= said + 8 * len(texts) + 64


def test_tools_add_what_the_provider_says_about_them() -> None:
    without, having = body(), body(tools=[TOOL])
    told = parse(having).input_bound - len(having) - (parse(without).input_bound - len(without))
    assert told == TOKENS_FOR_TOOLS >= 804


def test_tools_that_the_provider_describes_add_its_description() -> None:
    custom = parse(body(tools=[TOOL])).input_bound
    assert parse(body(tools=[{"type": "text_editor_20250728", "name": "e"}])).input_bound > custom + 700


@pytest.mark.parametrize("size", [4, 4_000_000])
def test_an_image_adds_the_most_that_it_can_be_scaled_to_whatever_its_bytes(size: int) -> None:
    bound = parse(image(**{**PIXEL, "data": "A" * size})).input_bound
    assert bound == parse(image(**{**PIXEL, "data": ""})).input_bound
    assert TOKENS_PER_IMAGE < bound < TOKENS_PER_IMAGE + 1000


def test_counting_tokens_generates_and_costs_nothing() -> None:
    call = parse(body(max_tokens=..., tools=[TOOL], thinking={"type": "adaptive"}), COUNT_TOKENS)
    assert (call.output_cap, call.input_bound, call.answers, call.stream) == (0, 0, 1, False)


@pytest.mark.parametrize("member", [{"max_tokens": 5}, {"stream": True}, {"service_tier": "auto"}], ids=str)
def test_counting_tokens_takes_no_words_about_an_answer(member: dict[str, Any]) -> None:
    assert refused(body(**{"max_tokens": ..., **member}), COUNT_TOKENS).reason == "request.unknown_field"


def test_counting_tokens_is_no_way_around_the_rules_for_messages() -> None:
    request = body(max_tokens=..., tools=[{"type": "web_search_20250305", "name": "web_search"}])
    assert refused(request, COUNT_TOKENS).reason == "request.unbounded"


VALUES = st.none() | st.booleans() | st.integers(-3, 200) | TEXTS | st.just([]) | st.just({}) | st.just([USER])
BLOCKS = st.dictionaries(
    st.sampled_from(["type", "text", "source", "content", "cache_control", "citations"]),
    VALUES | st.sampled_from(sorted(fields.BLOCKS)) | st.dictionaries(st.sampled_from(["type", "data", "ttl"]), VALUES),
)
REQUESTS = st.dictionaries(
    st.sampled_from(sorted(fields.READ | fields.HARMLESS | fields.FORBIDDEN.keys())),
    VALUES | BLOCKS | st.lists(BLOCKS, max_size=3) | st.just(100),
    max_size=6,
)
FRAMES = REQUESTS.map(lambda members: {"model": "m", "max_tokens": 9, "messages": [USER], **members})
CONTENTS = st.lists(BLOCKS, max_size=3).map(
    lambda blocks: {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": blocks}]}
)


@given(st.binary(max_size=100) | (REQUESTS | FRAMES | CONTENTS).map(lambda request: json.dumps(request).encode()))
def test_arbitrary_requests_are_parsed_or_refused(request_body: bytes) -> None:
    for operation in (MESSAGES, COUNT_TOKENS):
        with contextlib.suppress(RequestRefused):
            assert parse(request_body, operation).model


EDITABLE = st.fixed_dictionaries(
    {
        "model": st.just("m"),
        "messages": st.lists(st.builds(dict, role=st.just("user"), content=TEXTS), min_size=1, max_size=3),
        "max_tokens": st.integers(1025, 5000) | st.just(0),
    },
    optional={
        "service_tier": st.none() | st.sampled_from(["auto", "standard_only"]),
        "stream": st.booleans(),
        "thinking": st.none()
        | st.just({"type": "adaptive"})
        | st.builds(dict, type=st.just("enabled"), budget_tokens=st.integers(1024, 4999)),
        "temperature": st.floats(0, 1),
    },
)


@given(EDITABLE, st.none() | st.integers(1025, 6000), st.randoms(), st.sampled_from([None, 1]))
def test_edits_change_what_they_must_and_nothing_else(
    members: dict[str, Any], granted: int | None, order: Any, indent: int | None
) -> None:
    shuffled = list(members.items())
    order.shuffle(shuffled)
    original = json.dumps(dict(shuffled), indent=indent).encode()
    budget = (members.get("thinking") or {}).get("budget_tokens", 0)
    assume(budget == 0 or budget < members["max_tokens"])
    call = parse(original)
    forwarded = spliced(original, ANTHROPIC.edits(call, original, granted))
    assert json.loads(forwarded) == _intended(members, granted)
    assert parse(forwarded).tier == call.tier


def _intended(request: dict[str, Any], granted: int | None) -> dict[str, Any]:
    """The same, said in plain words over parsed JSON."""
    wanted = dict(request)
    wanted["service_tier"] = request.get("service_tier") or "standard_only"
    if granted is not None and granted < request["max_tokens"]:
        wanted["max_tokens"] = granted
        thinking = request.get("thinking")
        if thinking and thinking.get("budget_tokens", 0) >= granted:
            wanted["thinking"] = {**thinking, "budget_tokens": granted - 1}
    return wanted
