"""The one frozen input of a decision.

What a check needs is worked out when the first check asks for it, and kept: the body of a caller without an identity is
never parsed, and nothing is parsed twice.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Generic, TypeVar, overload

from tollway.deciding.rulebook import Caller, Cover, Listing, Offer, RuleBook, Standing, Terms
from tollway.providers.json_scan import Body
from tollway.providers.port import Family, HeaderEdit, Operation, ParsedCall, RequestRefused
from tollway.resources.models import AIProvider
from tollway.values import value

T = TypeVar("T")
_PARSED: Final = "parsed"


class _kept(Generic[T]):  # noqa: N801 - reads as what it is where it is used
    """`functools.cached_property` without its lock, which costs more than most of what is kept here."""

    def __init__(self, work_out: Callable[["Question"], T]) -> None:
        self._work_out = work_out
        self._name = work_out.__name__
        self.__doc__ = work_out.__doc__

    @overload
    def __get__(self, question: None, kind: type["Question"]) -> "_kept[T]": ...
    @overload
    def __get__(self, question: "Question", kind: type["Question"]) -> T: ...
    def __get__(self, question: "Question | None", kind: type["Question"]) -> "_kept[T] | T":
        if question is None:
            return self
        found = question.__dict__[self._name] = self._work_out(question)
        return found


@value(frozen=True, slots=True)
class CallerProblem:
    """Why a certificate does not prove who calls."""

    reason: str
    message: str


@value(frozen=True)
class Question:
    """May this caller make this call under these rules, now? Times in ms since the epoch."""

    call_id: str
    caller: Caller | CallerProblem
    provider_name: str
    method: str
    path: str
    """Without the provider's prefix and without the query."""
    headers: Mapping[str, str]
    """Lower-case names. A header that came more than once is in `repeated_headers`."""
    repeated_headers: frozenset[str]
    query_keys: frozenset[str]
    body: Body
    rules: RuleBook
    uncovered_allowed: bool
    now: int

    @_kept
    def standing(self) -> Standing:
        """What follows from who calls whom."""
        assert isinstance(self.caller, Caller)  # noqa: S101 - the order of the checks is the proof
        return self.rules.standing(self.caller, self.provider_name)

    @_kept
    def family(self) -> Family | None:
        return self.rules.family(self.provider_name)

    @property
    def provider(self) -> AIProvider | None:
        return self.rules.provider(self.provider_name)

    @_kept
    def operation(self) -> Operation | None:
        return self.family.operation(self.method, self.path) if self.family is not None else None

    @_kept
    def header_edits(self) -> Sequence[HeaderEdit] | RequestRefused:
        """What of the headers must not travel as it is."""
        if self.family is None:
            return ()
        try:
            return self.family.header_edits(self.headers)
        except RequestRefused as refused:
            return refused

    @_kept
    def parsed(self) -> ParsedCall | RequestRefused | None:
        if self.family is None or self.operation is None:
            return None
        return understand(self.family, self.operation, bytes(self.body), self.headers.get("content-type", ""))

    def take_parsed(self, parsed: ParsedCall | RequestRefused) -> None:
        """Keep what `understand` said of this question's body elsewhere."""
        self.__dict__[_PARSED] = parsed

    @property
    def understood(self) -> ParsedCall | None:
        """The parsed call, if a check has had it parsed already; never parses."""
        parsed = self.__dict__.get(_PARSED)
        return parsed if isinstance(parsed, ParsedCall) else None

    @_kept
    def call(self) -> ParsedCall:
        """The parsed call; to be asked only behind the check that it was understood."""
        parsed = self.parsed
        assert isinstance(parsed, ParsedCall)  # noqa: S101 - the order of the checks is the proof
        return parsed

    @_kept
    def listing(self) -> Listing:
        """What the provider says of the model."""
        return self.rules.listing(self.provider_name, self.call.model, self.now)

    @property
    def offer(self) -> Offer | None:
        return self.listing.offer

    @_kept
    def terms(self) -> Terms:
        """What the quotas say of this caller and model."""
        assert isinstance(self.caller, Caller)  # noqa: S101 - as above
        return self.rules.terms(self.caller, self.provider_name, self.call.model)

    @property
    def covers(self) -> tuple[Cover, ...]:
        return self.terms.covers


def understand(family: Family, operation: Operation, body: bytes, content_type: str) -> ParsedCall | RequestRefused:
    """What a body says, or why it cannot be understood. Both can be sent between processes, and are small."""
    try:
        return family.parse(operation, body, content_type)
    except RequestRefused as refused:
        return refused
