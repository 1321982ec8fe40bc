"""What an admitted call asks of the ledger: one demand per limit, and the sizes it may be granted."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tollway.deciding.checks import first_refusal, worst_size
from tollway.deciding.question import Question
from tollway.deciding.rulebook import Caller, Cover, amount_in_force
from tollway.ledger.port import CallFacts, Demand, Sizes
from tollway.ledger.units import Unit
from tollway.pricing.table import Dearest
from tollway.providers.port import Refusal
from tollway.resources.models import Mode, OnShortfall

# An answer is worth having from this many tokens on, until it is learned how long this agent's answers are.
USEFUL_OUTPUT: Final = 64


@dataclass(frozen=True, slots=True)
class Admission:
    """Nothing speaks against the call but, perhaps, what is left on its counters."""

    facts: CallFacts
    demands: tuple[Demand, ...]
    sizes: Sizes


LearnedOutput = Callable[[str, str], int | None]
"""(SPIFFE ID, model) -> this agent's median answer of this model in tokens, if enough are known."""


def decide(q: Question, learned_output: LearnedOutput) -> Refusal | Admission:
    """Run the checks; work out the demands."""
    refusal = first_refusal(q)
    return refusal if refusal is not None else _admission(q, learned_output)


def _admission(q: Question, learned_output: LearnedOutput) -> Admission:
    assert q.offer is not None  # noqa: S101 - `price_known`
    assert isinstance(q.caller, Caller)  # noqa: S101 - `identity_proven`
    useful = max(learned_output(q.caller.spiffe_id, q.call.model) or USEFUL_OUTPUT, q.call.least_output)
    most = worst_size(q) or 0
    limits = q.offer.limits
    input_ceiling = min(q.call.input_bound, (limits.context_tokens or q.call.input_bound) * q.call.prompts)
    dearest = q.offer.row.dearest(input_ceiling, q.call.tier, q.call.audio, q.call.cache_writes)
    return Admission(
        facts=_facts(q, input_ceiling, dearest),
        demands=tuple(_demand(cover, input_ceiling, q.call.answers, dearest, q.now) for cover in q.covers),
        sizes=Sizes(useful=min(most, useful), most=most),
    )


def facts_of(q: Question) -> CallFacts:
    """What is known of a call that was refused, as far as it was understood before a check spoke against it."""
    caller = q.caller if isinstance(q.caller, Caller) else Caller("", "", "", None)
    parsed = q.understood
    return CallFacts(
        agent=caller.spiffe_id,
        namespace=caller.namespace,
        provider=q.provider_name[:253],
        model=parsed.model[:256] if parsed else "",
        operation=parsed.operation.name if parsed else f"{q.method} {q.path}"[:128],
        stream=parsed is not None and parsed.stream,
        pod=caller.pod,
    )


def _facts(q: Question, input_ceiling: int, dearest: Dearest) -> CallFacts:
    assert isinstance(q.caller, Caller)  # noqa: S101 - `identity_proven`
    assert q.offer is not None  # noqa: S101 - `price_known`
    return CallFacts(
        agent=q.caller.spiffe_id,
        namespace=q.caller.namespace,
        provider=q.provider_name,
        model=q.call.model,
        operation=q.call.operation.name,
        stream=q.call.stream,
        pod=q.caller.pod,
        price=q.offer.row_json,
        input_ceiling=input_ceiling,
        answers=q.call.answers,
        input_rate=dearest.input,
        output_rate=dearest.output,
        family=q.provider.type.value if q.provider is not None else "",
        visible_output=not q.offer.limits.hidden_output and not q.call.audio,
    )


def _demand(cover: Cover, input_ceiling: int, answers: int, dearest: Dearest, now: int) -> Demand:
    base, rate = _thousandths(cover.limit.unit, input_ceiling, answers, dearest)
    return Demand(
        counter=cover.counter,
        limit=amount_in_force(cover.limit, now),
        base=base,
        rate=rate,
        rigid=cover.quota.on_shortfall is OnShortfall.REFUSE,
        shadow=cover.quota.mode is Mode.SHADOW,
    )


def _thousandths(unit: Unit, input_ceiling: int, answers: int, dearest: Dearest) -> tuple[int, int]:
    """(base, rate per output token) of a unit, in thousandths: pico-USD for cost."""
    match unit:
        case Unit.REQUESTS | Unit.CONCURRENT:
            return 1000, 0
        case Unit.INPUT_TOKENS:
            return 1000 * input_ceiling, 0
        case Unit.OUTPUT_TOKENS:
            return 0, 1000 * answers
        case Unit.TOKENS:
            return 1000 * input_ceiling, 1000 * answers
        case Unit.COST:
            return input_ceiling * dearest.input, answers * dearest.output
