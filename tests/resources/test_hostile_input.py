"""Whatever is sent, parsing answers with resources or problems, and never takes what the schema would not."""

import copy
import json
from typing import Any

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from resources.api_server import ROOT, verdict
from tollway.resources.parse import Parsed, parse_files

ACCEPTED = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "tests" / "crds" / "accepted").glob("*.yaml"))]
YAMLISH = st.text(alphabet=" \n\t-:?[]{},&*!|>'\"%@`#<=~.0123456789eExXoyYnNaAfinkdsé\x00\u2028", max_size=80)
# JSON writes what is beyond the first plane as two escapes, which YAML does not join.
TEXT = st.text(st.characters(max_codepoint=0x2FFF), max_size=8)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from([2**53, 2**53 + 1, 2**63, 10**15, 10**40, 1.5, 1e308])
    | st.sampled_from(
        ["", "0", "1", "-1", "1m", "32d", "Day", "Month", "25.00", "٣", "NaN", "1e400", "Agent", "a.b", "*"]
    )
    | st.sampled_from(["OpenAI", "Bedrock", "https://a.example", "http://a.example", "a\n", "true", "null", "x" * 600])
    | TEXT
)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
ONLY_THE_PARSER_KNOWS = ("timeZone", "metadata.namespace", "spec.namespaces", "matchLabels", "nothing (remove")


def one_line_each(parsed: Parsed) -> bool:
    return all(str(problem) and str(problem).isprintable() for problem in parsed.problems)


@settings(deadline=None)
@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"%YAML 9.9\n---\na")
@example(b"%TAG ! x\n--- !a b")
def test_arbitrary_bytes_give_an_answer(data: bytes) -> None:
    assert one_line_each(parse_files({"a.yaml": data}))


@settings(deadline=None)
@given(YAMLISH)
def test_arbitrary_text_of_yaml_signs_gives_an_answer(text: str) -> None:
    assert one_line_each(parse_files({"a.yaml": text.encode()}))


@settings(deadline=None)
@given(TREES, st.sampled_from(["AgentIdentity", "AIProvider", "AIQuota", "Secret", "Namespace"]))
def test_an_arbitrary_structure_is_read_or_refused(tree: Any, kind: str) -> None:
    content = {"apiVersion": "tollway.dev/v1alpha1", "kind": kind, "metadata": tree, "spec": tree, "data": tree}
    assert one_line_each(parse_files({"a.yaml": json.dumps(content).encode()}))


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in `value` with each of its keys or indices."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def nearly_right(draw: st.DrawFn) -> dict[str, Any]:
    """An accepted object with one or two places changed, removed or added."""
    content = copy.deepcopy(draw(st.sampled_from(ACCEPTED)))
    content.pop("status", None)
    for _ in range(draw(st.integers(1, 2))):
        container, key = draw(st.sampled_from(places(content)))
        match draw(st.sampled_from(["change", "change", "remove", "add"])):
            case "change":
                container[key] = draw(TREES)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(st.sampled_from(["window", "tokens", "cost", "timeZone", "model", "x"]))] = draw(LEAVES)
    return content


@settings(max_examples=300, deadline=None)
@given(nearly_right())
def test_an_object_that_is_nearly_right_is_right_for_both_parser_and_schema_or_for_neither(
    content: dict[str, Any],
) -> None:
    problems = [str(problem) for problem in parse_files({"a.yaml": json.dumps(content).encode()}).problems]
    refused = verdict(content)
    if not problems:
        assert refused == []
    elif not any(known in problem for problem in problems for known in ONLY_THE_PARSER_KNOWS):
        assert refused != []
