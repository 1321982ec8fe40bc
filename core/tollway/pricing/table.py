"""What a token costs, exactly: price rows, what a call costs by them, and the most that it can cost.

Prices are integers in pico-USD per token (0.15 USD per million tokens is 150_000): published prices are exact in it.
Costs are integers in nano-USD, rounded up once per call. Rows come from the book (`files`, `data`) or from an
AIProvider's overrides, and travel with each call as JSON, so that it settles at the row it was admitted with.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Annotated, Final, NamedTuple

import msgspec

from tollway.pricing.usage import CacheWrites, Usage

Count = Annotated[int, msgspec.Meta(ge=0)]

# Providers' words for the price list itself. "auto" is not among them: it lets the provider choose.
_STANDARD: Final = frozenset({"", "default", "standard"})
_LONGEST_NAME: Final = 256
_ROWS: Final = 256
"""So many rows are kept as they were read: every call that ends asks for its own, and calls have few."""
_DATE_AT_END: Final = re.compile(r"(?<=[-@])(?:(\d{4}-\d{2}-\d{2})|\d{8})$", re.ASCII)


class Rates(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Pico-USD per token of each class of `Usage`. An array in JSON: it is stored with every call."""

    input: Count
    output: Count
    cache_read: Count
    cache_write_5m: Count
    cache_write_1h: Count
    audio_input: Count
    audio_output: Count

    def total(self, usage: Usage) -> int:
        """Pico-USD of `usage`."""
        return (
            usage.input * self.input
            + usage.output * self.output
            + usage.cache_read * self.cache_read
            + usage.cache_write_5m * self.cache_write_5m
            + usage.cache_write_1h * self.cache_write_1h
            + usage.audio_input * self.audio_input
            + usage.audio_output * self.audio_output
        )

    def dearest_input(self, audio: bool, writes: CacheWrites) -> int:
        written = (0, self.cache_write_5m, self.cache_write_1h)[: writes + 1]
        text = max(self.input, self.cache_read, *written)
        return max(text, self.audio_input) if audio else text

    def dearest_output(self, audio: bool) -> int:
        return max(self.output, self.audio_output) if audio else self.output


class Step(NamedTuple):
    """Rates of a whole call whose input is longer than `above` tokens: a cliff, not a margin."""

    above: int
    rates: Rates


Steps = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Dearest:
    """The most that one token of input and one of output can cost, in pico-USD."""

    input: int
    output: int


class PriceRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The prices of one model.

    `steps` ascend from 0. `service_tiers` holds the provider's words for other price lists (batch, flex, priority…),
    each with its own steps. `source` and `date` (ISO 8601) say where the prices are from. Raises `ValueError` where
    the steps have no beginning or no order, and so does `from_json`.
    """

    model: str
    source: str
    date: str
    steps: Steps
    service_tiers: dict[str, Steps] = {}

    def __post_init__(self) -> None:
        for steps in (self.steps, *self.service_tiers.values()):
            starts = [step.above for step in steps]
            if starts[:1] != [0] or starts != sorted(set(starts)):
                raise ValueError(f"the price steps of {self.model} start above {starts}: they must ascend from 0")

    def cost(self, usage: Usage) -> int:
        """Nano-USD of `usage`, rounded up. A tier that the row does not know costs what its dearest tier does."""
        return -(-max(_total(steps, usage) for steps in self._answering(usage.tier)) // 1000)

    def dearest(self, input_bound: int, tier: str, audio: bool, writes: CacheWrites = CacheWrites.ONE_HOUR) -> Dearest:
        """The dearest prices that a call with at most `input_bound` tokens of input can meet.

        `tier` is the one that the request asks for: it, or the standard one, answers; where the row does not know it
        (and for "auto") any may. `audio`: the call may bill audio tokens, `writes`: and these writings to the cache.

        For all usage in these bounds, `cost(usage) <= ceil((input tokens * input + output tokens * output) / 1000)`.
        """
        rates = [
            step.rates
            for steps in self._reachable(tier)
            for step in steps
            if step.above == 0 or step.above < input_bound
        ]
        return Dearest(max(r.dearest_input(audio, writes) for r in rates), max(r.dearest_output(audio) for r in rates))

    def stairs(self, tier: str, audio: bool, writes: CacheWrites) -> tuple[tuple[int, Dearest], ...]:
        """`dearest` as a function of the input alone: what holds above how many tokens, ascending from 0."""
        edges = sorted({step.above for steps in self._reachable(tier) for step in steps})
        return tuple((edge, self.dearest(edge + 1, tier, audio, writes)) for edge in edges)

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    @staticmethod
    def from_json(text: str) -> "PriceRow":
        """Raises `ValueError` for anything that `to_json` did not write."""
        return _row_of(text)

    def _answering(self, tier: str) -> Iterable[Steps]:
        word = tier.lower()
        if word in _STANDARD:
            return (self.steps,)
        known = self.service_tiers.get(word)
        return (known,) if known is not None else self._all()

    def _reachable(self, tier: str) -> Iterable[Steps]:
        answering = self._answering(tier)
        return (self.steps, *answering)

    def _all(self) -> Iterable[Steps]:
        return (self.steps, *self.service_tiers.values())


@lru_cache(_ROWS)
def _row_of(text: str) -> PriceRow:
    return msgspec.json.decode(text, type=PriceRow)


def _total(steps: Steps, usage: Usage) -> int:
    length = usage.input_tokens
    for step in reversed(steps):
        if length > step.above:
            return step.rates.total(usage)
    return steps[0].rates.total(usage)


def complete_rates(
    model: str,
    *,
    input: int,  # noqa: A002 - the word of the resource field
    output: int,
    cache_read: int | None = None,
    cache_write_5m: int | None = None,
    cache_write_1h: int | None = None,
    audio_input: int | None = None,
    audio_output: int | None = None,
) -> Rates:
    """Rates with every class priced: one that the source does not state costs what a safe dearer class does.

    Claude bills cache writes at 1.25 (5 minutes) and 2 (1 hour) times its input, on every platform.
    """
    claude = "claude" in model.lower()
    write_5m = _stated(cache_write_5m, -(-input * 5 // 4) if claude else input)
    write_1h = _stated(cache_write_1h, max(2 * input if claude else input, write_5m))
    read = _stated(cache_read, input)
    return Rates(
        input=input,
        output=output,
        cache_read=read,
        cache_write_5m=write_5m,
        cache_write_1h=write_1h,
        audio_input=_stated(audio_input, max(input, read, write_5m, write_1h)),
        audio_output=_stated(audio_output, output),
    )


def _stated(price: int | None, otherwise: int) -> int:
    return otherwise if price is None else price


def override_row(
    model: str,
    input: int,  # noqa: A002 - the word of the resource field
    output: int,
    cache_read: int | None = None,
    cache_write_5m: int | None = None,
    cache_write_1h: int | None = None,
    audio_input: int | None = None,
    audio_output: int | None = None,
    *,
    source: str,
    date: str = "",
) -> PriceRow:
    """The row of an AIProvider's own prices (pico-USD per token). They hold at every length and in every tier."""
    rates = complete_rates(
        model,
        input=input,
        output=output,
        cache_read=cache_read,
        cache_write_5m=cache_write_5m,
        cache_write_1h=cache_write_1h,
        audio_input=audio_input,
        audio_output=audio_output,
    )
    return PriceRow(model, source, date, (Step(0, rates),))


@dataclass(frozen=True, slots=True)
class ModelLimits:
    """How long a model's texts can get; None: unknown. `hidden_output`: it may bill reasoning that it does not send."""

    context_tokens: int | None
    max_output_tokens: int | None
    hidden_output: bool


@dataclass(frozen=True, slots=True)
class PricedModel:
    row: PriceRow
    limits: ModelLimits


class Dated(NamedTuple):
    """A model as it is priced from a moment on (milliseconds since the epoch; 0: as far back as the book goes)."""

    since: int
    model: PricedModel


@dataclass(frozen=True, slots=True)
class PriceBook:
    """All models whose prices are known, by provider type (as in `AIProvider.spec.type`) and name.

    `date` is that of the newest source, `digest` the SHA-256 of the data. A name may end in `YYYY-MM-DD` or `YYYYMMDD`:
    it stands for every date, where the source says that a model's dated releases cost the same.
    """

    date: str
    digest: str
    _models: Mapping[str, Mapping[str, Sequence[Dated]]] = field(repr=False)

    def find(self, provider_type: str, model: str, now: int | None = None) -> PricedModel | None:
        """The model of exactly this name (in any case), or None: a price is never guessed.

        Some prices are announced to rise. With `now` (milliseconds since the epoch) the price in force then, without it
        the last one announced, which is never the cheaper.
        """
        names = self._models.get(provider_type, {})
        dated = names.get(model) or names.get(_as_listed(model))
        return _in_force(dated, now) if dated else None

    def names(self, provider_type: str) -> Sequence[str]:
        """The names that the book lists for a provider type, sorted."""
        return sorted(self._models.get(provider_type, {}))


def _as_listed(model: str) -> str:
    """`model` in lower case, the date at its end replaced by the placeholder that the book lists."""
    if len(model) > _LONGEST_NAME:
        return ""
    return _DATE_AT_END.sub(lambda date: "YYYY-MM-DD" if date[1] else "YYYYMMDD", model.lower())


def _in_force(dated: Sequence[Dated], now: int | None) -> PricedModel:
    if now is None:
        return dated[-1].model
    return next((each.model for each in reversed(dated) if each.since <= now), dated[0].model)
