"""What may be embedded: texts bounded by their bytes or their tokens, without an output and without an edit."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.providers.openai import embeddings
from tollway.providers.openai.embeddings import EMBEDDINGS
from tollway.providers.openai.family import OPENAI, OPENAI_COMPATIBLE, OpenAIFamily
from tollway.providers.port import ParsedCall, RequestRefused


def body(given: object, **members: object) -> bytes:
    return json.dumps({"model": "text-embedding-3-small", "input": given, **members}).encode()


def parse(request: bytes, family: OpenAIFamily = OPENAI) -> ParsedCall:
    return family.parse(EMBEDDINGS, request, "application/json")


def test_an_embedding_has_no_output_and_no_stream() -> None:
    call = parse(body("hi", dimensions=256, encoding_format="base64", user="u"))
    assert (call.output_cap, call.stream, call.tier, call.operation.streams) == (0, False, "", False)
    assert OPENAI.edits(call, body("hi"), None) == []


@pytest.mark.parametrize(
    ("given", "prompts"), [("hi", 1), (["hi"], 1), (["a", "b", ""], 3), ([7, 8, 9], 1), ([[7, 8], [9]], 2)], ids=str
)
def test_each_text_is_read_apart(given: object, prompts: int) -> None:
    assert parse(body(given)).prompts == prompts


def test_tokens_are_bounded_by_their_number_and_not_by_their_digits() -> None:
    tokens = [[100_000 + number for number in range(500)], [100_000]]
    assert 501 <= parse(body(tokens)).input_bound <= 501 + 2 + 64


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), min_size=1), st.booleans())
def test_the_input_bound_is_above_the_utf_8_bytes_of_all_texts(texts: list[str], ascii_only: bool) -> None:
    request = json.dumps({"model": "m", "input": texts}, ensure_ascii=ascii_only).encode()
    assert parse(request).input_bound >= sum(len(text.encode()) for text in texts) + len(texts) + 64


WRONG: dict[str, Any] = {
    "nothing": None,
    "no texts": [],
    "an object": {"text": "hi"},
    "a number": 7,
    "texts and tokens": ["hi", [7]],
    "tokens and texts": [[7], "hi"],
    "a text among tokens": [7, "hi"],
    "a flag among tokens": [7, True],
    "a token below zero": [[-1]],
    "a token that is no integer": [7.5],
    "a token beyond every vocabulary": [2**31],
    "an image": [{"type": "image_url", "image_url": {}}],
}


@pytest.mark.parametrize("given", WRONG.values(), ids=WRONG.keys())
@pytest.mark.parametrize("family", [OPENAI, OPENAI_COMPATIBLE], ids=lambda family: family.name)
def test_what_is_no_text_is_refused(given: Any, family: OpenAIFamily) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse(body(given), family)
    assert (caught.value.reason, caught.value.param) == ("request.unreadable", "input")


@pytest.mark.parametrize("field", ["stream", "n", "max_tokens", "store", "service_tier", "metadata", "Dimensions"])
def test_a_field_that_the_operation_does_not_know_is_refused(field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        parse(body("hi", **{field: 1}))
    assert (caught.value.reason, caught.value.param) == ("request.unknown_field", field)


@pytest.mark.parametrize("field", sorted(embeddings.EXTENSIONS))
def test_fields_of_compatible_servers_pass_to_them_and_not_to_openai(field: str) -> None:
    assert parse(body("hi", **{field: 1}), OPENAI_COMPATIBLE).prompts == 1
    with pytest.raises(RequestRefused, match=field):
        parse(body("hi", **{field: 1}))


VALUES = st.none() | st.booleans() | st.integers(-1, 2**40) | st.floats() | st.text(max_size=5)


@given(VALUES | st.lists(VALUES | st.lists(VALUES, max_size=3), max_size=4))
def test_arbitrary_input_is_parsed_or_refused(given: Any) -> None:
    with contextlib.suppress(RequestRefused):
        call = parse(body(given))
        assert call.input_bound >= 65
        assert call.prompts >= 1
