"""What an API server sends: pages of lists and lines of watches. Pure; of each object only what matters is kept."""

from dataclasses import dataclass, field
from typing import Any

import msgspec


class Unreadable(ValueError):  # noqa: N818 - named for what happened
    """This is nothing that an API server sends."""


class Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None


class Object(msgspec.Struct, frozen=True):
    """`spec` of our own kinds; `data` of ConfigMaps and Secrets. `repr` shows neither."""

    metadata: Metadata
    spec: Any = None
    data: dict[str, str] | None = None

    def __repr__(self) -> str:
        return f"Object({self.metadata.namespace}/{self.metadata.name})"

    @property
    def key(self) -> tuple[str, str]:
        return self.metadata.namespace, self.metadata.name

    @property
    def is_going(self) -> bool:
        return self.metadata.deletion_timestamp is not None


class _ListMetadata(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct, frozen=True):
    metadata: _ListMetadata
    items: list[Object] | None = None


class _Line(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _Status(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list; `more` is what to ask for the next one with, empty at the end."""

    objects: list[Object] = field(repr=False)
    version: str
    more: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as it is now, or, if `removed`, as it was last. None: nothing but the version (a bookmark)."""

    object: Object | None = field(repr=False)
    version: str
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The server ends the watch; `code` is as of HTTP: 410 where it does not know the version any more."""

    code: int
    message: str


def read_page(body: bytes) -> Page:
    """Raises `Unreadable`."""
    try:
        page = msgspec.json.decode(body, type=_Page)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        # Its text may quote what is in a Secret.
        raise Unreadable(f"a list cannot be read ({type(error).__name__})") from None
    return Page(page.items or [], page.metadata.resource_version, page.metadata.continue_)


def read_line(line: bytes) -> Seen | Ended:
    """Raises `Unreadable`."""
    try:
        found = msgspec.json.decode(line, type=_Line)
        if found.type == "ERROR":
            status = msgspec.json.decode(found.object, type=_Status)
            return Ended(status.code, status.message)
        content = msgspec.json.decode(found.object, type=Object)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Unreadable(f"a line of a watch cannot be read ({type(error).__name__})") from None
    version = content.metadata.resource_version
    if found.type == "BOOKMARK":
        return Seen(None, version)
    return Seen(content, version, removed=found.type == "DELETED")


def read_status(body: bytes) -> str:
    """The sentence of a refusal; empty where there is none."""
    try:
        return msgspec.json.decode(body, type=_Status).message
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""
