"""Reading a mapping field by field: every field is asked for by name, everything else in it is unknown.

A reader takes a value and returns what it means, or raises `Wrong` with a sentence. `Fields` catches that, notes it
at its path and goes on, so that all problems of an object are found in one pass. `close` ends the pass: after it
every value read is sound.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, TypeVar, cast

from tollway.resources.documents import Unquoted, Yaml
from tollway.resources.problems import Path, quoted

T = TypeVar("T")
D = TypeVar("D")
E = TypeVar("E", bound=StrEnum)

MOST_UNKNOWN: Final = 20
"""How many unknown fields of one mapping are named one by one."""


class Wrong(Exception):  # noqa: N818 - it is a finding
    """A value that is not what its field takes; the sentence says what it takes. `at` is relative to the value."""

    def __init__(self, sentence: str, at: Path = ()) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.at = at


class Reported(Exception):  # noqa: N818 - it is a finding
    """Something inside the value is wrong and was noted already."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value stands in its object, and where findings on that object are noted."""

    findings: list[tuple[Path, str]] = field(default_factory=list)
    path: Path = ()

    def inside(self, step: str | int) -> "Place":
        return Place(self.findings, (*self.path, step))

    def note(self, sentence: str, at: Path = ()) -> None:
        self.findings.append(((*self.path, *at), sentence))

    def read(self, value: Yaml, reader: "Reader[T]", stand_in: T | None = None) -> T:
        """What `value` means. Where it is wrong that is noted, and `stand_in` comes back: nobody must rely on it."""
        try:
            return reader(value, self)
        except Wrong as wrong:
            self.note(wrong.sentence, wrong.at)
        except Reported:
            pass
        return cast(T, stand_in)


Reader = Callable[[Yaml, Place], T]


class Fields:
    """The fields of one mapping. Raises `Wrong` if `value` is none."""

    def __init__(self, value: Yaml, place: Place) -> None:
        if not isinstance(value, dict):
            raise Wrong(f"must be a mapping, not {described(value)}")
        self._values: Mapping[str, Yaml] = value
        self._place = place
        self._asked: dict[str, None] = {}
        self._before = len(place.findings)

    def required(self, name: str, reader: Reader[T], hint: str, stand_in: T | None = None) -> T:
        self._asked[name] = None
        if name in self._values:
            return self._place.inside(name).read(self._values[name], reader, stand_in)
        self._place.note(f"is required: {hint}", (name,))
        return cast(T, stand_in)

    def optional(self, name: str, reader: Reader[T], default: D) -> T | D:
        self._asked[name] = None
        if name in self._values:
            return self._place.inside(name).read(self._values[name], reader)
        return default

    def tolerate(self, names: Iterable[str]) -> None:
        """Fields that Kubernetes adds and nobody here reads."""
        self._asked.update(dict.fromkeys(names))

    def insist(self, holds: bool, sentence: str, *at: str | int) -> None:
        """A rule over several fields."""
        if not holds:
            self._place.note(sentence, at)

    def close(self) -> None:
        """No further field will be asked for. Raises `Reported` if anything in this mapping is wrong or unknown."""
        unknown = [name for name in self._values if name not in self._asked]
        for name in unknown[:MOST_UNKNOWN]:
            self._place.note(f"is not a field: {self._instead(name)}", (name,))
        if len(unknown) > MOST_UNKNOWN:
            self._place.note(f"has {len(unknown) - MOST_UNKNOWN} more fields that do not belong there: remove them")
        self.stop_if_wrong()

    def stop_if_wrong(self) -> None:
        """Raise `Reported` if anything in this mapping was found wrong."""
        if len(self._place.findings) > self._before:
            raise Reported

    def _instead(self, name: str) -> str:
        near = difflib.get_close_matches(name[:64], self._asked, n=1)
        return f"did you mean {near[0]}?" if near else f"remove it, or use one of {', '.join(self._asked)}"


# --- readers -------------------------------------------------------------------------------------------------------


def described(value: Yaml) -> str:
    """What kind of thing a value is; never the value."""
    if isinstance(value, Unquoted):
        return value.reads_as
    names = {dict: "a mapping", list: "a list", str: "a string", bool: "a boolean", int: "a number"}
    return names.get(type(value), "nothing (remove the field, or give it a value)")


def string(value: Yaml) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Unquoted | int):
        raise Wrong(f"must be a string, but without quotes it reads as {described(value)}: quote it")
    raise Wrong(f"must be a string, not {described(value)}")


def text(reads: Callable[[str], T]) -> Reader[T]:
    """A string that `reads` understands; it raises `Wrong` for one it does not."""

    def read(value: Yaml, _place: Place) -> T:
        return reads(string(value))

    return read


def whole(least: int, most: int) -> Reader[int]:
    def read(value: Yaml, _place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise Wrong(f"must be a whole number in plain decimal digits and without quotes, not {described(value)}")
        if not least <= value <= most:
            raise Wrong(f"must be from {least} to {most}")
        return value

    return read


def flag(value: Yaml, _place: Place) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"must be true or false without quotes, not {described(value)}")
    return value


def choice(of: type[E]) -> Reader[E]:
    options: Mapping[str, E] = {member.value: member for member in of}

    def read(value: str) -> E:
        if value not in options:
            raise Wrong(f"is {quoted(value)}: must be one of {', '.join(options)}")
        return options[value]

    return text(read)


def listing(
    reader: Reader[T], most: int, least: int = 0, key: Callable[[T], object] | None = None
) -> Reader[tuple[T, ...]]:
    """A list of `least` to `most` items, different in `key` if there is one."""

    def read(value: Yaml, place: Place) -> tuple[T, ...]:
        if not isinstance(value, list):
            raise Wrong(f"must be a list, not {described(value)}")
        if not least <= len(value) <= most:
            raise Wrong(f"has {len(value)} items: must have from {least} to {most}")
        before = len(place.findings)
        items = tuple(place.inside(index).read(item, reader) for index, item in enumerate(value))
        if len(place.findings) > before:
            raise Reported
        if key is not None:
            _all_different([key(item) for item in items])
        return items

    return read


def _all_different(keys: list[object]) -> None:
    first: dict[object, int] = {}
    for index, key in enumerate(keys):
        if first.setdefault(key, index) != index:
            raise Wrong(f"repeats item {first[key]} of the list: keep one, or give it another name", (index,))
