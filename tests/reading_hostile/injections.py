"""Values that would be more than values if anything pasted them into Envoy's configuration, Lua, a template, a log."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import yaml

from resources.api_server import ROOT

INJECTIONS: Mapping[str, str] = {
    "a YAML line": "x\nevil: true",
    "a header line": "x\r\nx-evil: 1",
    "a format operator": "%REQ(authorization)%",
    "a longer format operator": "%DYNAMIC_METADATA(envoy.filters.http.ext_authz:call)%",
    "a lone per cent sign": "50%",
    "a shell variable": "${HOME}",
    "a shell command": "$(id)",
    "a template": "{{ .Values.key }}",
    "the end of a JSON string": 'x","evil":{"a":"b',
    "a JSON object": '{"@type":"type.googleapis.com/envoy.config.core.v3.Node"}',
    "a YAML mapping": "{evil: true}",
    "a YAML alias": "*evil",
    "a YAML tag": "!!python/name:os.system",
    "the end of a Lua string": "]] os.execute('id') --[[",
    "an SQL string": "x'; DROP TABLE holds; --",
    "any text for a regular expression": ".*",
    "another choice for a regular expression": "x|y",
    "a slow regular expression": "(a+)+$",
    "a class of letters": "[a-z]",
    "a path upwards": "../../../etc/passwd",
    "a path to a file": "/etc/passwd",
    "markup": "<script>alert(1)</script>",
    "a letter that turns the line": "x\u202ey",
    "a zero byte": "x\0y",
    "an escape of a terminal": "x\x1b[2Jy",
    "dots": "a.b",
    "a star": "*",
    "nothing": "",
    "a space": " ",
}

ODD_KEY = "sk-%REQ(:path)%${HOME}{{.x}}%%]]\"'\\u0041*"
"""A provider's key in which everything that could be taken for more than a text comes once."""

Path = tuple[str | int, ...]
KEY = "?"
LABELLED = {"name": "team-a", "labels": {"team": "search"}}
BUILT_IN: Mapping[str, dict[str, Any]] = {
    "Namespace": {"apiVersion": "v1", "kind": "Namespace", "metadata": LABELLED},
    "Secret": {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**LABELLED, "namespace": "tollway-system"},
        "type": "Opaque",
        "data": {"api-key": "c2stMQ=="},
        "stringData": {"other-key": "sk-2"},
    },
}
PREFIX = {"AgentIdentity": "identity", "AIProvider": "provider", "AIQuota": "quota"}


@dataclass(frozen=True)
class Injected:
    """An object in order but for one text in it."""

    kind: str
    path: Path
    what: str
    value: str
    content: dict[str, Any]


@cache
def whole(kind: str) -> dict[str, Any]:
    """An accepted object of the kind that uses every field: not to be changed."""
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    text = (ROOT / "tests" / "crds" / "accepted" / f"{PREFIX[kind]}-full.yaml").read_text()
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def everywhere(kind: str, value: str) -> tuple[dict[str, Any], list[Path]]:
    """An object with the value in all its texts at once, but for what says of what kind it is; and their places."""
    paths = [path for path in _texts(whole(kind)) if path[0] not in ("apiVersion", "kind")]
    made: dict[str, Any] = whole(kind)
    for path in paths:
        if path[-1] != KEY:
            made = changed(made, path, value)
    return made, paths


def injected(kind: str, what: str, path: Path) -> Injected:
    return Injected(kind, path, what, INJECTIONS[what], changed(whole(kind), path, INJECTIONS[what]))


def changed(content: dict[str, Any], path: Path, value: str) -> dict[str, Any]:
    """A path that ends in `KEY` leads to a key of a mapping and not to its value."""
    made: Any = copy.deepcopy(content)
    *way, last = path
    if last == KEY:
        *way, key = way
        holder = _at(made, tuple(way))
        holder[value] = holder.pop(key)
    else:
        _at(made, tuple(way))[last] = value
    result: dict[str, Any] = made
    return result


def _at(value: Any, path: Path) -> Any:
    for step in path:
        value = value[step]
    return value


def _texts(value: Any, path: Path = ()) -> Iterator[Path]:
    """Where texts stand, and the keys that the user chose."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _texts(item, (*path, index))
    elif isinstance(value, dict):
        for key, given in value.items():
            if path and path[-1] in ("labels", "matchLabels", "data", "stringData"):
                yield (*path, key, KEY)
            yield from _texts(given, (*path, key))
