"""A ledger as one would write it down on paper: every amount with its moment, everything added up anew each time."""

from dataclasses import replace

from tollway.ledger.units import Unit, WindowKind


def amount(demand, size):
    return -(-(demand.base + demand.rate * size) // 1000)


def counts(counter, taken_at, moment):
    """Whether what was taken at `taken_at` counts at `moment`. Days are UTC."""
    if counter.window.kind is WindowKind.ROLLING:
        width = -(-counter.window.length_ms // 60)
        return taken_at // width * width + width > moment - counter.window.length_ms
    return counter.window.kind is not WindowKind.DAY or taken_at // 86_400_000 == moment // 86_400_000


class Hold:
    def __init__(self, facts, demands, size, now, deadline):
        self.facts, self.size, self.granted, self.deadline = facts, size, now, deadline
        self.took = {d.counter: (d, [[now, amount(d, size)]]) for d in demands}
        self.source, self.charged = None, {}

    def standing(self, counter):
        """[(moment, amount)] of one counter, as they stand now. Only a rolling one tells a call's moments apart."""
        takings, rest = self.took[counter][1] if counter in self.took else [], self.charged.get(counter, 0)
        for n, (at, most) in enumerate(takings):
            stands = most if self.source is None else rest if n == len(takings) - 1 else min(most, rest)
            yield at if counter.window.kind is WindowKind.ROLLING else self.granted, stands
            rest -= stands


class Model:
    def __init__(self):
        self.holds, self.limits = {}, {}

    def use(self, counter, moment, own=None):
        """(used, held) that count at `moment`; what `own` holds is as good as used."""
        sums = [0, 0]
        for hold in self.holds.values():
            sums[hold.source is None and hold is not own] += sum(
                n for at, n in hold.standing(counter) if counts(counter, at, moment)
            )
        return tuple(sums)

    def end(self, hold, source, charged):
        hold.source = source
        hold.charged = {c: 0 if c.unit is Unit.CONCURRENT else charged(c, hold) for c in hold.took}

    def reshape(self, line, counter_of, limit, moment):
        """A limit is counted another way: all that counts of what it counted is on `counter_of` its call as well."""
        for hold in self.holds.values():
            old, new = next((c for c in hold.took if c.line == line), None), counter_of(hold.facts)
            past = new.window.kind is WindowKind.DAY and not counts(new, hold.granted, moment)
            if old and new not in hold.took and not past:
                demand, takings = hold.took[old]
                hold.took[new] = replace(demand, counter=new), [[*taking] for taking in takings]
                hold.charged[new], self.limits[new] = hold.charged.get(old, 0), limit
