"""What people see of the ledger: calls in a line each, one call explained, counters. Plain values for JSON.

Amounts are integers (cost in nano-USD), times are milliseconds since the epoch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Final

from tollway.deciding.checks import CHECKS
from tollway.deciding.rehearsal import Rehearsal
from tollway.deciding.shortfall import amount
from tollway.ledger import windows
from tollway.ledger.arithmetic import window_of
from tollway.ledger.port import Counter, CounterState, Entry, JournalRow, Mismatch, RowKind, Source
from tollway.ledger.units import Amounts

_ENDS: Final = (RowKind.SETTLE, RowKind.EXPIRE, RowKind.CORRECT)


def summaries(rows: Iterable[JournalRow]) -> list[dict[str, object]]:
    """One line per call: what it was, how it stands, what it cost (held, while it is open)."""
    calls: dict[str, dict[str, object]] = {}
    for row in rows:
        if row.facts is not None and row.call_id not in calls:
            calls[row.call_id] = _begun(row)
        call = calls.get(row.call_id)
        if call is not None:
            _apply(call, row)
    return list(calls.values())


def explanation(rows: list[JournalRow]) -> dict[str, object]:
    """Everything the journal says about one call."""
    summary = summaries(rows)[0] if summaries(rows) else {"id": rows[0].call_id}
    first = rows[0]
    facts = asdict(first.facts) if first.facts else {}
    checks = facts.pop("checks", ()) or [(name, "passed") for name, _ in CHECKS]
    if first.kind is RowKind.GRANT:
        checks = [*checks, *((f"limit {entry.counter.limit}", _took(entry)) for entry in first.entries)]
    return {
        **summary,
        "message": first.message,
        "facts": facts,
        "checks": [{"name": name, "said": said} for name, said in checks],
        "rows": [_row(row) for row in rows],
    }


def _begun(row: JournalRow) -> dict[str, object]:
    assert row.facts is not None  # noqa: S101 - only rows with facts begin a call
    return {
        "id": row.call_id,
        "at": row.at,
        "agent": row.facts.agent,
        "namespace": row.facts.namespace,
        "provider": row.facts.provider,
        "model": row.facts.model,
        "operation": row.facts.operation,
        "stream": row.facts.stream,
        "outcome": "open",
        "reason": "",
        "source": None,
        "size": row.size,
        **_amounts(row.facts.ceiling(row.size) if row.kind is RowKind.GRANT else Amounts()),
    }


def _apply(call: dict[str, object], row: JournalRow) -> None:
    if row.kind is RowKind.REFUSE:
        call.update(outcome="refused", reason=row.reason)
    elif row.kind in _ENDS and row.amounts is not None and row.source is not None:
        call.update(outcome=_outcome(row), source=row.source.name.lower(), **_amounts(row.amounts))
    elif row.kind in (RowKind.EXTEND, RowKind.LOWER):
        call.update(size=row.size)


def _outcome(row: JournalRow) -> str:
    if row.kind is RowKind.EXPIRE:
        return "expired"
    return "released" if row.amounts == Amounts() and row.source is not Source.PROVIDER else "settled"


def _amounts(amounts: Amounts) -> dict[str, object]:
    return {"input_tokens": amounts.input_tokens, "output_tokens": amounts.output_tokens, "cost": amounts.cost}


def totals(calls: list[dict[str, object]]) -> dict[str, int]:
    settled = [call for call in calls if call["outcome"] in ("settled", "expired")]
    return {
        "calls": len(calls),
        "refused": sum(call["outcome"] == "refused" for call in calls),
        **{key: sum(int(str(call[key])) for call in settled) for key in ("input_tokens", "output_tokens", "cost")},
    }


def limits(states: Iterable[CounterState], declared: Mapping[Counter, int], now: int) -> list[dict[str, object]]:
    """Every counter that is declared or has something in it; a declared amount is the one in force."""
    found = {state.counter: state for state in states}
    for counter, in_force in declared.items():
        known = found.get(counter)
        resets_at = windows.resets_at(window_of(counter), now)
        used, held = (known.used, known.held) if known else (0, 0)
        found[counter] = CounterState(counter, in_force, used, held, resets_at)
    return [counter_report(found[counter]) for counter in sorted(found, key=lambda counter: counter.order)]


def rehearsed(rehearsal: Rehearsal) -> dict[str, object]:
    """The answer to `explain -f`: as an explanation, of a call that is not made."""
    refusal = rehearsal.refusal
    return {
        "id": "",
        "outcome": "refused" if refusal else "granted",
        "reason": refusal.reason if refusal else "",
        "message": refusal.message if refusal else "",
        "facts": {"output cap": rehearsal.size} if refusal is None else {},
        "checks": [{"name": name, "said": said} for name, said in rehearsal.said],
        "rows": [],
    }


def counter_report(state: CounterState) -> dict[str, object]:
    """One counter, as `tollway limits` and `tollway top` show it."""
    counter = state.counter
    return {
        "key": "/".join((counter.namespace, counter.quota, counter.limit, *(value for _, value in counter.per))),
        "namespace": counter.namespace,
        "quota": counter.quota,
        "limit": counter.limit,
        "unit": counter.unit,
        "window": counter.window.kind,
        "window_ms": counter.window.length_ms or None,
        "time_zone": counter.window.time_zone,
        "per": dict(counter.per),
        "amount": state.limit,
        "used": state.used,
        "held": state.held,
        "remaining": max(state.limit - state.used - state.held, 0),
        "resets_at": state.resets_at,
    }


def mismatch_report(mismatch: Mismatch) -> dict[str, object]:
    stored, recomputed = mismatch.stored, mismatch.recomputed
    return {
        "counter": asdict(mismatch.counter),
        "bucket": mismatch.bucket,
        "stored": {"held": stored[0], "used": stored[1]},
        "recomputed": {"held": recomputed[0], "used": recomputed[1]},
    }


def _took(entry: Entry) -> str:
    return f"{amount(entry.held, entry.counter.unit)} held of {amount(entry.limit, entry.counter.unit)}"


def _row(row: JournalRow) -> dict[str, object]:
    return {
        "at": row.at,
        "kind": row.kind,
        "size": row.size,
        "source": row.source.name.lower() if row.source else None,
        "amounts": asdict(row.amounts) if row.amounts else None,
        "entries": [asdict(entry) for entry in row.entries],
    }
