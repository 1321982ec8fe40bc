"""The one frozen input of a decision.

What a check needs is worked out when the first check asks for it, and kept: the body of a caller without an identity is
never parsed, and nothing is parsed twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from tollway.deciding.rulebook import Caller, Cover, Offer, RuleBook
from tollway.providers.port import Family, HeaderEdit, Operation, ParsedCall, RequestRefused
from tollway.providers.registry import family_of
from tollway.resources.models import AIProvider


@dataclass(frozen=True, slots=True)
class CallerProblem:
    """Why a certificate does not prove who calls."""

    reason: str
    message: str


@dataclass(frozen=True)
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
    body: bytes
    rules: RuleBook
    uncovered_allowed: bool
    now: int

    @cached_property
    def provider(self) -> AIProvider | None:
        return self.rules.provider(self.provider_name)

    @cached_property
    def family(self) -> Family | None:
        return family_of(self.provider.type.value) if self.provider is not None else None

    @cached_property
    def operation(self) -> Operation | None:
        return self.family.operation(self.method, self.path) if self.family is not None else None

    @cached_property
    def parsed(self) -> ParsedCall | RequestRefused | None:
        if self.family is None or self.operation is None:
            return None
        try:
            return self.family.parse(self.operation, self.body, self.headers.get("content-type", ""))
        except RequestRefused as refused:
            return refused

    @cached_property
    def header_edits(self) -> Sequence[HeaderEdit] | RequestRefused:
        """What of the headers must not travel as it is."""
        if self.family is None:
            return ()
        try:
            return self.family.header_edits(self.headers)
        except RequestRefused as refused:
            return refused

    @property
    def understood(self) -> ParsedCall | None:
        """The parsed call, if a check has had it parsed already; never parses."""
        parsed = self.__dict__.get("parsed")
        return parsed if isinstance(parsed, ParsedCall) else None

    @property
    def call(self) -> ParsedCall:
        """The parsed call; to be asked only behind the check that it was understood."""
        assert isinstance(self.parsed, ParsedCall)  # noqa: S101 - the order of the checks is the proof
        return self.parsed

    @cached_property
    def offer(self) -> Offer | None:
        return self.rules.offer(self.provider_name, self.call.model, self.now)

    @cached_property
    def covers(self) -> tuple[Cover, ...]:
        assert isinstance(self.caller, Caller)  # noqa: S101 - as above
        return self.rules.covers(self.caller, self.provider_name, self.call.model)
