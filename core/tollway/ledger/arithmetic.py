"""How much a call gets: the arithmetic of elastic holds. Integers only, values in and values out.

A worst case that is small against what is left is held whole. Else the call gets a part of what is left, so that
one call's worst case never shuts out the others, but at least a useful answer. Where even that does not fit, the call
is short, and every limit that is short says why and until when.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from tollway.ledger import windows
from tollway.ledger.port import Counter, Demand, Policy, Shortage, Shortness, Sizes
from tollway.ledger.units import Unit, Window, WindowKind
from tollway.values import value

RETRY_MS: Final = 1_000
"""When a call that is short by open holds should try again: when they end is unknown, but soon."""


class Use(NamedTuple):
    """What counts at a moment in one counter, summed over its counting buckets."""

    used: int
    held: int


class BucketUse(NamedTuple):
    """What stands in one bucket."""

    bucket: int
    used: int
    held: int


def window_of(counter: Counter) -> Window | None:
    """The window that `counter` counts over; None for calls in flight, whatever the counter says."""
    return None if counter.unit is Unit.CONCURRENT else counter.window


@value(frozen=True, slots=True)
class Line:
    """One demand against what counts in its counter.

    An extension counts where its call was admitted: no reset of a calendar window helps it. What its hold has already
    is `taken`, and stands in `use` as used: a call is not kept waiting for itself.
    """

    demand: Demand
    use: Use
    taken: int = 0
    extends: bool = False

    @property
    def window(self) -> Window | None:
        return window_of(self.demand.counter)

    @property
    def left(self) -> int:
        """What may still be taken. Never negative, so that a demand for nothing fits even into an overspent limit."""
        return max(0, self.demand.limit - self.use.used - self.use.held)

    def fits(self, size: int, part: int = 1) -> bool:
        """Whether `size` takes at most 1/`part` of what is left."""
        return self.demand.at(size) - self.taken <= self.left // part

    def largest(self, part: int) -> int:
        """The largest size that takes at most 1/`part` of what is left; may be negative. Needs a rate."""
        return (1000 * (self.taken + self.left // part) - self.demand.base) // self.demand.rate

    def least(self, sizes: Sizes) -> int:
        """The size that must fit for the call to be admitted."""
        return sizes.most if self.demand.rigid else sizes.useful


def granted_size(lines: Sequence[Line], sizes: Sizes, policy: Policy) -> int | None:
    """The size at which all of `lines` may be granted, or None: at least one is short (see `short_lines`)."""
    enforced = [line for line in lines if not line.demand.shadow]
    if all(line.fits(sizes.most, policy.small if line.demand.rate else 1) for line in enforced):
        return sizes.most
    if not all(line.fits(line.least(sizes)) for line in enforced):
        return None
    shares = (line.largest(policy.share) for line in enforced if line.demand.rate and not line.demand.rigid)
    return min(sizes.most, max(sizes.useful, min(shares, default=sizes.most)))


def short_lines(lines: Iterable[Line], sizes: Sizes) -> list[Line]:
    """Every enforced line that the least admissible size does not fit into."""
    return [line for line in lines if not line.demand.shadow and not line.fits(line.least(sizes))]


def shortage(line: Line, sizes: Sizes, now: int, policy: Policy, buckets: Sequence[BucketUse]) -> Shortage:
    """Why `line` is short. `buckets` are the counting buckets of a rolling counter in order; no others are needed."""
    needed = line.demand.at(line.least(sizes)) - line.taken
    shortness, available_at = _outlook(line, needed, now, policy, buckets)
    return Shortage(line.demand, needed, line.use.used, line.use.held, shortness, available_at)


def _outlook(
    line: Line, needed: int, now: int, policy: Policy, buckets: Sequence[BucketUse]
) -> tuple[Shortness, int | None]:
    room = line.demand.limit - needed
    retry = now + RETRY_MS
    if line.use.used <= room:
        counts_until = _fits_from(line, room, [each.used + each.held for each in buckets], now, buckets)
        return Shortness.HELD, min(retry, counts_until or retry)
    frees = _fits_from(line, room, [each.used for each in buckets], now, buckets)
    soon = frees is not None and frees <= now + policy.soon_ms
    rolls = line.window is not None and line.window.kind is WindowKind.ROLLING
    return Shortness.HELD if rolls and soon else Shortness.SPENT, frees


def _fits_from(line: Line, room: int, amounts: Sequence[int], now: int, buckets: Sequence[BucketUse]) -> int | None:
    """The moment from which at most `room` of `amounts` (one for each bucket) still counts; None: that never comes."""
    if room < 0 or line.window is None:
        return None
    if line.window.kind is not WindowKind.ROLLING:
        return None if line.extends else windows.resets_at(line.window, now)
    excess = sum(amounts) - room
    leaves = zip(buckets, accumulate(amounts), strict=True)
    return next((windows.leaves_at(line.window, each.bucket) for each, gone in leaves if gone >= excess), None)
