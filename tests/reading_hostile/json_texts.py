"""JSON as people and programs write it: any white space between the signs, any of the ways to write a letter."""

import json
from typing import Any

from hypothesis import strategies as st

SPACES = st.sampled_from(["", "", "", " ", "\n", "\t ", "\r\n"])
LETTERS = st.characters(exclude_categories=("Cs",), max_codepoint=0x1FFFF)
TEXTS = st.text(LETTERS, max_size=20)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@st.composite
def written(draw: st.DrawFn, value: Any) -> bytes:
    """`value` in one of the many ways."""
    return _written(draw, value).encode()


def _written(draw: st.DrawFn, value: Any) -> str:
    before, after = draw(SPACES), draw(SPACES)
    if isinstance(value, dict):
        inside = ",".join(f"{_text(draw, key)}:{_written(draw, each)}" for key, each in value.items())
        return f"{before}{{{draw(SPACES)}{inside}}}{after}"
    if isinstance(value, list):
        return f"{before}[{','.join(_written(draw, each) for each in value)}]{after}"
    return f"{before}{_text(draw, value) if isinstance(value, str) else json.dumps(value)}{after}"


def _text(draw: st.DrawFn, text: str) -> str:
    way = draw(st.sampled_from(["plain", "plain", "ascii", "escaped"]))
    if way == "escaped":
        units = text.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[at]:02x}{units[at + 1]:02X}" for at in range(0, len(units), 2)) + '"'
    return json.dumps(text, ensure_ascii=way == "ascii")
