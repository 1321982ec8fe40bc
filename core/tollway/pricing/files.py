"""The format of the two price files, and how a `PriceBook` is made of them.

`prices.json` holds price rows, `model_limits.json` every name that a model is called by, its row and its sizes. Both
are written by `tools/generate_prices.py`, one entry a line, and carry a digest of their entries.
"""

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Literal, TypeVar

import msgspec

from tollway.pricing.table import (
    Count,
    Dated,
    ModelLimits,
    PriceBook,
    PricedModel,
    PriceRow,
    Step,
    Steps,
    complete_rates,
)

T = TypeVar("T")
Price = Count | None
Day = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}$")]
_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1)


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    pass


class StepLine(_Line, frozen=True):
    """What the source states for calls with more than `above` tokens of input, in pico-USD per token."""

    input: Count
    output: Count
    cache_read: Price = None
    cache_write_5m: Price = None
    cache_write_1h: Price = None
    audio_input: Price = None
    audio_output: Price = None
    above: Count = 0


class RowLine(_Line, frozen=True):
    """A model's prices from day `since` on (empty: as far back as the book goes). `id` is the source's."""

    id: str
    steps: tuple[StepLine, ...]
    tiers: dict[str, tuple[StepLine, ...]] = {}
    since: Day | Literal[""] = ""


class NameLine(_Line, frozen=True):
    """A name that providers of `type` know, the row it is priced by, and its sizes in tokens."""

    type: str
    name: str
    row: str
    context: Count | None = None
    max_output: Count | None = None
    hidden: bool = False


class PricesFile(_Line, frozen=True):
    source: str
    date: Day
    digest: str
    rows: tuple[RowLine, ...]


class LimitsFile(_Line, frozen=True):
    source: str
    date: Day
    digest: str
    wheel: str
    wheel_sha256: str
    names: tuple[NameLine, ...]


class PriceDataError(ValueError):
    """A price file is not what the generator wrote. Mended by writing it again."""


def digest_of(entries: Sequence[_Line]) -> str:
    """The digest that a file carries about its entries."""
    return "sha256:" + hashlib.sha256(msgspec.json.encode(entries)).hexdigest()


def parse_prices(data: bytes) -> PricesFile:
    """Raises `PriceDataError`."""
    file = _decode(data, PricesFile)
    _verify("prices", file.digest, file.rows)
    return file


def parse_limits(data: bytes) -> LimitsFile:
    """Raises `PriceDataError`."""
    file = _decode(data, LimitsFile)
    _verify("model limits", file.digest, file.names)
    return file


def parse_book(prices: bytes, limits: bytes) -> PriceBook:
    """The book of both files. Raises `PriceDataError`."""
    priced, named = parse_prices(prices), parse_limits(limits)
    rows = _rows(priced)
    models: defaultdict[str, dict[str, Sequence[Dated]]] = defaultdict(dict)
    for line in named.names:
        models[line.type][line.name] = _named(line, rows)
    digest = hashlib.sha256(f"{priced.digest} {named.digest}".encode()).hexdigest()
    return PriceBook(max(priced.date, named.date), f"sha256:{digest}", models)


def _rows(file: PricesFile) -> Mapping[str, Sequence[tuple[int, PriceRow]]]:
    rows: defaultdict[str, list[tuple[int, PriceRow]]] = defaultdict(list)
    for line in file.rows:
        rows[line.id].append((_milliseconds(line.since), _row(line, file)))
    return {name: sorted(dated, key=lambda each: each[0]) for name, dated in rows.items()}


def _row(line: RowLine, file: PricesFile) -> PriceRow:
    model = line.id.partition("/")[2]
    tiers = {tier: _steps(model, steps) for tier, steps in line.tiers.items()}
    try:
        return PriceRow(model, file.source, line.since or file.date, _steps(model, line.steps), tiers)
    except ValueError as problem:
        raise PriceDataError(f"row {line.id!r} of the prices file: {problem}") from problem


def _steps(model: str, lines: Sequence[StepLine]) -> Steps:
    return tuple(
        Step(
            line.above,
            complete_rates(
                model,
                input=line.input,
                output=line.output,
                cache_read=line.cache_read,
                cache_write_5m=line.cache_write_5m,
                cache_write_1h=line.cache_write_1h,
                audio_input=line.audio_input,
                audio_output=line.audio_output,
            ),
        )
        for line in lines
    )


def _named(line: NameLine, rows: Mapping[str, Sequence[tuple[int, PriceRow]]]) -> Sequence[Dated]:
    if line.row not in rows:
        raise PriceDataError(f"the model {line.name!r} names the price row {line.row!r}, which does not exist")
    limits = ModelLimits(line.context, line.max_output, line.hidden)
    return tuple(Dated(since, PricedModel(row, limits)) for since, row in rows[line.row])


def _milliseconds(day: str) -> int:
    return (date.fromisoformat(day) - _EPOCH).days * _DAY_MS if day else 0


def _decode(data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.DecodeError as problem:
        raise PriceDataError(f"not a {kind.__name__} as the generator writes it: {problem}") from problem


def _verify(name: str, stated: str, entries: Sequence[_Line]) -> None:
    found = digest_of(entries)
    if found != stated:
        raise PriceDataError(f"the {name} file says its digest is {stated}, but it is {found}: generate it again")
