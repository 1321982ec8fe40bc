"""What an admitted call asks of the ledger: one demand per limit, and the sizes it may be granted."""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tollway.deciding.checks import first_refusal, worst_size
from tollway.deciding.question import Question
from tollway.deciding.rulebook import Caller, Line, Offer, amount_in_force
from tollway.ledger.port import CallFacts, Demand, Sizes
from tollway.pricing.table import Dearest
from tollway.providers.port import Refusal
from tollway.values import value

# An answer is worth having from this many tokens on, until it is learned how long this agent's answers are.
USEFUL_OUTPUT: Final = 64


@value(frozen=True, slots=True)
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
    call, offer, caller = q.call, q.listing.offer, q.caller
    assert offer is not None  # noqa: S101 - `price_known`
    assert isinstance(caller, Caller)  # noqa: S101 - `identity_proven`
    useful = max(learned_output(caller.spiffe_id, call.model) or USEFUL_OUTPUT, call.least_output)
    most = worst_size(q) or 0
    input_ceiling = min(call.input_bound, (offer.limits.context_tokens or call.input_bound) * call.prompts)
    dearest = offer.dearest(input_ceiling, call.tier, call.audio, call.cache_writes)
    return Admission(
        _facts(q, caller, offer, input_ceiling, dearest),
        _demands(q.terms.lines, _sums(input_ceiling, call.answers, dearest), q.now),
        Sizes(min(most, useful), most),
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


def _facts(q: Question, caller: Caller, offer: Offer, input_ceiling: int, dearest: Dearest) -> CallFacts:
    call = q.call
    return CallFacts(
        agent=caller.spiffe_id,
        namespace=caller.namespace,
        provider=q.provider_name,
        model=call.model,
        operation=call.operation.name,
        stream=call.stream,
        pod=caller.pod,
        price=offer.row_json,
        input_ceiling=input_ceiling,
        answers=call.answers,
        input_rate=dearest.input,
        output_rate=dearest.output,
        family=q.family.name if q.family is not None else "",
        visible_output=not offer.limits.hidden_output and not call.audio,
    )


def _demands(lines: Iterable[Line], sums: Sequence[tuple[int, int]], now: int) -> tuple[Demand, ...]:
    return tuple(
        [
            Demand(line.counter, amount_in_force(line.limit, now), *sums[line.place], line.rigid, line.shadow)
            for line in lines
        ]
    )


def _sums(input_ceiling: int, answers: int, dearest: Dearest) -> Sequence[tuple[int, int]]:
    """(base, rate per output token) of each of `UNITS`, in thousandths: pico-USD for cost."""
    per_token, per_answer = 1000 * input_ceiling, 1000 * answers
    cost = (input_ceiling * dearest.input, answers * dearest.output)
    return (1000, 0), (per_token, 0), (0, per_answer), (per_token, per_answer), cost, (1000, 0)
