"""What would be decided about a call that is not made: each check, and how each limit stands. Reserves nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from tollway.deciding.admission import Admission, LearnedOutput, decide
from tollway.deciding.checks import trace
from tollway.deciding.question import Question
from tollway.deciding.shortfall import amount, refusal_of
from tollway.ledger.arithmetic import Line, Use, granted_size, short_lines, shortage
from tollway.ledger.port import Counter, Policy, Short
from tollway.providers.port import Refusal


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`size`: the output cap that would be granted. `said`: each check and limit, and its word, in order."""

    said: tuple[tuple[str, str], ...]
    refusal: Refusal | None = None
    size: int = 0


def rehearse(q: Question, learned_output: LearnedOutput, use_of: Callable[[Counter], Use]) -> Rehearsal:
    """Decide as `decide` and the ledger would at `q.now`, with `use_of` telling what counts on each counter."""
    outcome = decide(q, learned_output)
    if isinstance(outcome, Refusal):
        return Rehearsal(trace(q), outcome)
    lines = [Line(demand, use_of(demand.counter)) for demand in outcome.demands]
    said = (*trace(q), *((f"limit {line.demand.counter.limit}", _standing(line, outcome)) for line in lines))
    size = granted_size(lines, outcome.sizes, Policy())
    if size is None:
        short = Short(
            tuple(shortage(each, outcome.sizes, q.now, Policy(), ()) for each in short_lines(lines, outcome.sizes))
        )
        return Rehearsal(said, refusal_of(short, outcome.facts, q.call_id, q.now))
    return Rehearsal(said, size=size)


def _standing(line: Line, admission: Admission) -> str:
    unit = line.demand.counter.unit
    least, most = (line.demand.at(size) for size in (line.least(admission.sizes), admission.sizes.most))
    return (
        f"{amount(line.left, unit)} left; this call needs {amount(least, unit)}, and takes {amount(most, unit)} at most"
    )
