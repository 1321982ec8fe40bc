"""The protocol behind which one module per provider family speaks that family's wire format.

A family recognises an operation, parses a request once and strictly, says which bytes of the body to change, reads
usage, and shapes refusals. It is pure: bytes and values in, values out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from typing import Protocol

from tollway.pricing.usage import CacheWrites, Usage
from tollway.providers.json_scan import Body, Span
from tollway.values import value


@value(frozen=True, slots=True)
class Edit:
    """Replace `length` bytes of the request body at `offset` by `text`. Edits of one body are sorted and disjoint."""

    offset: int
    length: int
    text: str


@value(frozen=True, slots=True)
class HeaderEdit:
    """Send the header `name` (lower case) with `value`, or not at all where that is empty.

    `removed` are the words that are taken out of its value, printable: the caller is told of them.
    """

    name: str
    value: str
    removed: tuple[str, ...] = ()


@value(frozen=True, slots=True)
class Operation:
    """A described operation of a provider, such as "chat.completions"."""

    name: str
    streams: bool = True


@value(frozen=True, slots=True)
class ParsedCall:
    """What a request's bytes say, as far as it matters for deciding. The bytes themselves go on, but for edits.

    `output_cap` is the request's own cap for one answer (None: it names none; 0: the operation has no output),
    `answers` how many it asks for, `input_bound` the provable upper bound of its input tokens: UTF-8 bytes plus a fixed
    overhead. `wants_usage`: the caller itself asked to see usage in its stream. `tier` is the requested service tier.
    """

    operation: Operation
    model: str
    stream: bool
    output_cap: int | None
    answers: int
    input_bound: int
    wants_usage: bool
    tier: str = ""
    audio: bool = False
    """The call may bill audio tokens."""
    prompts: int = 1
    """How many texts the model reads apart from each other: its context window bounds each."""
    least_output: int = 1
    """The smallest output cap that the provider takes."""
    cache_writes: CacheWrites = CacheWrites.ONE_HOUR
    """The dearest writing to the provider's cache that the call can lead to."""
    places: Mapping[str, Span] = field(default_factory=dict, compare=False)
    """Where the values stand that `Family.edits` may replace, by name, so that it need not read the body again."""


class Kind(StrEnum):
    """The classes of refusal and failure that callers treat differently; a family gives each its status and shape."""

    INVALID = "invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    TOO_LARGE = "too_large"
    RATE = "rate"
    """Try again after `retry_after_ms`."""
    SPENT = "spent"
    """Trying again is useless until the window ends, if ever."""
    UNAVAILABLE = "unavailable"
    """Tollway's own failure."""


@value(frozen=True, slots=True)
class Refusal:
    """A decision against a call: a stable `reason` code, a public sentence, and what the caller should do."""

    kind: Kind
    reason: str
    message: str
    call_id: str = ""
    retry_after_ms: int | None = None
    param: str | None = None


@value(frozen=True, slots=True)
class Answer:
    """An HTTP answer of our own, in the provider's shape."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class RequestRefused(Exception):  # noqa: N818 - it is a decision
    """The request cannot be understood or bounded. `reason` is a stable code such as "request.stateful"."""

    def __init__(self, reason: str, message: str, param: str | None = None, kind: Kind = Kind.INVALID) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.param = param
        self.kind = kind

    def __reduce__(self) -> tuple[type["RequestRefused"], tuple[str, str, str | None, Kind]]:
        # It may be found by another process.
        return type(self), (self.reason, self.message, self.param, self.kind)


class Family(Protocol):
    """One provider family."""

    @property
    def name(self) -> str:
        """As in `AIProvider.spec.type`."""
        ...

    @property
    def allowed_headers(self) -> frozenset[str]:
        """Request headers (lower case) that may travel to the provider; every other is removed."""
        ...

    @property
    def allowed_query(self) -> frozenset[str]: ...

    def header_edits(self, headers: Mapping[str, str]) -> Sequence[HeaderEdit]:
        """What must not travel in `allowed_headers`, of these (lower-case names): what would change price or features.

        Raises `RequestRefused` where one that must be there is not.
        """
        ...

    @property
    def usage_fields(self) -> Mapping[str, tuple[str, ...]]:
        """For Envoy's extractors: metadata key -> path of the value in a JSON answer or in an event of a stream."""
        ...

    def operation(self, method: str, path: str) -> Operation | None:
        """The operation at `path` (without the provider's prefix and query), or None: it is not described."""
        ...

    def parse(self, operation: Operation, body: bytes, content_type: str) -> ParsedCall:
        """Parse strictly. Raises `RequestRefused`."""
        ...

    def edits(self, call: ParsedCall, body: Body, cap: int | None) -> Sequence[Edit]:
        """The edits that make the body as it is forwarded: output cap `cap` (None: leave), usage asked for in streams,
        nothing stored."""
        ...

    def usage(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        """Usage from the values that Envoy extracted under `usage_fields`; None if there is none in them."""
        ...

    @property
    def counts_along(self) -> bool:
        """Whether `usage` may come of what a stream says before its end: then it is final only if that end came."""
        ...

    def usage_so_far(self, fields: Mapping[str, int | float | str]) -> Usage | None:
        """What a stream that was cut had said: its input is final, its output a beginning. None if it had said none."""
        ...

    def refusal(self, refusal: Refusal) -> Answer: ...

    @property
    def usual_path(self) -> str:
        """Where a request goes of which only the body is known."""
        ...

    @property
    def usual_headers(self) -> Mapping[str, str]:
        """What every SDK of this family sends, as far as a decision depends on it."""
        ...

    def base_url(self, prefix: str) -> str:
        """The URL this family's SDK takes, from `http://host:port/<provider name>`."""
        ...

    def sdk_env(self, base_url: str) -> Mapping[str, str]:
        """Environment variables that point this family's SDK at `base_url`, with a placeholder key if it needs one."""
        ...

    def credential_header(self, key: str) -> tuple[str, str]:
        """The header that carries the provider's key."""
        ...
