"""Adding up what calls did, by agent, provider and model: what both stores answer `activity` with. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from tollway.ledger.port import CallFacts, JournalRow, Refusals, RowKind, Spending
from tollway.ledger.units import Amounts


def ended(facts: CallFacts, amounts: Amounts) -> Spending:
    return replace(_of(facts), ended=1, amounts=amounts)


def refused(facts: CallFacts) -> Spending:
    return replace(_of(facts), refused=1)


def still_open(facts: CallFacts, size: int) -> Spending:
    return replace(_of(facts), open=1, held=facts.ceiling(size).cost)


def _of(facts: CallFacts) -> Spending:
    return Spending(facts.agent, facts.namespace, facts.provider, facts.model)


def refusals(rows: Iterable[JournalRow]) -> tuple[Refusals, ...]:
    """By agent and reason, in order."""
    found = Counter((row.facts.agent, row.reason) for row in rows if row.kind is RowKind.REFUSE and row.facts)
    return tuple(Refusals(*who, count) for who, count in sorted(found.items()))


def merged(parts: Iterable[Spending]) -> tuple[Spending, ...]:
    """One for each agent, provider and model, in order."""
    found: dict[tuple[str, ...], Spending] = {}
    for part in parts:
        known = found.get(part.order)
        found[part.order] = part if known is None else _sum(known, part)
    return tuple(found[order] for order in sorted(found))


def _sum(one: Spending, other: Spending) -> Spending:
    return replace(
        one,
        ended=one.ended + other.ended,
        refused=one.refused + other.refused,
        open=one.open + other.open,
        amounts=_added(one.amounts, other.amounts),
        held=one.held + other.held,
    )


def _added(one: Amounts, other: Amounts) -> Amounts:
    return Amounts(
        one.requests + other.requests,
        one.input_tokens + other.input_tokens,
        one.output_tokens + other.output_tokens,
        one.cost + other.cost,
    )
