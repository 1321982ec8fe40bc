"""What the gateway says of itself, for status: which configuration it runs, and what was counted.

The seam to the data plane: the reconciler asks a `ReportSource` now and then, and status follows what it says.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Counted:
    """One counter of a quota's limit. Amounts are decimal strings in the limit's unit (cost in USD)."""

    namespace: str
    quota: str
    limit: str
    key: str
    """Whose it is, by the values of `per`; empty where all share it."""
    amount: str
    used: str
    held: str
    fraction: float
    """Used and held, of the amount: 1 and more is spent."""
    resets_at: int | None


@dataclass(frozen=True, slots=True)
class Report:
    """`providers` is None where no gateway has said anything yet; else those that every replica runs."""

    providers: frozenset[str] | None = None
    counted: tuple[Counted, ...] = ()


class ReportSource(Protocol):
    async def ask(self) -> Report:
        """Never raises for a gateway that does not answer: then it is the last report, or an empty one."""
        ...


class Silence:
    """Where there is no gateway to ask."""

    async def ask(self) -> Report:
        return Report()
