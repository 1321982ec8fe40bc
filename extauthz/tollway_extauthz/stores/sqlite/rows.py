"""How values look in columns, and back. What only the ledger reads (claims, entries, checks) is compact JSON."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from operator import attrgetter
from typing import Final, TypeAlias

import msgspec

from tollway.ledger.holds import Claim, Lot, Record
from tollway.ledger.port import CallFacts, Counter, Demand, Entry, Hold, JournalRow, RowKind, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind

Value: TypeAlias = str | int | bytes | None
CounterOf: TypeAlias = Callable[[int], Counter]

AMOUNT_COLUMNS: Final = tuple(each.name for each in fields(Amounts))
ROW_COLUMNS: Final = (
    *("seq", "at", "kind", "call_id", "entries", "size", "source"),
    *AMOUNT_COLUMNS,
    *("facts", "input_ceiling", "checks", "reason", "message"),
)
"""What is written of a row; the rest has its default."""
_COLUMNS: Final = (*ROW_COLUMNS[: ROW_COLUMNS.index("facts")], "reason", "message", "previous_hash")
_FACTS: Final = "f.content, {0}.input_ceiling, {0}.checks"
ROW_SELECT: Final = (
    f"SELECT {', '.join(f'j.{each}' for each in _COLUMNS)}, {_FACTS.format('j')} "  # noqa: S608 - constants
    "FROM journal j LEFT JOIN facts f ON f.id = j.facts"
)
"""The columns that `row_from` takes."""
HOLD_SELECT: Final = (
    "SELECT h.hold_id, h.size, h.deadline, g.at, h.claims, g.entries, e.source, "  # noqa: S608 - constants
    f"{', '.join(f'e.{each}' for each in AMOUNT_COLUMNS)}, {_FACTS.format('g')} "
    "FROM holds h CROSS JOIN journal g ON g.seq = h.granted CROSS JOIN facts f ON f.id = g.facts "
    "LEFT JOIN journal e ON e.seq = h.ended"
)
"""The columns that `record_from` takes."""
UNALTERED_SELECT: Final = (
    f"SELECT h.granted, h.size, h.deadline, g.at, g.entries, {_FACTS.format('g')} "  # noqa: S608 - constants
    "FROM holds h CROSS JOIN journal g ON g.seq = h.granted CROSS JOIN facts f ON f.id = g.facts "
    "WHERE h.hold_id = ? AND h.ended IS NULL AND h.claims IS NULL"
)
"""Of a hold that is open and as it was granted."""

_amounts = attrgetter(*AMOUNT_COLUMNS)
_OWN: Final = ("input_ceiling", "checks")
_SHARED: Final = tuple(each.name for each in fields(CallFacts) if each.name not in _OWN)
shared_facts: Final = attrgetter(*_SHARED)
"""What many calls have in common of their facts, in the order in which `content_of` takes it."""


class ClaimJSON(msgspec.Struct, array_like=True, gc=False):
    counter: int
    limit: int
    base: int
    rate: int
    shadow: bool
    charged: int
    lots: tuple[Lot, ...]


class EntryJSON(msgspec.Struct, array_like=True, gc=False):
    """Of a grant also what its demand was: `base` to `shadow`."""

    counter: int
    bucket: int
    held: int
    used: int
    limit: int
    base: int = 0
    rate: int = 0
    shadow: bool = False


_encode: Final = msgspec.json.Encoder().encode
_decode_claims: Final = msgspec.json.Decoder(list[ClaimJSON]).decode
decode_entries: Final = msgspec.json.Decoder(list[EntryJSON]).decode
_decode_facts: Final = lru_cache(1024)(msgspec.json.Decoder(CallFacts).decode)
_decode_pairs: Final = msgspec.json.Decoder(tuple[tuple[str, str], ...]).decode


def json_text(value: object) -> str:
    return _encode(value).decode()


def content_of(shared: Sequence[object]) -> str:
    """The facts that calls share, as they are kept; the order of their names never changes."""
    return json_text(dict(zip(_SHARED, shared, strict=True)))


def facts_from(content: Value, input_ceiling: Value, checks: Value) -> CallFacts:
    said = () if checks is None else _decode_pairs(_text(checks))
    return replace(_decode_facts(_text(content)), input_ceiling=_int(input_ceiling), checks=said)


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


def row_from(columns: Sequence[Value], of: CounterOf) -> JournalRow:
    """A row from the columns of ROW_SELECT."""
    seq, at, kind, call_id, entries, size, source, *rest = columns
    amounts, (reason, message, previous_hash), facts = rest[:4], rest[4:7], rest[7:]
    return JournalRow(
        _int(seq),
        _int(at),
        RowKind(_text(kind)),
        _text(call_id),
        tuple(entry_from(each, of) for each in decode_entries(_text(entries))),
        None if facts[0] is None else facts_from(*facts),
        _int(size),
        _amounts_from(amounts),
        None if source is None else Source(_int(source)),
        _text(reason),
        _text(message),
        _text(previous_hash),
    )


def entry_from(entry: EntryJSON, of: CounterOf) -> Entry:
    return Entry(of(entry.counter), entry.bucket, entry.held, entry.used, entry.limit)


def claims_column(record: Record, counter_ids: Sequence[int]) -> str:
    """`counter_ids` are those of the record's claims."""
    return json_text([_claim_json(*each) for each in zip(record.claims, counter_ids, strict=True)])


def record_from(columns: Sequence[Value], of: CounterOf) -> Record:
    """A record from the columns of HOLD_SELECT."""
    hold, claims, entries = hold_from(columns), columns[4], columns[5]
    if claims is None:
        granted = decode_entries(_text(entries))
        return Record(hold, tuple(_unaltered(each, hold.amounts, of) for each in granted))
    return Record(hold, tuple(_claim_from(each, of) for each in _decode_claims(_text(claims))))


def hold_from(columns: Sequence[Value]) -> Hold:
    hold_id, size, deadline, granted_at, _, _, source, *rest = columns
    amounts, facts = rest[:4], rest[4:]
    return Hold(
        _text(hold_id),
        facts_from(*facts),
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


def _unaltered(entry: EntryJSON, amounts: Amounts | None, of: CounterOf) -> Claim:
    """A claim that nothing changed but, perhaps, its settlement with `amounts`."""
    counter = of(entry.counter)
    demand = Demand(counter, entry.limit, entry.base, entry.rate, shadow=entry.shadow)
    return Claim(demand, (Lot(entry.bucket, entry.held),), 0 if amounts is None else amounts.of(counter.unit))


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
