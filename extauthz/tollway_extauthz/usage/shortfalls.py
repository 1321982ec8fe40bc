"""For which counters calls were refused as spent, and how little would have been enough.

That a limit is spent cannot be read from its counter: nobody is ever granted the last tokens of a budget that no useful
answer fits into. What a refused call needed at least is the measure.
"""

from collections import OrderedDict
from typing import Final

from tollway.ledger.port import Counter, Short, Shortness

MOST_REMEMBERED: Final = 20_000
Place = tuple[str, str, str, str, tuple[tuple[str, str], ...]]


class Shortfalls:
    """Written by the thread that decides, read by another: each operation on the dictionary is one step for both."""

    def __init__(self) -> None:
        self._needed: OrderedDict[Place, int] = OrderedDict()

    def note(self, short: Short) -> None:
        """A call was refused. One that would not fit into the whole amount says nothing of what is left."""
        for shortage in short.shortages:
            if shortage.shortness is Shortness.SPENT and shortage.needed <= shortage.demand.limit:
                self._keep(_place(shortage.demand.counter, shortage.demand.counter.per), shortage.needed)

    def leaves_none(self, limit: Counter, per: tuple[tuple[str, str], ...], used: int, amount: int) -> bool:
        """Whether so much is used that the smallest call that was refused would be refused again."""
        return used + self._needed.get(_place(limit, per), 0) > amount or used >= amount

    def _keep(self, place: Place, needed: int) -> None:
        self._needed[place] = min(needed, self._needed.get(place, needed))
        if len(self._needed) > MOST_REMEMBERED:
            self._needed.popitem(last=False)


def _place(limit: Counter, per: tuple[tuple[str, str], ...]) -> Place:
    return (*limit.line, per)
