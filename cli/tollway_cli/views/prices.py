"""`tollway prices`: the price in force of a model, where it is from, and of which day. Needs no running instance."""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from tollway.pricing.data import default_book
from tollway.pricing.table import PriceBook, PricedModel, Rates
from tollway.resources.models import ProviderType
from tollway_cli.failures import AnswerIsNo
from tollway_cli.views.output import Column, Form, show, table

COLUMNS: Final = (
    Column("PROVIDER TYPE"),
    Column("MODEL"),
    Column("INPUT ABOVE", right=True),
    Column("TIER"),
    *(Column(name, right=True) for name in ("INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT")),
    Column("MAX OUTPUT", right=True),
    Column("SOURCE"),
    Column("DATE"),
)
_PICO_PER_MILLION: Final = 1_000_000
"""Pico-USD per token to micro-USD per million tokens."""


def show_prices(model: str | None, form: Form, now: int) -> None:
    """All models, or one (as every provider type prices it). Raises `AnswerIsNo` for one without a price."""
    book = default_book()
    found = list(_found(book, model, now))
    if not found:
        raise AnswerIsNo(
            f"no price is known for {model}, so its calls are refused. State one in the AIProvider (spec.prices), "
            "or map it to a priced model (spec.models)"
        )
    answer = {"date": book.date, "digest": book.digest, "models": [_as_json(*one) for one in found]}
    show(answer, form, lambda: [table(COLUMNS, _rows(found)), f"USD per million tokens; the table is of {book.date}"])


def _found(book: PriceBook, model: str | None, now: int) -> Iterator[tuple[str, PricedModel]]:
    for kind in ProviderType:
        for name in book.names(kind.value) if model is None else (model,):
            if (priced := book.find(kind.value, name, now)) is not None:
                yield kind.value, priced


def _steps(priced: PricedModel) -> Iterator[tuple[str, int, Rates]]:
    """(tier, from how many tokens of input, rates); the standard tier is ""."""
    for tier, steps in (("", priced.row.steps), *sorted(priced.row.service_tiers.items())):
        for step in steps:
            yield tier, step.above, step.rates


def _as_json(kind: str, priced: PricedModel) -> dict[str, object]:
    """Prices as exact decimal strings, USD per million tokens."""
    return {
        "provider_type": kind,
        "model": priced.row.model,
        "source": priced.row.source,
        "date": priced.row.date,
        "max_output_tokens": priced.limits.max_output_tokens,
        "context_tokens": priced.limits.context_tokens,
        "hidden_output": priced.limits.hidden_output,
        "prices": [
            {
                "tier": tier,
                "input_above": above,
                **{name: per_million(rate) for name, rate in msgspec.structs.asdict(rates).items()},
            }
            for tier, above, rates in _steps(priced)
        ],
    }


def _rows(found: Iterable[tuple[str, PricedModel]]) -> Iterator[tuple[str, ...]]:
    for kind, priced in found:
        for tier, above, rates in _steps(priced):
            prices = (rates.input, rates.cache_read, rates.cache_write_5m, rates.output)
            most = priced.limits.max_output_tokens
            yield (
                kind,
                priced.row.model,
                f"{above:,}" if above else "",
                tier,
                *map(per_million, prices),
                "" if most is None else f"{most:,}",
                priced.row.source,
                priced.row.date,
            )


def per_million(pico: int) -> str:
    """Pico-USD per token as USD per million tokens, exact: 100_000 is "0.10"."""
    whole, rest = divmod(pico, _PICO_PER_MILLION)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"
