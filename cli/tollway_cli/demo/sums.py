"""Whether it adds up: the ledger's sum, the SDK's and the provider's, each counted by itself. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tollway.pricing.table import PriceRow
from tollway.pricing.usage import Usage
from tollway_cli.views.answers import CallView


class Seen(msgspec.Struct, frozen=True):
    """A call as the SDK saw it."""

    stream: bool
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    finish_reason: str | None = None


class Refusal(msgspec.Struct, frozen=True, rename={"class_": "class"}):
    """A refusal as the SDK raised it."""

    class_: str
    status: int
    message: str
    code: str | None = None
    type: str | None = None
    reason: str | None = None
    call: str | None = None


class Heard(msgspec.Struct, frozen=True):
    """One line of the agent's output: a call or a refusal."""

    call: Seen | None = None
    refused: Refusal | None = None


class Sum(msgspec.Struct, frozen=True):
    """Tokens and cost (nano-USD) of some calls, as one party counted them."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: int


class Report(msgspec.Struct, frozen=True):
    """What the demo found. `budget` in nano-USD; `refusal` is the last one, as the SDK raised it."""

    adds_up: bool
    agent: str
    model: str
    budget: int
    ledger: Sum
    sdk: Sum
    provider: Sum
    verified: bool
    refusal: Refusal | None
    seconds: float


def of_usages(usages: Iterable[tuple[int, int, int]], row: PriceRow) -> Sum:
    """The sum of calls of (prompt, cached, completion) tokens, priced at `row`."""
    priced = [Usage(input=prompt - cached, cache_read=cached, output=output) for prompt, cached, output in usages]
    return Sum(
        len(priced),
        sum(usage.input_tokens for usage in priced),
        sum(usage.output_tokens for usage in priced),
        sum(row.cost(usage) for usage in priced),
    )


def of_ledger(calls: Iterable[CallView]) -> Sum:
    """The sum of the calls that were admitted."""
    admitted = [call for call in calls if call.outcome != "refused"]
    return Sum(
        len(admitted),
        sum(call.input_tokens or 0 for call in admitted),
        sum(call.output_tokens or 0 for call in admitted),
        sum(call.cost or 0 for call in admitted),
    )


@dataclass(frozen=True, slots=True)
class Findings:
    agent: str
    model: str
    budget: int
    ledger: Sum
    sdk: Sum
    provider: Sum
    verified: bool
    refusal: Refusal | None


def judged(found: Findings, seconds: float) -> Report:
    """All three agree, nothing is above the budget, the journal says the same, and the end was a refusal."""
    adds_up = (
        found.ledger == found.sdk == found.provider
        and 0 < found.ledger.cost <= found.budget
        and found.verified
        and found.refusal is not None
    )
    return Report(
        adds_up,
        found.agent,
        found.model,
        found.budget,
        found.ledger,
        found.sdk,
        found.provider,
        found.verified,
        found.refusal,
        seconds,
    )
