"""Calls that are short only by what open holds have, and wait a moment for one to end.

Settlement follows an answer by milliseconds. A caller that calls again at once would be refused by its own last hold;
so such a call tries again whenever something was given back, in the order in which they came, until its time is up. It
takes no thread and nobody else's turn; what bounds the room is the work of trying again.
"""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from tollway.ledger.port import Short, Shortage

WAIT_MS: Final = 250
SEATS: Final = 128

T = TypeVar("T")


class WaitingRoom(Generic[T]):
    """Those who wait, first come first served. Times in milliseconds."""

    def __init__(self, seats: int = SEATS) -> None:
        self._seats = seats
        self._waiting: list[tuple[int, T]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, who: T, now: int) -> bool:
        """Wait from `now` on; False if there is no seat."""
        if len(self._waiting) >= self._seats:
            return False
        self._waiting.append((now + WAIT_MS, who))
        return True

    def try_again(
        self, now: int, is_done: Callable[[T], bool], turn_away: Callable[[T], None], *, everybody: bool
    ) -> None:
        """Let `everybody` try, or only those whose time is up: whoever is not done by then is turned away."""
        still: list[tuple[int, T]] = []
        for until, who in self._waiting:
            is_last = now >= until
            if (everybody or is_last) and is_done(who):
                continue
            if is_last:
                turn_away(who)
            else:
                still.append((until, who))
        self._waiting = still


def may_end_soon(short: Short) -> bool:
    """Whether the end of open holds alone could let the call go."""
    return all(_only_held(shortage) for shortage in short.shortages)


def _only_held(shortage: Shortage) -> bool:
    return shortage.needed <= shortage.demand.limit - shortage.used
