"""What is counted (`Unit`), over which time (`Window`), and how much of each a call consumed (`Amounts`)."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tollway.values import value


class Unit(StrEnum):
    """What one limit counts. The value is the name of the limit's field in an AIQuota."""

    REQUESTS = "requests"
    INPUT_TOKENS = "inputTokens"
    OUTPUT_TOKENS = "outputTokens"
    TOKENS = "tokens"
    COST = "cost"
    """Integer nano-USD."""
    CONCURRENT = "concurrent"
    """Calls in flight: has no window, and nothing of it stays when the call ends."""

    @property
    def place(self) -> int:
        """Where `Amounts.by_unit` has it."""
        return _PLACES[self]


class WindowKind(StrEnum):
    ROLLING = "Rolling"
    DAY = "Day"
    WEEK = "Week"
    MONTH = "Month"
    YEAR = "Year"
    LIFETIME = "Lifetime"


_PLACES: Final = {unit: place for place, unit in enumerate(Unit)}


@dataclass(frozen=True, slots=True)
class Window:
    """Over which time a limit counts.

    `length_ms` is set for rolling windows only, `time_zone` (an IANA name) matters for calendar windows only.
    """

    kind: WindowKind
    length_ms: int = 0
    time_zone: str = "UTC"


LIFETIME: Final = Window(WindowKind.LIFETIME)


@value(frozen=True, slots=True)
class Amounts:
    """What a call consumed, or may consume at most, in every unit. Cost in nano-USD."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0

    def of(self, unit: Unit) -> int:
        """The amount in `unit`. A call that ended occupies no slot, so `CONCURRENT` is always 0."""
        return self.by_unit()[unit.place]

    def by_unit(self) -> tuple[int, int, int, int, int, int]:
        """The amount in each unit, in their order."""
        tokens = self.input_tokens + self.output_tokens
        return self.requests, self.input_tokens, self.output_tokens, tokens, self.cost, 0
