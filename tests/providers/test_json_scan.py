"""One reading of a JSON body: what parsers could disagree about is refused, the rest is located exactly."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tollway.providers import json_scan
from tollway.providers.json_scan import MAX_DEPTH, Span, TooLarge, Unreadable, members, read_document, read_object

AMBIGUOUS = {
    "empty": b"",
    "no object": b"[1]",
    "the same key twice": b'{"a":1,"a":1}',
    "the same key twice, once escaped": b'{"a":1,"\\u0061":2}',
    "the same key twice, deep inside": b'{"a":[{"b":{"c":1,"d":2,"c":3}}]}',
    "the same key twice, around white space": b'{ "a" : 1 , "a" : 2 }',
    "the same empty key twice": b'{"":1,"":2}',
    "invalid UTF-8 in a value": b'{"a":"\xff"}',
    "invalid UTF-8 in a key": b'{"\xff":1}',
    "overlong UTF-8": b'{"a":"\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a":"\xed\xa0\x80"}',
    "half a surrogate pair": b'{"a":"\\ud800"}',
    "half a surrogate pair before a text": b'{"a":"\\ud800abcdef"}',
    "a surrogate pair the wrong way round": b'{"a":"\\udc00\\ud800"}',
    "half a surrogate pair in a key": b'{"\\udfff":1}',
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "a float beyond doubles": b'{"a":1e999}',
    "an integer beyond 64 bits": b'{"a":18446744073709551616}',
    "an integer below 64 bits": b'{"a":-9223372036854775809}',
    "an integer of 5000 digits": b'{"a":' + b"9" * 5000 + b"}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"a":1}'.encode("utf-16-le"),
    "two documents": b"{}{}",
    "trailing text": b"{} x",
    "a trailing NUL": b"{}\x00",
    "a trailing comma": b'{"a":1,}',
    "a comment": b'{"a":1/**/}',
    "a leading zero": b'{"a":01}',
    "a control character": b'{"a":"\x01"}',
    "a raw newline in a string": b'{"a":"\n"}',
    "an unknown escape": b'{"a":"\\x41"}',
    "single quotes": b"{'a':1}",
    "no-break space": b"\xc2\xa0{}",
    "cut in a string": b'{"a":"b',
    "too deep": b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    "far too deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "unclosed and far too deep": b'{"a":' * 100_000,
}


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_a_body_that_parsers_could_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_object(body)


ORDINARY = {
    "as SDKs write it": b'{"model":"m","n":1}',
    "with white space": b' {\r\n\t"model" : "m" ,\n "n" : [ 1 , 2 ] } ',
    "keys of other objects may be equal": b'{"a":{"k":1},"b":{"k":1},"c":[{"k":1},{"k":1}]}',
    "quotes and backslashes in keys": b'{"\\"a\\\\":1,"\\\\\\"":"\\\\","c\\\\":"\\""}',
    "escaped slashes and letters": b'{"a":"\\/\\u0041\\u00e9\\ud83d\\ude00"}',
    "numbers as nobody writes them": b'{"a":1.0,"b":1E2,"c":-0,"d":0.10,"e":18446744073709551615}',
    "as deep as allowed": b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
    "texts full of separators": json.dumps({"a": '{[,"\\' * 10}).encode(),
}


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY.keys())
def test_an_unambiguous_body_is_read_as_the_standard_library_reads_it(body: bytes) -> None:
    assert read_object(body) == json.loads(body)


@pytest.mark.parametrize("body", ORDINARY.values(), ids=ORDINARY.keys())
def test_members_are_located_by_the_bytes_of_their_values(body: bytes) -> None:
    located = {name: json.loads(body[span.start : span.end]) for name, span in members(body).items()}
    assert located == json.loads(body)


def test_members_of_an_inner_object_are_located_in_the_whole_body() -> None:
    body = b' {"x":"{", "options" : { "a" : 1 , "b" : "}" } }'
    inside = members(body, members(body)["options"])
    assert {name: body[span.start : span.end] for name, span in inside.items()} == {"a": b"1", "b": b'"}"'}


def test_an_empty_object_has_no_members() -> None:
    assert members(b'{"a":{ }}', Span(5, 8)) == {}


def test_more_bytes_than_accepted_are_refused_as_too_large() -> None:
    with pytest.raises(TooLarge):
        read_object(b'{"a":"' + b"x" * json_scan.MAX_BYTES + b'"}')


@pytest.mark.parametrize("value", [b"[]", b"{}", b'""', b"0", b'"\\""'], ids=lambda value: value.decode())
def test_more_values_than_accepted_are_refused_before_they_become_objects(value: bytes) -> None:
    with pytest.raises(TooLarge):
        read_object(b'{"a":[' + (value + b",") * (3 * json_scan.MAX_VALUES) + b"0]}")


def test_a_long_text_of_separators_is_no_multitude_of_values() -> None:
    text = '[{,"\\' * json_scan.MAX_VALUES
    assert read_object(json.dumps({"a": text}).encode()) == {"a": text}


def test_a_refusal_quotes_nothing_of_the_body() -> None:
    for body in AMBIGUOUS.values():
        with pytest.raises(Unreadable) as refused:
            read_object(body.replace(b"1", b'"canary"'))
        assert "canary" not in str(refused.value)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=5)


@given(OBJECTS, st.booleans(), st.sampled_from([None, 2]))
def test_whatever_the_standard_library_writes_is_read_and_located(
    document: dict[str, object], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    assert read_object(body) == document
    assert {name: json.loads(body[span.start : span.end]) for name, span in members(body).items()} == document


@given(
    st.lists(st.sampled_from(["a", "b", "c", '"', "\\", "é"]), min_size=1, max_size=5), st.booleans(), st.integers(0, 5)
)
def test_equal_keys_are_found_however_they_are_written(keys: list[str], ascii_only: bool, depth: int) -> None:
    members_text = ", ".join(f"{json.dumps(key, ensure_ascii=ascii_only)}: 1" for key in keys)
    body = ('{"x":[' * depth + "{" + members_text + "}" + "]}" * depth).encode()
    if len(set(keys)) == len(keys):
        assert read_object(body) == json.loads(body)
    else:
        with pytest.raises(Unreadable):
            read_object(body)


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\ \nau01e-.', max_size=60).map(str.encode))
def test_arbitrary_bytes_are_read_or_refused(body: bytes) -> None:
    try:
        document = read_object(body)
    except Unreadable:
        return
    assert members(body).keys() == document.keys()


@given(st.dictionaries(TEXT, JSON, min_size=1, max_size=7), st.sampled_from([(",", ":"), (", ", ": ")]), st.booleans())
@example({"a": [], "store": True, "b": [], "c": 1}, (",", ":"), False)
def test_places_are_those_of_the_members_however_they_are_found(
    document: dict[str, object], separators: tuple[str, str], ascii_only: bool
) -> None:
    body = json.dumps(document, separators=separators, ensure_ascii=ascii_only).encode()
    read, everywhere = read_document(body), members(body)
    for bulk in ("\0nowhere", *document):
        assert read.places(document, bulk) == everywhere
        for name in document:
            assert read.places([name, "\0nowhere"], bulk) == {name: everywhere[name]}


@given(OBJECTS, OBJECTS)
def test_a_large_body_is_compared_with_what_is_written_of_it_as_a_small_one_is(
    document: dict[str, object], other: dict[str, object]
) -> None:
    whole = json_scan._ENCODER.encode(document)
    if document:
        assert b"".join(json_scan._pieces(document)) == whole
    large = {"bulk": "x" * json_scan._LARGE, **document}
    text = json_scan._ENCODER.encode(large)
    assert json_scan._is_written(large, text)
    assert not json_scan._is_written(large, text + b" ")
    assert not json_scan._is_written(large, text[:-1])
    assert json_scan._is_written({**large, **other}, text) == (json_scan._ENCODER.encode({**large, **other}) == text)


@pytest.mark.parametrize("write", [{}, {"separators": (",", ":")}, {"ensure_ascii": False, "separators": (",", ":")}])
def test_a_key_twice_is_found_in_a_large_body_too(write: dict[str, Any]) -> None:
    body = json.dumps({"a": "é" * json_scan._LARGE, "b": [{"c": 1, "d": 2}, {}]}, **write).encode()
    assert read_object(body) == json.loads(body)
    with pytest.raises(Unreadable):
        read_object(body.replace(b'"d"', b'"c"'))


@given(OBJECTS)
def test_what_our_encoder_writes_is_canonical_and_nothing_else(document: dict[str, object]) -> None:
    body = json_scan._ENCODER.encode(document)
    assert read_document(body).canonical
    assert not read_document(body + b" ").canonical


@given(st.text(alphabet=',[{x"\\', max_size=300), st.sampled_from([b",", b"[", b"{"]))
def test_separators_are_counted_whether_rare_or_not(text: str, separator: bytes) -> None:
    said = text.encode() + b"x" * 20_000
    assert json_scan._count(said, separator) == said.count(separator)
    assert json_scan._count(text.encode(), separator) == text.encode().count(separator)
