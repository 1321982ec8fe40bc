"""What people may ask a running data plane: limits, calls, why; over a Unix socket that only its owner can open.

Answers are JSON for the command line, which makes tables of them. Amounts are integers (cost in nano-USD), times ms.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Final

import msgspec
from aiohttp import web

from tollway.deciding.checks import CHECKS
from tollway.ledger.port import CallFilter, CounterState, JournalRow, Ledger, Mismatch, RowKind, Source
from tollway.ledger.units import Amounts
from tollway_extauthz.rules import Rules

_ENDS: Final = (RowKind.SETTLE, RowKind.EXPIRE, RowKind.CORRECT)


class Admin:
    def __init__(self, ledger: Ledger, rules: Callable[[], Rules | None], clock: Callable[[], int]) -> None:
        self._ledger = ledger
        self._rules = rules
        self._clock = clock

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/status", self._status)
        app.router.add_get("/limits", self._limits)
        app.router.add_get("/ledger", self._calls)
        app.router.add_get("/ledger/verify", self._verify)
        app.router.add_get("/explain/{id}", self._explain)
        return app

    async def _status(self, _: web.Request) -> web.Response:
        rules = self._rules()
        return _json({"generation": rules.generation if rules else None})

    async def _limits(self, _: web.Request) -> web.Response:
        return _json({"counters": [_counter(state) for state in self._ledger.counters(self._clock())]})

    async def _calls(self, request: web.Request) -> web.Response:
        try:
            since = int(request.query.get("since", "0"))
        except ValueError:
            raise web.HTTPBadRequest(text="since must be milliseconds since the epoch") from None
        calls = summaries(self._ledger.journal(CallFilter(agent=request.query.get("agent"), since=since)))
        return _json({"calls": calls, "totals": _totals(calls)})

    async def _verify(self, _: web.Request) -> web.Response:
        mismatches = self._ledger.verify()
        return _json({"ok": not mismatches, "mismatches": [_mismatch(m) for m in mismatches]})

    async def _explain(self, request: web.Request) -> web.Response:
        rows = list(self._ledger.journal(CallFilter(call_id=request.match_info["id"])))
        if not rows:
            raise web.HTTPNotFound(text="no call of this id is in the journal")
        return _json(explanation(rows))


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
        checks = [*checks, *(("limits", _took(entry)) for entry in first.entries)]
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


def _totals(calls: list[dict[str, object]]) -> dict[str, int]:
    settled = [call for call in calls if call["outcome"] in ("settled", "expired")]
    return {
        "calls": len(calls),
        "refused": sum(call["outcome"] == "refused" for call in calls),
        **{key: sum(int(str(call[key])) for call in settled) for key in ("input_tokens", "output_tokens", "cost")},
    }


def _counter(state: CounterState) -> dict[str, object]:
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


def _mismatch(mismatch: Mismatch) -> dict[str, object]:
    stored, recomputed = mismatch.stored, mismatch.recomputed
    return {
        "counter": asdict(mismatch.counter),
        "bucket": mismatch.bucket,
        "stored": {"held": stored[0], "used": stored[1]},
        "recomputed": {"held": recomputed[0], "used": recomputed[1]},
    }


def _took(entry: object) -> str:
    return msgspec.json.encode(entry).decode()


def _row(row: JournalRow) -> dict[str, object]:
    return {
        "at": row.at,
        "kind": row.kind,
        "size": row.size,
        "source": row.source.name.lower() if row.source else None,
        "amounts": asdict(row.amounts) if row.amounts else None,
        "entries": [asdict(entry) for entry in row.entries],
    }


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
