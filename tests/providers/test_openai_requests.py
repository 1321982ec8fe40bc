"""What a chat completion may ask for: the bound of its input, and what is refused because nothing bounds its cost."""

import contextlib
import json
import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providers.editing import spliced
from tollway.providers.openai import chat_fields as fields
from tollway.providers.openai.chat_completions import CHAT_COMPLETIONS
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE, OpenAIFamily
from tollway.providers.port import Kind, ParsedCall, RequestRefused

USER = {"role": "user", "content": "hi"}


def body(**members: object) -> bytes:
    return json.dumps({"model": "gpt-5-mini", "messages": [USER], **members}).encode()


def parse(request: bytes, family: OpenAIFamily = OPENAI, content_type: str = "application/json") -> ParsedCall:
    return family.parse(CHAT_COMPLETIONS, request, content_type)


def refused(request: bytes, family: OpenAIFamily = OPENAI) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        parse(request, family)
    return caught.value


def says(part: Mapping[str, Any]) -> bytes:
    return body(messages=[USER, {"role": "user", "content": [{"type": "text", "text": "see"}, part]}])


REFUSED = {
    "not JSON": (b"model=gpt", "request.unreadable", None),
    "the model twice": (b'{"model":"a","model":"b","messages":[]}', "request.unreadable", None),
    "no model": (body(model=None), "request.unreadable", "model"),
    "a model that is no name": (body(model="gpt 5\n"), "request.unreadable", "model"),
    "a list as model": (body(model=["gpt-5"]), "request.unreadable", "model"),
    "no messages": (body(messages=[]), "request.unreadable", "messages"),
    "messages as text": (body(messages="hi"), "request.unreadable", "messages"),
    "a message as text": (body(messages=["hi"]), "request.unreadable", "messages[0]"),
    "content as a number": (
        body(messages=[{"role": "user", "content": 1}]), "request.unreadable", "messages[0].content"),
    "a part as text": (
        body(messages=[{"role": "user", "content": ["x"]}]), "request.unreadable", "messages[0].content[0]"),
    "stream as text": (body(stream="true"), "request.unreadable", "stream"),
    "store as a number": (body(store=1), "request.unreadable", "store"),
    "a cap of zero": (body(max_tokens=0), "request.unreadable", "max_tokens"),
    "a negative cap": (body(max_completion_tokens=-1), "request.unreadable", "max_completion_tokens"),
    "a cap as a float": (body(max_tokens=10.0), "request.unreadable", "max_tokens"),
    "a cap as text": (body(max_tokens="10"), "request.unreadable", "max_tokens"),
    "a cap as a flag": (body(max_tokens=True), "request.unreadable", "max_tokens"),
    "a huge cap": (body(max_tokens=2**31), "request.unreadable", "max_tokens"),
    "both caps": (body(max_tokens=5, max_completion_tokens=5), "request.conflict", "max_tokens"),
    "no answers": (body(n=0), "request.unreadable", "n"),
    "too many answers": (body(n=129), "request.unreadable", "n"),
    "an unknown tier": (body(service_tier="turbo"), "request.unreadable", "service_tier"),
    "stream options as text": (body(stream_options="x"), "request.unreadable", "stream_options"),
    "usage as text": (
        body(stream_options={"include_usage": "x"}), "request.unreadable", "stream_options.include_usage"),
    "unknown stream options": (body(stream_options={"x": 1}), "request.unknown_field", "stream_options.x"),
    "unknown modalities": (body(modalities=["smell"]), "request.unreadable", "modalities"),
    "tools as an object": (body(tools={}), "request.unreadable", "tools"),
    "a provider-run tool": (body(tools=[{"type": "web_search"}]), "request.unbounded", "tools[0].type"),
    "a tool of an unhashable type": (body(tools=[{"type": []}]), "request.unreadable", "tools[0].type"),
    "a tool without a type": (body(tools=[{"function": {}}]), "request.unreadable", "tools[0].type"),
    "web search": (body(web_search_options={}), "request.unbounded", "web_search_options"),
    "a model that searches": (body(model="gpt-4o-search-preview-2025-03-11"), "request.unbounded", "model"),
    "a newer model that searches": (body(model="gpt-5-search-api"), "request.unbounded", "model"),
    "a cache that is kept for long": (
        body(prompt_cache_options={"ttl": "12h"}), "request.unbounded", "prompt_cache_options.ttl"),
    "a tier without a price": (body(service_tier="ultrafast"), "request.unbounded", "service_tier"),
    "a background run": (body(background=True), "request.unbounded", "background"),
    "a second model": (body(moderation={"model": "m"}), "request.unbounded", "moderation"),
    "a predicted answer": (body(prediction={"type": "content", "content": "x"}), "request.unbounded", "prediction"),
    "a stored response": (body(previous_response_id="resp_1"), "request.stateful", "previous_response_id"),
    "a stored conversation": (body(conversation="conv_1"), "request.stateful", "conversation"),
    "a stored prompt": (body(prompt={"id": "pmpt_1"}), "request.stateful", "prompt"),
    "labels of a stored completion": (body(store=True, metadata={"a": "b"}), "request.stateful", "metadata"),
    "a stored file": (
        says({"type": "file", "file": {"file_id": "file-1"}}),
        "request.stateful", "messages[1].content[1].file.file_id"),
    "a file": (says({"type": "file", "file": {"file_data": "x"}}), "request.unbounded", "messages[1].content[1]"),
    "an image by URL": (
        says({"type": "image_url", "image_url": {"url": "https://example.com"}}),
        "request.unbounded", "messages[1].content[1]"),
    "an image by bytes": (
        says({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}),
        "request.unbounded", "messages[1].content[1]"),
    "audio": (
        says({"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}),
        "request.unbounded", "messages[1].content[1]"),
    "an unknown part": (says({"type": "hologram"}), "request.unknown_field", "messages[1].content[1].type"),
    "a part of an unhashable type": (says({"type": {}}), "request.unreadable", "messages[1].content[1].type"),
    "an image hidden in a text part": (
        says({"type": "text", "text": "", "image_url": {}}),
        "request.unknown_field", "messages[1].content[1].image_url"),
    "an earlier audio answer": (
        body(messages=[{"role": "assistant", "audio": {"id": "a"}}]), "request.stateful", "messages[0].audio"),
    "an unknown message field": (
        body(messages=[{**USER, "Content": "x"}]), "request.unknown_field", "messages[0].Content"),
    "an unknown field": (body(best_of=20), "request.unknown_field", "best_of"),
    "an unknown field, even null": (body(best_of=None), "request.unknown_field", "best_of"),
    "a known field in capitals": (body(MAX_TOKENS=1), "request.unknown_field", "MAX_TOKENS"),
    "a field of other servers": (body(top_k=1), "request.unknown_field", "top_k"),
    "an empty field name": (body(**{"": 1}), "request.unknown_field", ""),
}  # fmt: skip


@pytest.mark.parametrize(("request_body", "reason", "param"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_understood_or_bounded_is_refused(request_body: bytes, reason: str, param: str | None) -> None:
    refusal = refused(request_body)
    assert (refusal.reason, refusal.param, refusal.kind) == (reason, param, Kind.INVALID)


@pytest.mark.parametrize(
    ("request_body", "reason"),
    [(case[0], case[1]) for name, case in REFUSED.items() if name != "a field of other servers"],
    ids=[name for name in REFUSED if name != "a field of other servers"],
)
def test_compatible_servers_get_no_less_care(request_body: bytes, reason: str) -> None:
    assert refused(request_body, OPENAI_COMPATIBLE).reason == reason


@pytest.mark.parametrize("field", sorted(fields.EXTENSIONS))
def test_fields_of_compatible_servers_pass_to_them_and_not_to_openai(field: str) -> None:
    assert parse(body(**{field: 1}), OPENAI_COMPATIBLE).model == "gpt-5-mini"
    assert refused(body(**{field: 1})).reason == "request.unknown_field"


@pytest.mark.parametrize("field", sorted(fields.FORBIDDEN))
def test_null_is_as_good_as_absent(field: str) -> None:
    assert parse(body(**{field: None})).output_cap is None


def test_a_body_beyond_the_limit_is_too_large_and_not_invalid() -> None:
    refusal = refused(body(user="x" * 2**25))
    assert (refusal.reason, refusal.kind) == ("request.too_large", Kind.TOO_LARGE)


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=utf-8", 'application/json;charset="UTF-8"', " application/json "],
)
def test_json_in_utf_8_is_read(content_type: str) -> None:
    assert parse(body(), content_type=content_type).model == "gpt-5-mini"


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/json; charset=utf-16", "application/jsonx", "multipart/form-data",
     "application/json, text/plain", "application/json; boundary=x"],
)  # fmt: skip
def test_other_content_types_are_refused(content_type: str) -> None:
    with pytest.raises(RequestRefused, match="content-type"):
        parse(body(), content_type=content_type)


def test_a_long_hostile_field_name_is_shown_short_and_printable() -> None:
    refusal = refused(body(**{"\r\nx-evil: 1\u2028" + "k" * 1000: 1}))
    assert refusal.param is not None
    assert refusal.param.isprintable()
    assert refusal.param.isascii()
    assert len(refusal.param) <= 64


def test_refusals_quote_nothing_that_was_said() -> None:
    for request, _, _ in REFUSED.values():
        canary = re.sub(rb': "(hi|x|turbo)"', b': "canary"', request)
        assert "canary" not in refused(canary).message


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(st.lists(TEXTS, min_size=1, max_size=8), st.booleans())
def test_the_input_bound_is_above_the_utf_8_bytes_of_all_texts_and_markers(texts: list[str], ascii_only: bool) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    request = json.dumps({"model": "m", "messages": messages}, ensure_ascii=ascii_only).encode()
    said = sum(len(text.encode()) for text in texts)
    assert parse(request).input_bound >= said + 8 * len(texts) + 64


VALUES = st.none() | st.booleans() | st.integers(-3, 200) | TEXTS | st.just([]) | st.just({}) | st.just([USER])
REQUESTS = st.dictionaries(
    st.sampled_from(sorted(fields.READ | fields.HARMLESS | fields.FORBIDDEN.keys())),
    VALUES | st.lists(st.dictionaries(st.sampled_from(["role", "content", "type", "audio"]), VALUES), max_size=3),
    max_size=6,
)


@given(st.binary(max_size=100) | REQUESTS.map(lambda request: json.dumps(request).encode()))
def test_arbitrary_requests_are_parsed_or_refused(request_body: bytes) -> None:
    for family in (OPENAI, OPENAI_COMPATIBLE):
        with contextlib.suppress(RequestRefused):
            assert parse(request_body, family).input_bound > len(request_body)


CAPS = st.none() | st.integers(1, 5000)
EDITABLE = st.fixed_dictionaries(
    {"model": st.just("m"), "messages": st.lists(st.builds(dict, content=TEXTS), min_size=1, max_size=3)},
    optional={
        "store": st.none() | st.booleans(),
        "service_tier": st.none() | st.sampled_from(["auto", "flex"]),
        "stream": st.none() | st.booleans(),
        "stream_options": st.none()
        | st.fixed_dictionaries(
            {}, optional={"include_usage": st.none() | st.booleans(), "include_obfuscation": st.booleans()}
        ),
        "user": TEXTS,
        "temperature": st.floats(0, 2),
    },
)
NAMED_CAPS = st.sampled_from([{}, {"max_tokens": 0}, {"max_completion_tokens": 0}]).flatmap(
    lambda names: st.fixed_dictionaries(dict.fromkeys(names, CAPS))
)


@given(
    EDITABLE, NAMED_CAPS, CAPS, st.sampled_from([OPENAI, OPENAI_COMPATIBLE]), st.randoms(), st.sampled_from([None, 1])
)
def test_edits_change_what_they_must_and_nothing_else(
    members: dict[str, Any],
    caps: dict[str, Any],
    granted: int | None,
    family: OpenAIFamily,
    order: Any,
    indent: int | None,
) -> None:
    shuffled = [*members.items(), *caps.items()]
    order.shuffle(shuffled)
    request = dict(shuffled)
    original = json.dumps(request, indent=indent).encode()
    call = parse(original, family)
    forwarded = json.loads(spliced(original, family.edits(call, original, granted)))
    assert forwarded == _intended(request, granted, family)


def _intended(request: dict[str, Any], granted: int | None, family: OpenAIFamily) -> dict[str, Any]:
    """The same, said in plain words over parsed JSON."""
    wanted = dict(request)
    named = next((name for name in ("max_tokens", "max_completion_tokens") if request.get(name)), None)
    if granted is not None and (named is None or granted < request[named]):
        wanted[named or family.dialect.chat_cap] = granted
    if request.get("store") or family is OPENAI:
        wanted["store"] = False
    if family is OPENAI and request.get("service_tier") is None:
        wanted["service_tier"] = "default"
    if request.get("stream"):
        wanted["stream_options"] = {**(request.get("stream_options") or {}), "include_usage": True}
    return wanted
