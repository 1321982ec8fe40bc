"""YAML is read strictly and within limits: whatever arrives, the answer is problems, never an exception."""

import pytest

from tollway.resources.documents import LARGEST_FILE, Unquoted, read_documents
from tollway.resources.parse import parse_files


def values(text: str) -> object:
    [document], problems = read_documents("a.yaml", text.encode())
    assert problems == []
    return document.content


def complaints(data: bytes) -> list[str]:
    documents, problems = read_documents("a.yaml", data)
    assert documents == []
    return [str(problem) for problem in problems]


BOMB = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (name, name, b", ".join([b"*%c" % (name - 1)] * 9)) for name in range(ord("b"), ord("k"))
)


def test_an_alias_bomb_is_refused_without_being_expanded() -> None:
    said = complaints(BOMB)
    assert len(said) == 81
    assert all("aliases are not taken" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"a: 1\na: 2\n", 'a.yaml: document 1: the key "a" is there twice', id="at the top"),
        pytest.param(
            b"a: {b: [{c: 1, c: 1}]}\n", 'a.yaml: document 1: a.b[0]: the key "c" is there twice', id="deep inside"
        ),
        pytest.param(b'a: 1\n"a": 2\n', 'a.yaml: document 1: the key "a" is there twice', id="written differently"),
    ],
)
def test_a_key_that_is_there_twice_is_named_with_its_place(data: bytes, said: str) -> None:
    assert complaints(data) == [f"{said}: keep one"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param(b"\xff\xfe", "is not UTF-8 at byte 0", id="not UTF-8"),
        pytest.param("a: ü".encode("latin-1"), "is not UTF-8 at byte 3", id="latin-1"),
        pytest.param(b"a: \x00", "character that YAML does not allow", id="a NUL"),
        pytest.param(b"a: [1", "is not YAML: ", id="an open bracket"),
        pytest.param(b"a: 1\n\tb: 2", "line 2, column 1", id="a tab"),
        pytest.param(b"a: *b", "aliases are not taken", id="an alias to nothing"),
        pytest.param(b"a: !!python/object:os.system {}", "tags are not taken", id="a Python tag"),
        pytest.param(b"a: !!binary aGk=", "tags are not taken", id="a binary tag"),
        pytest.param(b"- a", "must be a mapping", id="a list"),
        pytest.param(b"hello", "must be a mapping", id="a word"),
        pytest.param(b"? [a]\n: b", "a key must be a string, not a mapping or a list", id="a list as key"),
        pytest.param(b"1: b", "a key must be a string", id="a number as key"),
        pytest.param(b"on: b", "a key must be a string", id="a boolean as key"),
        pytest.param(b"null: b", "a key must be a string", id="nothing as key"),
        pytest.param(b"a: {b: {<<: {c: 1}}}", "merge keys", id="a merge key"),
        pytest.param(b"a: " + b"x" * LARGEST_FILE, "split it into several files", id="too large"),
    ],
)
def test_what_is_not_plain_yaml_is_refused_with_a_way_out(data: bytes, said: str) -> None:
    assert said in complaints(data)[0]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"[" * 500_000, id="brackets"),
        pytest.param(b"{a: " * 200_000, id="braces"),
        pytest.param(b"- " * 500_000, id="dashes"),
        pytest.param(b"".join(b" " * depth + b"a:\n" for depth in range(1_000)), id="indentation"),
        pytest.param(b"? " * 500_000, id="keys"),
    ],
)
def test_deep_nesting_is_refused_wherever_it_comes_from(data: bytes) -> None:
    [said] = complaints(data)
    assert "nested deeper than 32 levels" in said


def test_a_string_of_a_megabyte_is_a_problem_of_its_field_and_not_repeated_in_it() -> None:
    text = "apiVersion: tollway.dev/v1alpha1\nkind: AIProvider\nmetadata: {name: openai}\nspec: {type: %s}\n"
    [problem] = parse_files({"a.yaml": (text % ("x" * (LARGEST_FILE - 200))).encode()}).problems
    assert problem.path == "spec.type"
    assert len(str(problem)) < 300


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-5", -5),
        ("0", 0),
        ('"5"', "5"),
        ("5h", "5h"),
        ("gpt-5*", "gpt-5*"),
        ("yes", True),
        ("off", False),
        ("~", None),
        ("'yes'", "yes"),
        ("1.2.3.4", "1.2.3.4"),
        ("2026-11", "2026-11"),
        ("+x", "+x"),
        ("|\n  two\n  lines", "two\nlines"),
    ],
)
def test_a_plain_scalar_is_what_every_reader_takes_it_for(text: str, value: object) -> None:
    assert values(f"a: {text}") == {"a": value}
    assert type(values(f"a: {text}")["a"]) is type(value)  # type: ignore[index]


@pytest.mark.parametrize(
    "text",
    [
        *("1.5", "1e3", "1E400", ".5", "5.", ".inf", "-.INF", ".nan", "0x10", "0o17", "010", "0b1", "1_000", "+5"),
        *("12:30:45", "9" * 31, "2026-11-22", "2026-11-22T04:30:00Z", "y", "N"),
    ],
)
def test_a_scalar_that_readers_take_differently_is_nothing_until_it_is_quoted(text: str) -> None:
    assert isinstance(values(f"a: {text}")["a"], Unquoted)  # type: ignore[index]
    assert values(f"a: '{text}'") == {"a": text}


def test_empty_documents_and_comments_are_passed_over() -> None:
    assert read_documents("a.yaml", b"---\n# nothing\n---\n---\n") == ([], [])
    assert read_documents("a.yaml", b"") == ([], [])


def test_a_byte_order_mark_is_passed_over() -> None:
    [document], problems = read_documents("a.yaml", b"\xef\xbb\xbfa: b\n")
    assert (document.content, problems) == ({"a": "b"}, [])


def test_a_broken_document_does_not_hide_its_neighbours_before_it() -> None:
    documents, problems = read_documents("a.yaml", b"a: b\n---\na: 1\na: 2\n---\nc: d\n---\n[")
    assert [document.number for document in documents] == [1, 3]
    assert len(problems) == 2
