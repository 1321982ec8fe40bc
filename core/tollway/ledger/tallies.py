"""What counts on each counter now, as one small object that a store keeps from call to call.

Nearly every call finds all its limits as they were, and takes its worst case whole because that is little of what is
left. For those, `taken_whole` says in one go what `arithmetic` would; all others go the long way there.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import Final

from tollway.ledger import windows
from tollway.ledger.arithmetic import Use, window_of
from tollway.ledger.holds import MAX_AMOUNT
from tollway.ledger.port import Counter, Demand
from tollway.ledger.units import WindowKind

INT64: Final = 2**63 - 1


class Tally:
    """What counts on `counter` at each moment from `since` until before `until`; a store's own, and it may change.

    Of a rolling counter `parts` has (used, held) of each bucket, so that it rolls on by itself.

    `line` is equal for the counters of one limit. `limit` is the amount last seen in force; `in_force`: the limit is
    counted like this now. `key` is the store's own name for the counter, `generation` when it knew all this.
    """

    __slots__ = (
        "bucket", "counter", "first", "generation", "held", "in_force", "key", "limit", "line", "parts", "since",
        "unit", "until", "used", "window",
    )  # fmt: skip

    def __init__(self, counter: Counter, key: int, line: Hashable) -> None:
        self.counter = counter
        self.key = key
        self.line = line
        self.unit = counter.unit.place
        self.window = window_of(counter)
        self.limit = self.used = self.held = self.first = self.bucket = self.since = self.until = 0
        self.generation = 0
        self.in_force = False
        rolls = self.window is not None and self.window.kind is WindowKind.ROLLING
        self.parts: dict[int, list[int]] | None = {} if rolls else None

    @property
    def use(self) -> Use:
        return Use(self.used, self.held)

    def turn_to(self, now: int) -> tuple[int, int]:
        """The first and the last bucket that count at `now`, which from now on are the tally's."""
        self.first, self.bucket, self.since, self.until = windows.steady(self.window, now)
        return self.first, self.bucket

    def fill(self, parts: Iterable[tuple[int, int, int]]) -> None:
        """Have nothing but these buckets (bucket, used, held), which are all that count."""
        if self.parts is not None:
            self.parts.clear()
        self.used = self.held = 0
        for bucket, used, held in parts:
            self.add(bucket, held, used)

    def add(self, bucket: int, held: int, used: int) -> None:
        """Something changed in `bucket`; what counts no longer is passed over."""
        if bucket < self.first:
            return
        self.held += held
        self.used += used
        if self.parts is not None:
            part = self.parts.get(bucket)
            if part is None:
                self.parts[bucket] = [used, held]
            else:
                part[0] += used
                part[1] += held

    def stands_at(self, now: int) -> bool:
        """Whether it says what counts at `now`; a rolling one goes on to there."""
        return self.since <= now < self.until or self.roll_on(now)

    def roll_on(self, now: int) -> bool:
        """Go on to a later moment; False where what counts then is not known here."""
        if self.parts is None or now < self.since:
            return False
        first, _ = self.turn_to(now)
        for bucket in [each for each in self.parts if each < first]:
            used, held = self.parts.pop(bucket)
            self.used -= used
            self.held -= held
        return True


def taken_whole(demands: Sequence[Demand], tallies: Sequence[Tally], size: int, small: int) -> list[int] | None:
    """What `demands` take at `size`, the most they may, if each is at most 1/`small` of what is left.

    None where that is not so, or where a demand is none that could be counted exactly.
    """
    amounts = []
    for demand, tally in zip(demands, tallies, strict=True):
        base, rate = demand.base, demand.rate
        amount = -(-(base + rate * size) // 1000)
        if base < 0 or not 0 <= rate <= INT64 or amount > MAX_AMOUNT:
            return None
        if not demand.shadow:
            left = demand.limit - tally.used - tally.held
            # Never negative: a demand for nothing fits even into an overspent limit.
            if amount and amount > (left // small if rate else left):
                return None
        amounts.append(amount)
    return amounts
