"""What an API server says of an object, going by `crds/`: unknown fields, schema, list keys, CEL rules, metadata.

For machines without one, and for thousands of objects; `test_agreement` holds it against a real server.

The structural schema is taken as JSON Schema (after defaulting, as the server does it), the rules are run by Google's
CEL. As in the server, rules are run only where the schema holds.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from cel_expr_python import cel
from jsonschema import Draft202012Validator

ROOT = Path(__file__).parents[2]
LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
QUALIFIED = r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?"
SUBDOMAIN = {"type": "string", "maxLength": 253, "pattern": rf"\A{LABEL}(\.{LABEL})*\Z"}
LABELS = {
    "type": ["object", "null"],
    "propertyNames": {"pattern": rf"\A({LABEL}(\.{LABEL})*/)?{QUALIFIED}\Z"},
    "additionalProperties": {"type": "string", "maxLength": 63, "pattern": rf"\A({QUALIFIED})?\Z"},
}
NAMESPACE = {"maxLength": 63, "pattern": rf"\A{LABEL}\Z"}
SERVER_FIELDS = ("annotations", "creationTimestamp", "generation", "managedFields", "resourceVersion", "uid")

Json = Any


def verdict(content: Mapping[str, Json]) -> list[str]:
    """Why the server would refuse the object; empty where it would take it."""
    crd = crds().get(str(content.get("kind")))
    if crd is None:
        return [f"no CRD for kind {content.get('kind')}"]
    if content.get("apiVersion") != f"{crd['spec']['group']}/{crd['spec']['versions'][0]['name']}":
        return ["apiVersion is not served"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    defaulted = with_defaults(content, schema)
    refused = [*_metadata(content, crd), *_against(schema, defaulted)]
    return refused or list(_rules(schema, defaulted, "self"))


@cache
def crds() -> dict[str, Json]:
    """Each CRD by its kind."""
    loaded = [yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("*.yaml"))]
    return {crd["spec"]["names"]["kind"]: crd for crd in loaded}


def with_defaults(value: Json, schema: Json) -> Json:
    """As the server fills in defaults; a null where none may stand counts as absent."""
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(item, schema["items"]) for item in value]
    if not isinstance(value, dict):
        return value
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", {})
    known = {name: given for name, given in value.items() if given is not None or not (others or name in properties)}
    defaults = {name: inner["default"] for name, inner in properties.items() if "default" in inner}
    return {name: with_defaults(given, properties.get(name, others)) for name, given in {**defaults, **known}.items()}


def _metadata(content: Mapping[str, Json], crd: Json) -> list[str]:
    """What the server checks of every object; the namespace of one that has none it drops."""
    is_namespaced = crd["spec"]["scope"] == "Namespaced"
    schema = {
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": SUBDOMAIN,
            "labels": LABELS,
            "namespace": {"type": "string", **(NAMESPACE if is_namespaced else {})},
            **dict.fromkeys(SERVER_FIELDS, True),
        },
        "additionalProperties": False,
    }
    return _failures(schema, content.get("metadata"))


def _against(schema: Json, value: Json) -> list[str]:
    root = _as_json_schema(schema)
    root["properties"]["metadata"] = True
    return _failures(root, value) + list(_repeated(schema, value, "self"))


def _failures(schema: Json, value: Json) -> list[str]:
    errors = Draft202012Validator(schema).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def _as_json_schema(schema: Json) -> Json:
    kept = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes-") and key != "default"}
    if "pattern" in schema:
        kept["pattern"] = re.sub(r"\$$", r"\\Z", schema["pattern"])  # Go's $ is the end, Python's may be a line's
    if "properties" in schema:
        kept["properties"] = {name: _as_json_schema(inner) for name, inner in schema["properties"].items()}
        kept["additionalProperties"] = False  # kubectl asks the server to refuse unknown fields
    if isinstance(schema.get("additionalProperties"), dict):
        kept["additionalProperties"] = _as_json_schema(schema["additionalProperties"])
    if "items" in schema:
        kept["items"] = _as_json_schema(schema["items"])
    return kept


def _inside(schema: Json, value: Json, at: str) -> Iterator[tuple[Json, Json, str]]:
    """Each part of a value with its schema."""
    yield schema, value, at
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _inside(schema.get("items", {}), item, f"{at}[{index}]")
    if isinstance(value, dict):
        for name, given in value.items():
            inner = schema.get("properties", {}).get(name, schema.get("additionalProperties", {}))
            yield from _inside(inner, given, f"{at}.{name}")


def _repeated(schema: Json, value: Json, at: str) -> Iterator[str]:
    for inner, given, where in _inside(schema, value, at):
        kind = inner.get("x-kubernetes-list-type")
        if kind not in {"map", "set"} or not isinstance(given, list):
            continue
        names = inner.get("x-kubernetes-list-map-keys", [])
        keys = [repr([item.get(name) for name in names] if isinstance(item, dict) else item) for item in given]
        if len(set(keys)) < len(keys):
            yield f"{where}: duplicate value"


def _rules(schema: Json, value: Json, at: str) -> Iterator[str]:
    for inner, given, where in _inside(schema, value, at):
        for rule in inner.get("x-kubernetes-validations", ()):
            if "oldSelf" in rule["rule"]:
                continue  # about a change, and this is a creation
            if not _holds(rule["rule"], given):
                yield f"{where}{rule.get('fieldPath', '')}: {rule['message']}"


def _holds(rule: str, value: Json) -> bool:
    # This binding of CEL ends a string at a NUL; the server's does not.
    given = value.replace("\0", "\1") if isinstance(value, str) else value
    result = _compiled(rule).eval(data={"self": given})
    # An error comes back as a value: only a true boolean is a yes.
    return result.type() == cel.Type.BOOL and result.value() is True


@cache
def _compiled(rule: str) -> cel.Expression:
    return _environment().compile(rule)


@cache
def _environment() -> cel.Env:
    return cel.NewEnv(variables={"self": cel.Type.DYN})
