"""How values look in columns, and back. What only the ledger reads (claims, entries, checks) is compact JSON."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec

from tollway.ledger.holds import Claim, Lot, Record
from tollway.ledger.port import CallFacts, Counter, Demand, Entry, Hold, JournalRow, RowKind, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind

Value: TypeAlias = str | int | None
CounterOf: TypeAlias = Callable[[int], Counter]

AMOUNT_COLUMNS: Final = tuple(each.name for each in fields(Amounts))
JOURNAL_COLUMNS: Final = (
    *("at", "kind", "call_id", "entries", "size", "source"),
    *AMOUNT_COLUMNS,
    *("reason", "message", "previous_hash"),
    "facts",
)
_HOLD_COLUMNS: Final = ("hold_id", "size", "deadline", "claims", "source", *AMOUNT_COLUMNS)
HOLD_SELECT: Final = (
    f"SELECT {', '.join(f'h.{each}' for each in _HOLD_COLUMNS)}, j.at, j.facts "  # noqa: S608 - constants
    "FROM holds h JOIN journal j ON j.seq = h.granted"
)
"""The columns that `record_from` takes."""

_amounts = attrgetter(*AMOUNT_COLUMNS)
_changes = attrgetter("bucket", "held", "used", "limit")


class ClaimJSON(msgspec.Struct, array_like=True, gc=False):
    counter: int
    limit: int
    base: int
    rate: int
    shadow: bool
    charged: int
    lots: tuple[Lot, ...]


class EntryJSON(msgspec.Struct, array_like=True, gc=False):
    counter: int
    bucket: int
    held: int
    used: int
    limit: int


_encoder: Final = msgspec.json.Encoder()
_decode_claims: Final = msgspec.json.Decoder(list[ClaimJSON]).decode
_decode_entries: Final = msgspec.json.Decoder(list[EntryJSON]).decode
_decode_facts: Final = msgspec.json.Decoder(CallFacts).decode
_decode_pairs: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


def json_text(value: object) -> str:
    return _encoder.encode(value).decode()


def limit_columns(counter: Counter) -> tuple[Value, ...]:
    """Line and shape; of what it is separated by, the names, not the values."""
    window, separated_by = counter.shape
    return (*counter.line, window.kind.value, window.length_ms, window.time_zone, json_text(separated_by))


def counter_from(columns: Sequence[Value]) -> Counter:
    namespace, quota, name, unit, kind, length_ms, time_zone, per = columns
    window = Window(WindowKind(_text(kind)), _int(length_ms), _text(time_zone))
    per_values = _decode_pairs(_text(per))
    return Counter(_text(namespace), _text(quota), _text(name), Unit(_text(unit)), window, per_values)


def amount_columns(amounts: Amounts | None) -> tuple[Value, ...]:
    return _NO_AMOUNTS if amounts is None else _amounts(amounts)


def journal_columns(row: JournalRow, counter_ids: Sequence[int]) -> tuple[Value, ...]:
    """`counter_ids` are those of the row's entries."""
    entries = [(counter, *each) for counter, each in zip(counter_ids, map(_changes, row.entries), strict=True)]
    return (
        *(row.at, row.kind.value, row.call_id, json_text(entries), row.size, row.source),
        *amount_columns(row.amounts),
        *(row.reason, row.message, row.previous_hash),
        None if row.facts is None else json_text(row.facts),
    )


def row_from(columns: Sequence[Value], of: CounterOf) -> JournalRow:
    """A row from `seq` and JOURNAL_COLUMNS."""
    seq, at, kind, call_id, entries, size, source, *rest = columns
    amounts, (reason, message, previous_hash), facts = rest[:4], rest[4:7], rest[7]
    return JournalRow(
        _int(seq),
        _int(at),
        RowKind(_text(kind)),
        _text(call_id),
        entries_from(entries, of),
        None if facts is None else _decode_facts(_text(facts)),
        _int(size),
        _amounts_from(amounts),
        None if source is None else Source(_int(source)),
        _text(reason),
        _text(message),
        _text(previous_hash),
    )


def entries_from(entries: Value, of: CounterOf) -> tuple[Entry, ...]:
    decoded = _decode_entries(_text(entries))
    return tuple(Entry(of(each.counter), each.bucket, each.held, each.used, each.limit) for each in decoded)


def claims_column(record: Record, counter_ids: Sequence[int]) -> str:
    """`counter_ids` are those of the record's claims."""
    return json_text([_claim_json(*each) for each in zip(record.claims, counter_ids, strict=True)])


def record_from(columns: Sequence[Value], of: CounterOf) -> Record:
    """A record from the columns of HOLD_SELECT."""
    claims = tuple(_claim_from(each, of) for each in _decode_claims(_text(columns[3])))
    return Record(hold_from(columns), claims)


def hold_from(columns: Sequence[Value]) -> Hold:
    hold_id, size, deadline, _, source, *rest = columns
    amounts, (granted_at, facts) = rest[:4], rest[4:]
    return Hold(
        _text(hold_id),
        _decode_facts(_text(facts)),
        _int(size),
        _int(deadline),
        _int(granted_at),
        None if source is None else Source(_int(source)),
        _amounts_from(amounts),
    )


def _claim_json(claim: Claim, counter_id: int) -> tuple[object, ...]:
    """As `ClaimJSON` reads it."""
    demand = claim.demand
    return counter_id, demand.limit, demand.base, demand.rate, demand.shadow, claim.charged, claim.lots


def _claim_from(claim: ClaimJSON, of: CounterOf) -> Claim:
    demand = Demand(of(claim.counter), claim.limit, claim.base, claim.rate, shadow=claim.shadow)
    return Claim(demand, claim.lots, claim.charged)


def _amounts_from(columns: Sequence[Value]) -> Amounts | None:
    return None if columns[0] is None else Amounts(*(_int(each) for each in columns))


_NO_AMOUNTS: Final[tuple[Value, ...]] = (None,) * len(AMOUNT_COLUMNS)


# The tables are STRICT, so that a column's type is what the schema says; these tell the type checker.
def _int(value: Value) -> int:
    assert isinstance(value, int)  # noqa: S101
    return value


def _text(value: Value) -> str:
    assert isinstance(value, str)  # noqa: S101
    return value
