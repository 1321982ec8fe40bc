"""Whether it adds up: by agent, by provider and by limit, each number counted by whoever knows it by itself. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from tollway.pricing.table import PriceRow
from tollway.pricing.usage import Usage
from tollway_cli.views.answers import CallView, CounterView


class Seen(msgspec.Struct, frozen=True):
    """A call as the SDK saw it. `prompt_tokens` include those from the cache."""

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
    """One line of an agent's output: a call or a refusal."""

    call: Seen | None = None
    refused: Refusal | None = None


class Sum(msgspec.Struct, frozen=True):
    """Tokens and cost (nano-USD) of some calls, as one party counted them."""

    calls: int
    input_tokens: int
    output_tokens: int
    cost: int

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(
            self.calls + other.calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cost + other.cost,
        )


NOTHING: Final = Sum(0, 0, 0, 0)


class AgentSum(msgspec.Struct, frozen=True):
    """One agent's calls by the ledger and by its SDK, and what ended it: `refusal` as the SDK raised it, `ended_by` the
    limits ("namespace/quota limit") that it names as spent."""

    agent: str
    provider: str
    model: str
    ledger: Sum
    sdk: Sum
    refusal: Refusal | None
    ended_by: list[str]


class ProviderSum(msgspec.Struct, frozen=True):
    """The calls of one provider by the ledger and by the provider's own log."""

    provider: str
    ledger: Sum
    log: Sum


class LimitSum(msgspec.Struct, frozen=True):
    """One limit: what its counter says is used, and the sum of the calls that count on it, by the ledger."""

    quota: str
    limit: str
    unit: str
    agents: list[str]
    amount: int
    used: int
    held: int
    sum_of_calls: int

    @property
    def name(self) -> str:
        return f"{self.quota} {self.limit}"

    @property
    def adds_up(self) -> bool:
        return self.used == self.sum_of_calls and self.held == 0 and self.used <= self.amount


class Report(msgspec.Struct, frozen=True):
    """What the demo found. Money in nano-USD.

    `ledger`, `sdk` and `provider` are the sums over everything, `budget` the amount of the shared limit. `agent`,
    `model` and `refusal` are those of the first of `agents`.
    """

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
    agents: list[AgentSum]
    providers: list[ProviderSum]
    limits: list[LimitSum]

    @property
    def all_agree(self) -> bool:
        return (
            self.ledger == self.sdk == self.provider
            and all(each.ledger == each.sdk for each in self.agents)
            and all(each.ledger == each.log for each in self.providers)
        )

    @property
    def limits_add_up(self) -> bool:
        return all(limit.adds_up for limit in self.limits)

    @property
    def ended_by_both_sorts(self) -> bool:
        """One agent ended by a limit of its own, one by a limit that others share."""
        shared = {limit.name for limit in self.limits if len(limit.agents) > 1}
        ends = [set(each.ended_by) for each in self.agents]
        return all(ends) and any(end & shared for end in ends) and any(end - shared for end in ends)


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


_IN_UNIT: Final[Mapping[str, Callable[[Sum], int]]] = {
    "cost": lambda total: total.cost,
    "requests": lambda total: total.calls,
    "tokens": lambda total: total.input_tokens + total.output_tokens,
    "inputTokens": lambda total: total.input_tokens,
    "outputTokens": lambda total: total.output_tokens,
}


def of_limit(counter: CounterView, agents: Sequence[str], calls: Sum) -> LimitSum:
    """A limit beside the calls of the agents that it counts. Concurrent calls have no sum: they end with the call."""
    in_unit = _IN_UNIT.get(counter.unit)
    return LimitSum(
        f"{counter.namespace}/{counter.quota}",
        counter.limit,
        counter.unit,
        list(agents),
        counter.amount,
        counter.used,
        counter.held,
        in_unit(calls) if in_unit is not None else 0,
    )


def last_spent(refusals: Iterable[Refusal]) -> Refusal | None:
    spent = [refusal for refusal in refusals if (refusal.reason or "").endswith(".spent")]
    return spent[-1] if spent else None


def named_as_spent(refusal: Refusal | None, limits: Iterable[LimitSum]) -> list[str]:
    """The limits that a refusal says are spent."""
    said = refusal.message if refusal is not None else ""
    return [each.name for each in limits if f"Limit {each.limit!r} of AIQuota {each.quota} is spent" in said]


def judged(
    agents: Sequence[AgentSum],
    providers: Sequence[ProviderSum],
    limits: Sequence[LimitSum],
    budget: int,
    verified: bool,
    seconds: float,
) -> Report:
    """All parties agree, no limit is passed and each is the sum of its calls, the journal says the same, and each agent
    came to an end: one at a limit of its own, one at the shared one."""
    found = Report(
        False,
        agents[0].agent,
        agents[0].model,
        budget,
        sum((each.ledger for each in agents), NOTHING),
        sum((each.sdk for each in agents), NOTHING),
        sum((each.log for each in providers), NOTHING),
        verified,
        agents[0].refusal,
        seconds,
        list(agents),
        list(providers),
        list(limits),
    )
    is_sound = found.all_agree and found.limits_add_up and found.ended_by_both_sorts and verified
    return msgspec.structs.replace(found, adds_up=is_sound and 0 < found.ledger.cost <= budget)
