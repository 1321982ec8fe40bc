"""What to tell a caller whose call does not fit: which limits were short, by how much, until when, where to look."""

from datetime import UTC, datetime

from tollway.ledger.port import CallFacts, Short, Shortage, Shortness
from tollway.ledger.units import Unit, WindowKind
from tollway.providers.port import Kind, Refusal


def refusal_of(short: Short, facts: CallFacts, call_id: str, now: int) -> Refusal:
    """The refusal that names every limit that was short. A spent one decides the kind: retrying is useless then."""
    spent = [shortage for shortage in short.shortages if shortage.shortness is Shortness.SPENT]
    decisive = (spent or short.shortages)[0]
    sentences = " ".join(_sentence(shortage) for shortage in short.shortages)
    message = f"{facts.agent} may not make this call now. {sentences} See: tollway explain {call_id}"
    return Refusal(
        kind=Kind.SPENT if spent else Kind.RATE,
        reason=f"quota.{decisive.demand.counter.unit}.{decisive.shortness}",
        message=message,
        call_id=call_id,
        retry_after_ms=None if spent else _wait(short, now),
    )


def _wait(short: Short, now: int) -> int:
    """The longest of the waits: before that, some limit is certainly still short."""
    return max(max((s.available_at or now) - now for s in short.shortages), 1)


def _sentence(shortage: Shortage) -> str:
    counter = shortage.demand.counter
    unit = counter.unit
    what = f"Limit {counter.limit!r} of AIQuota {counter.namespace}/{counter.quota}"
    state = (
        f"{amount(shortage.used, unit)} used and {amount(shortage.held, unit)} held "
        f"of {amount(shortage.demand.limit, unit)}"
        f"{_over(shortage)}; this call needs at least {amount(shortage.needed, unit)}"
    )
    return f"{what} is {shortage.shortness}: {state}{_until(shortage)}."


def _over(shortage: Shortage) -> str:
    window = shortage.demand.counter.window
    if shortage.demand.counter.unit is Unit.CONCURRENT:
        return " at a time"
    if window.kind is WindowKind.ROLLING:
        return f" in any {window.length_ms / 1000:g} s"
    return "" if window.kind is WindowKind.LIFETIME else f" per {window.kind} ({window.time_zone})"


def _until(shortage: Shortage) -> str:
    if shortage.available_at is None:
        return "; nothing frees it but a higher limit"
    moment = datetime.fromtimestamp(shortage.available_at / 1000, UTC).isoformat(timespec="seconds")
    return f"; try again at {moment}" if shortage.shortness is Shortness.SPENT else "; try again in a moment"


def amount(value: int, unit: Unit) -> str:
    """An amount as a person reads it; money exact to the nano-USD, without trailing zeros beyond cents."""
    if unit is not Unit.COST:
        return f"{value:,} {_WORDS[unit]}"
    whole, nano = divmod(abs(value), 1_000_000_000)
    digits = f"{nano:09d}".rstrip("0").ljust(2, "0")
    return f"{'-' if value < 0 else ''}{whole:,}.{digits} USD"


_WORDS = {
    Unit.REQUESTS: "requests",
    Unit.INPUT_TOKENS: "input tokens",
    Unit.OUTPUT_TOKENS: "output tokens",
    Unit.TOKENS: "tokens",
    Unit.CONCURRENT: "calls",
}
