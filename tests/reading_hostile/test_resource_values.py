"""Row R32: numbers that are none, or too many of something, or look like something else, are refused by the parser in a
sentence that names file, object and field, and by the schema of the CRDs; `test_last_good` is about what runs."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from reading_hostile.hostile_files import FILES, HostileFile
from reading_hostile.injections import PREFIX, Path, changed, whole
from resources.api_server import verdict
from tollway.resources.parse import parse_files
from tollway.resources.problems import json_path

COUNTS: tuple[tuple[str, Path], ...] = (
    *(("AIQuota", ("spec", "limits", index, unit)) for index, unit in enumerate(("requests", "tokens", "inputTokens"))),
    ("AIQuota", ("spec", "limits", 3, "outputTokens")),
    ("AIQuota", ("spec", "limits", 9, "concurrent")),
    ("AIQuota", ("spec", "defaultMaxOutputTokens")),
    ("AIProvider", ("spec", "models", 1, "maxOutputTokens")),
    ("AIProvider", ("spec", "models", 1, "contextTokens")),
)
MONEY: tuple[tuple[str, Path], ...] = (
    ("AIQuota", ("spec", "limits", 4, "cost")),
    *(
        ("AIProvider", ("spec", "prices", 1, name))
        for name in (*("input", "output", "cacheRead", "cacheWrite5m", "cacheWrite1h", "audioInput", "audioOutput"),)
    ),
)
TIMES: tuple[tuple[str, Path], ...] = (
    ("AIQuota", ("spec", "limits", 0, "window")),
    ("AgentIdentity", ("spec", "svid", "ttl")),
)
NO_NUMBERS = (
    *(".nan", "NaN", "'NaN'", ".inf", "-.inf", "'Infinity'", "1e400", "'1e400'", "-1", "'-1'", "-0.5", "'٣'", "٣"),
    *("'１'", "9223372036854775808", "'9223372036854775808'", "99999999999999999999999999", "true"),
    *("[]", "{}", "''", "' 1'", "'1 '", "'1\\n'", "2026-11-22"),
)
ONLY_YAML_HAS = frozenset({"null", "0x10", "1_000", "12:30"})
"""The API server sees a number or nothing, which is in order."""
NO_MONEY = (*NO_NUMBERS, "1000000000000000", "'1000000000000000'", "1", "1.5", "'1.'", "'.5'", "'+1'", "'1,5'", "'$1'")
NO_TIMES = (*NO_NUMBERS, "1000000000000000", "'1000000000000000s'", "'٣m'", "'1.5h'", "'-1m'", "'1m1h'", "'99999999h'")
LOOK_ALIKES = (
    "r\u0435search",
    "research\u200b",
    "\uff52esearch",
    "rese\u0301arch",
    "research\u202e",
    "RESEARCH",
    "ǃ",
    "",
)
NAMES: tuple[tuple[str, Path], ...] = (
    *((kind, ("metadata", "name")) for kind in PREFIX),
    ("AgentIdentity", ("metadata", "namespace")),
    ("AgentIdentity", ("spec", "serviceAccountName")),
    ("AIQuota", ("spec", "limits", 0, "name")),
    ("AIQuota", ("spec", "models", 0, "provider")),
    ("AIProvider", ("spec", "credential", "secretRef", "name")),
    ("AIProvider", ("spec", "prices", 0, "model")),
)
UPPER_CASE_IS_ANOTHER_NAME = ("spec", "prices", 0, "model")


def document(kind: str, path: Path, text: str) -> bytes:
    """A whole object with a piece of YAML at a place."""
    content = changed(whole(kind), path, "PLACE")
    return json.dumps(content).replace('"PLACE"', text).encode()


def problems(data: bytes) -> list[str]:
    return [str(problem) for problem in parse_files({"bad.yaml": data}).problems]


class KubectlReader(yaml.SafeLoader):
    """Reads YAML 1.1 as kubectl does, where dates are strings."""


KubectlReader.add_constructor("tag:yaml.org,2002:timestamp", lambda _loader, node: node.value)


def cases(fields: tuple[tuple[str, Path], ...], texts: tuple[str, ...]) -> Iterator[Any]:
    for kind, path in fields:
        yield pytest.param(kind, path, texts, id=f"{kind} {json_path(path)}")


@pytest.mark.parametrize(
    ("kind", "path", "texts"),
    [*cases(COUNTS, (*NO_NUMBERS, "'1'", "1.5", "9007199254740993")), *cases(MONEY, NO_MONEY), *cases(TIMES, NO_TIMES)],
)
def test_R32_what_is_no_amount_is_refused_by_the_parser_where_it_stands_and_by_the_schema(
    kind: str, path: Path, texts: tuple[str, ...]
) -> None:
    for text in (*texts, *ONLY_YAML_HAS):
        data = document(kind, path, text)
        (said,) = problems(data)
        named = f"bad.yaml: {kind} "
        assert said.startswith(named), (text, said)
        assert said[len(named) :].partition(": ")[2].startswith(f"{json_path(path)}: "), (text, said)
        assert len(said) < 400, text
        assert text in ONLY_YAML_HAS or verdict(yaml.load(data.decode(), Loader=KubectlReader)), text


@pytest.mark.parametrize(("kind", "path"), NAMES, ids=[f"{kind} {json_path(path)}" for kind, path in NAMES])
def test_R32_a_name_that_looks_like_another_is_refused_by_parser_and_schema(kind: str, path: Path) -> None:
    for name in LOOK_ALIKES:
        if name == "RESEARCH" and path == UPPER_CASE_IS_ANOTHER_NAME:
            continue
        content = changed(whole(kind), path, name)
        (said,) = problems(json.dumps(content, ensure_ascii=False).encode())
        assert f"{json_path(path)}: " in said, (name, said)
        assert said.isascii(), (name, said)
        assert verdict(content), name


def test_R32_a_field_that_looks_like_another_is_refused_by_parser_and_schema() -> None:
    content = whole("AIQuota")
    (said,) = problems(
        json.dumps({**content, "spec": {**content["spec"], "m\u043ede": "Shadow"}}, ensure_ascii=False).encode()
    )
    assert said == 'bad.yaml: AIQuota team-a/research: spec["m\\u043ede"]: is not a field: did you mean mode?'
    assert verdict({**content, "spec": {**content["spec"], "m\u043ede": "Shadow"}})


@pytest.mark.parametrize("kind", PREFIX)
def test_R32_a_text_of_nearly_a_megabyte_is_refused_without_being_shown(kind: str) -> None:
    content = changed(whole(kind), ("metadata", "name"), "x" * 900_000)
    said = problems(json.dumps(content).encode())
    assert said
    assert all(len(sentence) < 500 for sentence in said)
    assert verdict(content)


@pytest.mark.parametrize("hostile", FILES.values(), ids=FILES)
def test_R32_a_hostile_file_is_refused_with_few_words(hostile: HostileFile) -> None:
    said = problems(hostile.content)
    assert said
    assert all(sentence.startswith("bad.yaml: ") and sentence.isprintable() for sentence in said)
    assert max(map(len, said)) < 500
