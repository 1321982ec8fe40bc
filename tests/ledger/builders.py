"""What the tests of the ledger are told in: short builders that show only what matters to a case."""

from collections.abc import Sequence

from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Ledger, Short, Sizes
from tollway.ledger.units import LIFETIME, Unit, Window, WindowKind

NOON = 1_767_268_800_000
"""2026-01-01T12:00:00Z."""
MINUTE = 60_000
HOUR = 60 * MINUTE
TODAY = Window(WindowKind.DAY)
PER_MINUTE = Window(WindowKind.ROLLING, MINUTE)


def facts(agent: str = "researcher", **more: object) -> CallFacts:
    given = {"model": "gpt-5-mini", "input_ceiling": 100, "output_rate": 2000, **more}
    return CallFacts(f"spiffe://td/{agent}", "team-a", "openai", operation="chat", **given)  # type: ignore[arg-type]


def counter(name: str, unit: Unit = Unit.OUTPUT_TOKENS, window: Window = LIFETIME) -> Counter:
    return Counter("team-a", "research", name, unit, window, (("Agent", "researcher"),))


def tokens(limit: int, window: Window = LIFETIME, name: str = "tokens", **more: bool) -> Demand:
    """Output tokens: as many as the size."""
    return Demand(counter(name, Unit.OUTPUT_TOKENS, window), limit, base=0, rate=1000, **more)


def requests(limit: int, window: Window = PER_MINUTE, name: str = "requests", **more: bool) -> Demand:
    return Demand(counter(name, Unit.REQUESTS, window), limit, base=1000, **more)


def slots(limit: int) -> Demand:
    return Demand(counter("parallel", Unit.CONCURRENT), limit, base=1000)


def ask(
    ledger: Ledger,
    hold_id: str,
    *demands: Demand,
    most: int = 0,
    useful: int | None = None,
    now: int = NOON,
    deadline: int | None = None,
) -> Granted | Short:
    """Reserve; `useful` is `most` where it is not said, so that a call takes all or nothing."""
    sizes = Sizes(most if useful is None else useful, most)
    return ledger.reserve(hold_id, facts(), demands, sizes, now, now + MINUTE if deadline is None else deadline)


def grant(ledger: Ledger, hold_id: str, *demands: Demand, **more: int) -> Granted:
    outcome = ask(ledger, hold_id, *demands, **more)
    assert isinstance(outcome, Granted), outcome
    return outcome


def refuse(ledger: Ledger, hold_id: str, *demands: Demand, **more: int) -> Short:
    outcome = ask(ledger, hold_id, *demands, **more)
    assert isinstance(outcome, Short), outcome
    return outcome


def counts(ledger: Ledger, now: int = NOON) -> dict[str, tuple[int, int]]:
    """(used, held) of every counter, by the limit's name."""
    return {state.counter.limit: (state.used, state.held) for state in ledger.counters(now)}


def reasons(short: Short) -> Sequence[tuple[str, str, int | None]]:
    return [(each.demand.counter.limit, each.shortness.value, each.available_at) for each in short.shortages]
