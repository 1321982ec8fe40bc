"""A page for each kind, from its CRD: every field with its type, default, bounds and meaning, and every rule.

The schema is the only source, so the pages say what `kubectl explain` says. `--check` tells whether they are current.
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parent.parent
CRDS = ROOT / "crds"
PAGES = ROOT / "docs" / "resources"
_SAME_FOR_EVERYTHING = frozenset({"apiVersion", "kind", "metadata"})
_BOUNDS = (
    ("enum", "one of"),
    ("pattern", "matches"),
    ("minimum", "at least"),
    ("maximum", "at most"),
    ("minLength", "characters: at least"),
    ("maxLength", "characters: at most"),
    ("minItems", "items: at least"),
    ("maxItems", "items: at most"),
    ("minProperties", "entries: at least"),
    ("maxProperties", "entries: at most"),
)

Schema = Mapping[str, Any]


class Field(NamedTuple):
    """One field of a kind; `path` has `[]` for the items of a list and `.*` for the values of a map."""

    path: str
    schema: Schema
    required: bool


def fields(schema: Schema, path: str = "") -> Iterator[Field]:
    """Every field below `schema`, parents first."""
    required = frozenset(schema.get("required", ()))
    for name, below in schema.get("properties", {}).items():
        if path or name not in _SAME_FOR_EVERYTHING:
            here = f"{path}.{name}" if path else name
            yield Field(here, below, name in required)
            yield from fields(below, here)
    for part, suffix in ((schema.get("items"), "[]"), (schema.get("additionalProperties"), ".*")):
        if isinstance(part, dict):
            yield from fields(part, path + suffix)


def rules(schema: Schema, path: str = "") -> Iterator[tuple[str, str]]:
    """What the API server refuses beyond types and bounds: the field that the rule is about, and its message."""
    for rule in schema.get("x-kubernetes-validations", ()):
        yield path, rule["message"]
    for name, below in schema.get("properties", {}).items():
        yield from rules(below, f"{path}.{name}" if path else name)
    for part, suffix in ((schema.get("items"), "[]"), (schema.get("additionalProperties"), ".*")):
        if isinstance(part, dict):
            yield from rules(part, path + suffix)


def page(crd: Schema) -> str:
    names, version = crd["spec"]["names"], crd["spec"]["versions"][0]
    schema = version["schema"]["openAPIV3Schema"]
    api_version = f"{crd['spec']['group']}/{version['name']}"
    found = list(fields(schema))
    spec = [field for field in found if field.path.startswith("spec.")]
    status = [field for field in found if field.path.startswith("status.")]
    said = list(rules(schema))
    return "\n".join(
        [
            f"# {names['kind']}",
            "",
            f"`{api_version}`, {crd['spec']['scope'].lower()}; `kubectl get {names['shortNames'][0]}`.",
            f"Made from `crds/` by `make generate-reference`; `kubectl explain {names['singular']}` says the same.",
            "",
            _sentence(schema),
            "",
            "## Fields",
            "",
            *_table(("field", "type", "default", "meaning"), map(_field_row, spec)),
            "",
            "## Rules",
            "",
            "The API server refuses an object that breaks one of these, with this message.",
            "",
            *_table(("field", "message"), ((f"`{path or 'the object'}`", message) for path, message in said)),
            "",
            "## Status",
            "",
            *_table(
                ("field", "type", "meaning"), ((f"`{f.path}`", _type(f.schema), _sentence(f.schema)) for f in status)
            ),
            "",
            "## What `kubectl get` shows",
            "",
            *_table(("column", "meaning"), map(_column_row, version["additionalPrinterColumns"])),
            "",
        ]
    )


def _field_row(field: Field) -> Sequence[str]:
    name = f"`{field.path.removeprefix('spec.')}`" + (" (required)" if field.required else "")
    default = field.schema.get("default")
    meaning = " ".join(part for part in (_sentence(field.schema), _bounds(field.schema)) if part)
    return (
        name,
        _type(field.schema),
        "" if default is None else f"`{yaml.safe_dump(default).split(chr(10))[0]}`",
        meaning,
    )


def _column_row(column: Schema) -> Sequence[str]:
    wide = " (with `-o wide`)" if column.get("priority") else ""
    return column["name"] + wide, " ".join(column.get("description", "").split())


def _type(schema: Schema) -> str:
    kind: str = schema.get("type", "string or integer" if schema.get("x-kubernetes-int-or-string") else "any")
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return kind


def _bounds(schema: Schema) -> str:
    told = [f"{words} {_value(schema[key])}" for key, words in _BOUNDS if key in schema]
    return f"*{'; '.join(told)}*" if told else ""


def _value(value: object) -> str:
    return ", ".join(f"`{each}`" for each in value) if isinstance(value, list) else f"`{value}`"


def _sentence(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split())


def _table(heads: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def pages() -> Mapping[Path, str]:
    crds = (yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml")))
    return {PAGES / f"{crd['spec']['names']['singular']}.md": page(crd) for crd in crds}


def main() -> int:
    made = pages()
    if "--check" not in sys.argv[1:]:
        PAGES.mkdir(parents=True, exist_ok=True)
        for path, text in made.items():
            path.write_text(text)
        return 0
    stale = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    for path in stale:
        print(f"{path.relative_to(ROOT)} is not what the CRD says: run `make generate-reference`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
