"""Files that want a reader to give up, to take more than it should, or to see another name than people see."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

LEVELS = "abcdefghijklm"


@dataclass(frozen=True)
class HostileFile:
    """`said` is in what the refusal says of it."""

    content: bytes
    said: str


def quota(limit: str, name: str = "bad") -> bytes:
    """A quota of one limit, as text: what YAML makes of a value is part of the question."""
    head = "apiVersion: tollway.dev/v1alpha1\nkind: AIQuota\n"
    metadata = f"metadata: {{name: {name}, namespace: team-a}}\n"
    return f"{head}{metadata}spec:\n  limits:\n  - {{name: l, {limit}, window: Day}}\n".encode()


def bomb() -> bytes:
    """Every level is nine times the one before."""
    lines = [f"a: &a [{', '.join(['boom'] * 9)}]"]
    lines += [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(LEVELS)]
    return "\n".join(lines).encode()


def deep(levels: int) -> bytes:
    return b"apiVersion: tollway.dev/v1alpha1\nkind: AIQuota\nspec: " + b"[" * levels + b"]" * levels


def twice() -> bytes:
    return quota("cost: '1'").replace(b"cost: '1'", b"cost: '1', cost: '1000'")


FILES: Mapping[str, HostileFile] = {
    "NaN": HostileFile(quota("cost: .nan"), "hostile.yaml: AIQuota team-a/bad: spec.limits[0].cost: must be a string"),
    "a number without end": HostileFile(
        quota("requests: " + "9" * 100_000), "hostile.yaml: AIQuota team-a/bad: spec.limits[0].requests: must be"
    ),
    "an Arabic digit": HostileFile(
        quota("cost: '\u0663'"), "hostile.yaml: AIQuota team-a/bad: spec.limits[0].cost: must be"
    ),
    "a text of nearly a megabyte": HostileFile(
        quota(f"cost: '{'1' * 1_000_000}'"), "hostile.yaml: AIQuota team-a/bad: spec.limits[0].cost: must be"
    ),
    "a file of more than a megabyte": HostileFile(b"#" * (1 << 20) + b"#", "hostile.yaml: is larger than 1024 KiB"),
    "a bomb of aliases": HostileFile(bomb(), "hostile.yaml: document 1: b[0]: YAML aliases are not taken"),
    "a hundred thousand levels": HostileFile(deep(100_000), "hostile.yaml: line 3: nested deeper than 32 levels"),
    "a key twice": HostileFile(
        twice(), 'hostile.yaml: AIQuota team-a/bad: spec.limits[0]: the key "cost" is there twice'
    ),
    "a letter that looks like another": HostileFile(
        quota("cost: '1'", name="b\u0430d"), 'hostile.yaml: AIQuota team-a/"b\\u0430d": metadata.name: is not a valid'
    ),
    "bytes that are no text": HostileFile(b"\xff\xfe\x00", "hostile.yaml: is not UTF-8 at byte 0"),
}
