"""A ledger as one would write it down on paper: every amount with its moment, everything added up anew each time."""

from fractions import Fraction
from math import ceil

from tollway.ledger.units import Unit, WindowKind

DAY = 86_400_000


def amount(demand, size):
    return ceil(Fraction(demand.base + demand.rate * size, 1000))


def counts(counter, taken_at, moment):
    """Whether what was taken at `taken_at` counts at `moment`. Days are UTC."""
    match counter.window.kind:
        case WindowKind.ROLLING:
            width = ceil(Fraction(counter.window.length_ms, 60))
            return taken_at // width * width + width > moment - counter.window.length_ms
        case WindowKind.DAY:
            return taken_at // DAY == moment // DAY
    return True


class Hold:
    def __init__(self, demands, size, now, deadline):
        self.size, self.deadline, self.source = size, deadline, None
        self.took = {d.counter: (d, [[now, amount(d, size)]]) for d in demands}
        self.charged = {}

    def standing(self, counter):
        """[(moment, amount)] of one counter, as they stand now."""
        takings = self.took[counter][1] if counter in self.took else []
        if self.source is None:
            return takings
        rest, filled = self.charged.get(counter, 0), []
        for n, (at, most) in enumerate(takings):
            filled.append([at, rest if n == len(takings) - 1 else min(most, rest)])
            rest -= filled[-1][1]
        return filled


class Model:
    def __init__(self):
        self.holds, self.limits = {}, {}

    def use(self, counter, moment, own=None):
        """(used, held) that count at `moment`; what `own` holds is as good as used."""
        sums = [0, 0]
        for hold in self.holds.values():
            still_held = hold.source is None and hold is not own
            sums[still_held] += sum(n for at, n in hold.standing(counter) if counts(counter, at, moment))
        return tuple(sums)

    def end(self, hold, source, charged):
        hold.source = source
        hold.charged = {c: 0 if c.unit is Unit.CONCURRENT else charged(c, hold) for c in hold.took}
