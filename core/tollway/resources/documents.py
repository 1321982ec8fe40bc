"""YAML bytes to plain values: strictly, and with a limit on everything that can grow.

Built from the parser's events rather than by a constructor: nothing is expanded (aliases and tags are refused), nothing
recurses, and duplicate keys are seen. Unquoted scalars that YAML 1.1 and 1.2 read differently, or that readers round
(`1e3`, `0x10`, `12:30`, dates), become `Unquoted`, which no field takes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import yaml

from tollway.resources.problems import Path, Problem, json_path, quoted

LARGEST_FILE: Final = 1 << 20
DEEPEST: Final = 32


@dataclass(frozen=True, slots=True)
class Unquoted:
    """A plain scalar that is not safely anything. It does not keep the text: that may be a secret."""

    reads_as: str
    """Such as "a number"."""


Yaml: TypeAlias = "dict[str, Yaml] | list[Yaml] | str | int | bool | Unquoted | None"


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document that is a mapping. `number` counts from 1 within its file."""

    file: str
    number: int
    content: dict[str, Yaml] = field(repr=False)

    @property
    def object(self) -> str:
        """The object's kind, namespace and name, as far as they can be told."""
        metadata = self.content.get("metadata")
        named = metadata if isinstance(metadata, dict) else {}
        kind, namespace, name = self.content.get("kind"), named.get("namespace"), named.get("name")
        if not isinstance(kind, str) or not isinstance(name, str):
            return f"document {self.number}"
        where = f"{_word(namespace)}/" if isinstance(namespace, str) else ""
        return f"{_word(kind)} {where}{_word(name)}"


def read_documents(file: str, data: bytes) -> tuple[list[Document], list[Problem]]:
    """The documents of one file that are sound as YAML, and what is wrong with the others. Never raises."""
    if len(data) > LARGEST_FILE:
        sentence = f"has {len(data)} bytes, the limit is {LARGEST_FILE}: split it into several files"
        return [], [Problem(file, "", "", sentence)]
    try:
        return _sorted_out(file, data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        return [], [Problem(file, "", "", f"is not UTF-8 at byte {error.start}: save it as UTF-8")]


def _sorted_out(file: str, text: str) -> tuple[list[Document], list[Problem]]:
    documents: list[Document] = []
    problems: list[Problem] = []
    try:
        for number, (content, faults) in enumerate(_raw_documents(text), start=1):
            if content is None and not faults:
                continue
            if not isinstance(content, dict):
                faults.append(((), "a document must be a mapping with apiVersion, kind, metadata and spec"))
            document = Document(file, number, content if isinstance(content, dict) else {})
            problems += (Problem(file, document.object, json_path(path), sentence) for path, sentence in faults)
            if not faults:
                documents.append(document)
    except _TooDeep as error:
        problems.append(Problem(file, "", "", f"line {error.line}: nested deeper than {DEEPEST} levels: flatten it"))
    except yaml.MarkedYAMLError as error:
        problems.append(Problem(file, "", "", _syntax(error)))
    except yaml.YAMLError:
        problems.append(Problem(file, "", "", "is not YAML: it has a character that YAML does not allow"))
    return documents, problems


def _syntax(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{where}is not YAML: {error.problem or error.context or 'it cannot be read'}"


def _word(text: str) -> str:
    return text if _NAME.fullmatch(text) else quoted(text)


_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,252}")

# --- plain scalars -------------------------------------------------------------------------------------------------

_WORDS: Final[Mapping[str, Yaml]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"), True),
    **dict.fromkeys(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"), False),
    **dict.fromkeys(("y", "Y", "n", "N"), Unquoted("a boolean to some readers")),
}
_DECIMAL: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,29})")
_NUMBER: Final = re.compile(
    r"""[-+]?(?:0[xX][0-9a-fA-F_]+|0[oO][0-7_]+|0b[01_]+
        |[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?
        |(?:\.[0-9_]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?
        |\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)""",
    re.VERBOSE,
)
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:[Tt ].*)?")
_NUMERIC_START: Final = frozenset("+-.0123456789")


def _plain(text: str) -> Yaml:
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in _NUMERIC_START:
        return text
    if _DECIMAL.fullmatch(text):
        return int(text)
    if _NUMBER.fullmatch(text):
        return Unquoted("a number")
    return Unquoted("a date") if _DATE.fullmatch(text) else text


# --- events to values ----------------------------------------------------------------------------------------------


class _TooDeep(Exception):  # noqa: N818 - named for what happened
    def __init__(self, line: int) -> None:
        super().__init__(line)
        self.line = line


@dataclass(slots=True)
class _Frame:
    """A container that is being filled; `key` is the key whose value comes next."""

    container: dict[str, Yaml] | list[Yaml]
    key: str | None = None

    @property
    def step(self) -> Path:
        if isinstance(self.container, list):
            return (len(self.container),)
        return () if self.key is None else (self.key,)


_Fault: TypeAlias = tuple[Path, str]
_NO_ALIAS: Final = "YAML aliases are not taken: write the value out"
_NO_TAG: Final = "YAML tags are not taken: remove it, and quote the value if it is a string"
_NO_MERGE: Final = "YAML merge keys (<<) are not taken: write the fields out"


class _Assembly:
    """One document being put together."""

    def __init__(self) -> None:
        self.root: Yaml = None
        self.faults: list[_Fault] = []
        self._open: list[_Frame] = []

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._tagless(event.tag)
            self._put(event.value if event.style else _plain(event.value))
        elif isinstance(event, yaml.MappingStartEvent):
            self._start({}, event)
        elif isinstance(event, yaml.SequenceStartEvent):
            self._start([], event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._put(self._open.pop().container)
        elif isinstance(event, yaml.AliasEvent):
            self._fault(_NO_ALIAS)
            self._put(None)

    def _start(self, container: dict[str, Yaml] | list[Yaml], event: yaml.CollectionStartEvent) -> None:
        self._tagless(event.tag)
        if len(self._open) >= DEEPEST:
            raise _TooDeep(event.start_mark.line + 1 if event.start_mark else 0)
        self._open.append(_Frame(container))

    def _put(self, value: Yaml) -> None:
        if not self._open:
            self.root = value
            return
        frame = self._open[-1]
        if isinstance(frame.container, list):
            frame.container.append(value)
        elif frame.key is None:
            frame.key = self._key(value, frame.container)
        else:
            frame.container[frame.key] = value
            frame.key = None

    def _key(self, value: Yaml, container: Mapping[str, Yaml]) -> str:
        if not isinstance(value, str):
            self._fault(_not_a_key(value))
            return "?"
        if value == "<<":
            self._fault(_NO_MERGE)
        elif value in container:
            self._fault(f"the key {quoted(value)} is there twice: keep one")
        return value

    def _tagless(self, tag: str | None) -> None:
        if tag is not None:
            self._fault(_NO_TAG)

    def _fault(self, sentence: str) -> None:
        self.faults.append((tuple(step for frame in self._open for step in frame.step), sentence))


def _not_a_key(value: Yaml) -> str:
    if isinstance(value, dict | list):
        return "a key must be a string, not a mapping or a list"
    return "a key must be a string, but one that is not quoted reads as something else: quote it"


_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _raw_documents(text: str) -> Iterator[tuple[Yaml, list[_Fault]]]:
    assembly = _Assembly()
    for event in yaml.parse(text, Loader=_LOADER):
        if isinstance(event, yaml.DocumentStartEvent):
            assembly = _Assembly()
        elif isinstance(event, yaml.DocumentEndEvent):
            yield assembly.root, assembly.faults
        else:
            assembly.take(event)
