"""Who spends what right now, and how near each is to a limit: plain values for JSON.

Amounts are integers (cost in nano-USD), times are milliseconds since the epoch.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from tollway.deciding.rulebook import Caller, RuleBook
from tollway.identity.spiffe_id import InvalidSPIFFEID, agent_path, parse_spiffe_id
from tollway.ledger.arithmetic import window_of
from tollway.ledger.port import Activity, Counter, CounterState, Spending
from tollway.ledger.windows import resets_at
from tollway_extauthz.reports import counter_report

Bounds = Mapping[str, Mapping[Counter, int]]
"""SPIFFE ID -> the counters that bound the agent where it is active, and the amounts in force."""

_SUMMED: Final = ("calls", "refused", "open", "input_tokens", "output_tokens", "cost", "held", "cost_per_minute")
_MINUTE: Final = 60_000


def bounds(activity: Activity, book: RuleBook) -> Bounds:
    """What bounds each agent at the models that it uses now. Limits per pod are left out: calls here name none."""
    found: dict[str, dict[Counter, int]] = {}
    for spending in activity.spending:
        caller = _caller(spending.agent)
        covers = book.covers(caller, spending.provider, spending.model) if caller else ()
        found.setdefault(spending.agent, {}).update((cover.counter, cover.limit.amount) for cover in covers)
    return found


def counters_of(found: Bounds) -> Collection[Counter]:
    return {counter for of_agent in found.values() for counter in of_agent}


def report(
    activity: Activity, found: Bounds, states: Iterable[CounterState], now: int, window_ms: int
) -> dict[str, object]:
    """A row per agent, provider and model, the dearest first, their sums, and each agent's tightest limit."""
    rows = sorted((_row(each, window_ms) for each in activity.spending), key=lambda row: -int(str(row["cost"])))
    totals: dict[str, object] = {key: sum(int(str(row[key])) for row in rows) for key in _SUMMED}
    known = {state.counter: state for state in states}
    tightest = {agent: _tightest(declared, known, now) for agent, declared in found.items() if declared}
    return {
        "at": now,
        "window_ms": window_ms,
        "rows": rows,
        "totals": totals | {"calls_per_second": _per_second(sum(each.ended for each in activity.spending), window_ms)},
        "tightest": tightest,
    }


def _caller(agent: str) -> Caller | None:
    """None for a caller whose certificate was none of ours: its refusals are shown, but nothing bounds it."""
    try:
        path = agent_path(parse_spiffe_id(agent))
    except InvalidSPIFFEID:
        return None
    return Caller(agent, path.namespace, path.service_account, path.agent) if path is not None else None


def _row(spending: Spending, window_ms: int) -> dict[str, object]:
    return {
        "agent": spending.agent,
        "namespace": spending.namespace,
        "provider": spending.provider,
        "model": spending.model,
        "calls": spending.ended,
        "refused": spending.refused,
        "open": spending.open,
        "input_tokens": spending.amounts.input_tokens,
        "output_tokens": spending.amounts.output_tokens,
        "cost": spending.amounts.cost,
        "held": spending.held,
        "calls_per_second": _per_second(spending.ended, window_ms),
        "cost_per_minute": spending.amounts.cost * _MINUTE // window_ms,
    }


def _per_second(calls: int, window_ms: int) -> float:
    return round(calls * 1000 / window_ms, 3)


def _tightest(declared: Mapping[Counter, int], known: Mapping[Counter, CounterState], now: int) -> dict[str, object]:
    """The limit with the least share left."""
    states = [_state(counter, amount, known.get(counter), now) for counter, amount in declared.items()]
    return counter_report(min(states, key=_share_left))


def _state(counter: Counter, amount: int, known: CounterState | None, now: int) -> CounterState:
    used, held = (known.used, known.held) if known else (0, 0)
    return CounterState(counter, amount, used, held, resets_at(window_of(counter), now))


def _share_left(state: CounterState) -> tuple[float, tuple[object, ...]]:
    left = state.limit - state.used - state.held
    return left / state.limit if state.limit else 0.0, state.counter.order
