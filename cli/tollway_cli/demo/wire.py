"""What every API of the demo provider is to the server: how its request is read, and its answer written. No I/O."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from tollway_cli.demo.generation import Usage
from tollway_cli.demo.manners import OPENAI, Manners
from tollway_cli.demo.settings import Behaviour


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, and how many tokens of output it carries."""

    data: bytes
    tokens: int = 0


class Asked(Protocol):
    """What the server has to know of a request."""

    @property
    def model(self) -> str: ...

    @property
    def stream(self) -> bool: ...


class Answer(Protocol):
    """An answer that is ready: all of it is known before the first byte leaves."""

    @property
    def id(self) -> str: ...

    @property
    def usage(self) -> Usage: ...

    def document(self) -> bytes:
        """The whole as JSON."""
        ...

    def events(self, chunk_tokens: int) -> Iterator[Event]:
        """The whole as a stream, but for its `ending`."""
        ...

    @property
    def ending(self) -> bytes:
        """What follows the last event of a stream that is not cut off."""
        ...


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What an answer depends on beside the request. `number` counts calls; `created` in seconds since the epoch."""

    number: int
    created: int
    body_bytes: int
    behaviour: Behaviour


R = TypeVar("R", bound=Asked)


@dataclass(frozen=True, slots=True)
class Api(Generic[R]):
    """`read` raises `ApiError`."""

    read: Callable[[bytes], R]
    answer: Callable[[R, Circumstances], Answer]
    manners: Manners = OPENAI
