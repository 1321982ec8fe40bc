"""Both stores and the model are told the same, and must say the same.

Who talks with them, and in which order, is others' (`test_stores_agree`, `test_interleavings`); what each thing said
must come to is here.
"""

import copy
import shutil
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from ledger.builders import counter, facts
from ledger.model import Hold, Model, amount
from tollway.ledger.port import (
    CallFacts,
    Counter,
    Demand,
    DuplicateHold,
    Granted,
    LedgerUnavailable,
    RowKind,
    Settlement,
    Short,
    Shortage,
    Shortness,
    Sizes,
    Source,
)
from tollway.ledger.units import LIFETIME, Amounts, Unit, Window, WindowKind
from tollway_extauthz.stores.memory import MemoryLedger
from tollway_extauthz.stores.sqlite import SQLiteLedger

EVENING = 20_000 * 86_400_000 - 5_000
SOON = 60_000
COSTS = {  # base and rate
    Unit.REQUESTS: (1000, 0),
    Unit.TOKENS: (7000, 1000),
    Unit.OUTPUT_TOKENS: (0, 1000),
    Unit.COST: (2500, 333),
    Unit.CONCURRENT: (1000, 0),
}
DAY = Window(WindowKind.DAY)
CALLERS = [
    facts(f"ns/team-a/sa/{account}", model=model) for account in ("a/agent/anna", "b/agent/bert", "c") for model in "xy"
]
ALL, EACH_AGENT, EACH_MODEL = (), ("Agent", "Namespace"), ("Model",)
# Of each limit, how it is counted at first, and how it may be counted after a change.
LIMITS = {
    "rpm": (Unit.REQUESTS, [(Window(WindowKind.ROLLING, 100), ALL)]),
    "hourly": (Unit.OUTPUT_TOKENS, [(Window(WindowKind.ROLLING, 3 * SOON), EACH_AGENT)]),
    "ever": (Unit.OUTPUT_TOKENS, [(LIFETIME, ALL)]),
    "tpm": (
        Unit.TOKENS,
        [(Window(WindowKind.ROLLING, 1_000), ALL), (DAY, ALL), (Window(WindowKind.ROLLING, 3 * SOON), EACH_AGENT)],
    ),
    "daily": (
        Unit.COST,
        [(DAY, ALL), (Window(WindowKind.ROLLING, 777), EACH_MODEL), (LIFETIME, ALL), (DAY, EACH_AGENT)],
    ),
    "parallel": (Unit.CONCURRENT, [(LIFETIME, ALL), (LIFETIME, EACH_AGENT), (LIFETIME, EACH_MODEL)]),
}


def values(per: Sequence[str], of: CallFacts) -> tuple[tuple[str, str], ...]:
    _, _, account, *agent = of.agent.removeprefix("spiffe://td/ns/").split("/")
    known = {"Agent": agent[-1] if agent else f"sa/{account}", "Namespace": "team-a", "Model": of.model}
    return tuple((each, known[each]) for each in per)


class Left(Exception):  # noqa: N818 - named for what happened
    """Somebody gave a batch up."""


def leave() -> NoReturn:
    raise Left


class FullDisk:
    """A connection on which nothing can be committed."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def execute(self, query: str) -> object:
        if query == "COMMIT":
            raise sqlite3.OperationalError("database or disk is full")
        return self._connection.execute(query)


class Conversation:
    """Every method does the same to the model and to both stores, and compares what they say."""

    def __init__(self, folder: Path, new: Path | None = None) -> None:
        self._folder = folder
        self._files = 0
        self._left_open: list[SQLiteLedger] = []
        self._others: list[SQLiteLedger] = []  # on the same file
        if new is not None:  # a copy is made faster than a ledger
            shutil.copyfile(new, self._path)
        self.sqlite = SQLiteLedger(self._path)
        self._memory = MemoryLedger()
        self._model = Model()
        self._time = EVENING  # what the clock says, which may go back
        self._now = 0  # the latest row
        self._ids = 0
        self._shapes = dict.fromkeys(LIMITS, 0)
        self._counted: dict[tuple[str, ...], tuple[object, ...]] = {}  # the shape each limit was last asked in

    def close(self) -> None:
        for each in (*self._left_open, *self._others, self.sqlite):
            each.close()

    # The clock, the process and the rules.

    def little_is_remembered(self) -> None:
        """By the process that goes on now: so little that nearly everything is forgotten before it is asked for."""
        self.sqlite._tables._standing.most = self.sqlite._tables._unaltered.most = 2

    def a_batch(self, work: Callable[[], None], end: str) -> None:
        """All that `work` says is kept together; unless `end` is that it is "left" by an error, or the disk "full"."""
        self._mend()
        before = copy.deepcopy((self._model, self._now, self._ids, self._counted))
        try:
            with self._memory.batch(), self.sqlite.batch():
                work()
                if end == "full":
                    self.the_next_commit_fails()
                elif end == "left":
                    leave()
        except (Left, LedgerUnavailable):
            assert end != "kept"
            self._model, self._now, self._ids, self._counted = before
        self._mend()

    @property
    def time(self) -> int:
        return self._time

    def time_passes(self, step: int) -> None:
        self._time += step

    def the_process_restarts(self) -> None:
        self.sqlite.close()
        self.sqlite = SQLiteLedger(self._path)

    def another_process_opens_the_file(self) -> None:
        """Nobody closes it in the one before, which may have been killed or may not."""
        self._others.append(self.sqlite)
        self.sqlite = SQLiteLedger(self._path)

    def the_process_before_goes_on(self) -> None:
        """It wakes up after another one changed the file under it."""
        if self._others:
            self.sqlite, self._others[-1] = self._others[-1], self.sqlite

    def the_process_dies(self) -> None:
        """What is on the disk at this moment is all that the next one finds: also a log nobody put away."""
        self._left_open += [*self._others, self.sqlite]
        self._others = []
        before = self._path
        self._files += 1
        for end in ("", "-wal"):
            shutil.copyfile(f"{before}{end}", f"{self._path}{end}")
        self.sqlite = SQLiteLedger(self._path)

    def the_next_transaction_is_cut_off(self, step: int) -> None:
        """After so many steps of SQLite's machine, if it gets that far; then nothing of it may have happened."""
        left = [step]

        def cut() -> int:
            left[0] -= 1
            return left[0] == 0

        self.sqlite._writer.set_progress_handler(cut, 1)

    def the_next_commit_fails(self) -> None:
        """As on a full disk: all was done, and none of it may have happened."""
        self.sqlite._transaction._connection = FullDisk(self.sqlite._writer)

    def a_limit_is_counted_another_way(self, limit: str, shape: int) -> None:
        self._shapes[limit] = shape % len(LIMITS[limit][1])

    def demands(
        self, amounts: Mapping[str, int], of: CallFacts, rigid: Collection[str], shadow: Collection[str]
    ) -> list[Demand]:
        """Of a call, what it asks of each limit that is named; those that are `rigid` or `shadow` are named there."""
        asked = [(name, self._counter(name, of), limit) for name, limit in amounts.items()]
        return [
            Demand(of, limit, *COSTS[of.unit], rigid=name in rigid, shadow=name in shadow) for name, of, limit in asked
        ]

    # Taking.

    def a_call_reserves(self, of: CallFacts, demands: list[Demand], sizes: Sizes, lives: int) -> None:
        self._ids += 1
        hold_id, at, rows = f"call-{self._ids}", self._moment(), len(self._memory._tables.rows)
        said = self._both("reserve", hold_id, of, demands, sizes, self._time, self._time + lives)
        if len(self._memory._tables.rows) > rows:  # of the call itself, or of counters that were seeded for it
            self._now = at
        for demand in demands:
            self._ask(demand)
        lefts = {d.counter: self._left(d.counter, at) for d in demands}
        short = [d for d in demands if not d.shadow and not self._fits(d, lefts, d.rigid, sizes)]
        assert isinstance(said, Short) == bool(short)
        if isinstance(said, Short):
            assert [each.demand for each in said.shortages] == short
            self._check_shortages(said.shortages, at, None)
        else:
            self._check_size(demands, lefts, said, sizes)
            self._model.holds[hold_id] = Hold(of, demands, said.size, at, self._time + lives)
            self._check_not_over(said, at)

    def a_call_id_comes_again(self, which: int, of: CallFacts, demands: list[Demand]) -> None:
        """A caller that never got its answer asks again."""
        hold_id, hold = self._hold(which)
        if hold is not None:
            assert self._both("reserve", hold_id, of, demands, Sizes(1, 1), self._time, 0) is DuplicateHold

    def a_call_extends(self, which: int, by: int, more: int) -> None:
        hold_id, hold = self._hold(which)
        least = (hold.size if hold else 0) + by
        said, at = self._both("extend", hold_id, least, least + more, self._time), self._moment()
        if hold is None or hold.source is not None:
            assert said is None
            return
        useful = max(least, hold.size)
        grown = {c: amount(d, useful) - amount(d, hold.size) for c, (d, _) in hold.took.items() if not d.shadow}
        lefts = {c: self._left(c, self._counted_at(hold, c, at)) for c in hold.took}
        short = [c for c in grown if grown[c] > max(0, lefts[c])]
        assert isinstance(said, Short) == bool(short)
        if isinstance(said, Short):
            assert [each.demand.counter for each in said.shortages] == short
            self._check_shortages(said.shortages, at, hold)
        elif isinstance(said, Granted):
            assert useful <= said.size <= max(useful, least + more)
            self._extend(hold, said.size, at)

    # Giving back.

    def a_call_is_lowered(self, which: int, to: int) -> None:
        hold_id, hold = self._hold(which)
        said, at = self._both("lower", hold_id, to, self._time), self._moment()
        assert said == (hold is not None and hold.source is None)
        if said and hold is not None and to < hold.size:
            hold.size, self._now = max(0, to), at
            for demand, takings in hold.took.values():
                back = sum(taken for _, taken in takings) - amount(demand, hold.size)
                for taking in reversed(takings):
                    given = min(back, taking[1])
                    taking[1] -= given
                    back -= given
                takings[1:] = [taking for taking in takings[1:] if taking[1]]

    def a_call_is_renewed(self, which: int, lives: int) -> None:
        hold_id, hold = self._hold(which)
        said = self._both("renew", hold_id, self._time + lives)
        assert said == (hold is not None and hold.source is None)
        if said and hold is not None:
            hold.deadline = self._time + lives
        self._check_hold(hold_id, hold)

    def a_call_is_settled_or_corrected(self, which: int, amounts: Amounts, source: Source) -> None:
        hold_id, hold = self._hold(which)
        said = self._both("settle", hold_id, amounts, source, self._time)
        if hold is None:
            assert said is Settlement.UNKNOWN
        elif hold.source is not None and source <= hold.source:
            assert said is Settlement.UNCHANGED
        else:
            assert said is (Settlement.SETTLED if hold.source is None else Settlement.CORRECTED)
            self._now = self._moment()
            self._model.end(hold, source, lambda of, _: amounts.of(of.unit))
        self._check_hold(hold_id, hold)

    def holds_expire(self, granted_before: int = 0) -> None:
        said = self._both("expire", self._time, granted_before)
        holds = self._model.holds
        due = {
            key
            for key, each in holds.items()
            if each.source is None and (each.deadline <= self._time or each.granted < granted_before)
        }
        assert set(said) == due
        assert len(said) == len(due)
        if due:
            self._now = self._moment()
        for key in due:
            self._model.end(holds[key], Source.CEILING, lambda of, hold: sum(n for _, n in hold.took[of][1]))

    # What always holds.

    def check(self) -> None:
        self.check_counters()
        assert self._both("verify") == []
        rows = [*self._both("journal")]
        ends = [row.call_id for row in rows if row.kind in (RowKind.SETTLE, RowKind.EXPIRE)]
        assert sorted(ends) == sorted(key for key, hold in self._model.holds.items() if hold.source is not None)

    def _check_hold(self, hold_id: str, hold: Hold | None) -> None:
        said = self._both("hold", hold_id)
        known = None if hold is None else (hold.facts, hold.size, hold.deadline, hold.granted, hold.source)
        assert (said and (said.facts, said.size, said.deadline, said.granted_at, said.source)) == known

    def check_counters(self) -> None:
        at = self._moment()
        expected = {each: self._model.use(each, at) for each in self._model.limits}
        listed = self._both("counters", self._time)
        assert {each.counter: (each.used, each.held) for each in listed} == {
            each: use for each, use in expected.items() if any(use)
        }
        assert all(each.limit == self._model.limits[each.counter] for each in listed)
        assert all(each.held >= 0 and each.used >= 0 for each in listed)

    def _both(self, operation: str, *given: object):
        """What both stores say; they must say the same. A transaction that was cut off is made again."""
        rows = len(self._memory._tables.rows)
        said = self._say(self._memory, operation, given)
        try:
            again = self._say(self.sqlite, operation, given)
        except LedgerUnavailable:
            self._mend()
            again = said if rows < self._written() else self._say(self.sqlite, operation, given)
            if operation == "expire":  # many transactions: those before the one that was cut off are not said again
                again = said
        self._mend()
        assert said == again
        return said

    def _written(self) -> int:
        """How many rows are in the file, if they are all: it may be cut off behind its commit, before the answer."""
        (rows,) = self.sqlite._reader.execute("SELECT coalesce(max(seq), 0) FROM journal").fetchone()
        return int(rows) if rows == len(self._memory._tables.rows) else 0

    def _mend(self) -> None:
        self.sqlite._writer.set_progress_handler(None, 1)
        self.sqlite._transaction._connection = self.sqlite._writer

    def _say(self, store: MemoryLedger | SQLiteLedger, operation: str, given: Sequence[object]):
        try:
            said = getattr(store, operation)(*given)
        except DuplicateHold:
            return DuplicateHold
        return [*said] if operation == "journal" else said

    @property
    def _path(self) -> Path:
        return self._folder / f"ledger-{self._files}.db"

    def _moment(self) -> int:
        return max(self._time, self._now)

    def _counter(self, name: str, of: CallFacts) -> Counter:
        unit, shapes = LIMITS[name]
        window, per = shapes[self._shapes[name]]
        return replace(counter(name, unit, window), per=values(per, of))

    def _ask(self, demand: Demand) -> None:
        """The model learns of a limit as it is asked; if it was counted another way before, from the beginning."""
        asked = demand.counter
        if self._counted.setdefault(asked.line, asked.shape) != asked.shape:
            self._counted[asked.line] = asked.shape
            per = [key for key, _ in asked.per]
            counter_of = lambda of: replace(asked, per=values(per, of))  # noqa: E731
            self._model.reshape(asked.line, counter_of, demand.limit, self._moment())
        self._model.limits[asked] = demand.limit

    @property
    def granted(self) -> Sequence[int]:
        """How many calls ago each call began that was granted, the latest last."""
        return [self._ids - int(hold_id.removeprefix("call-")) for hold_id in self._model.holds]

    def _hold(self, which: int) -> tuple[str, Hold | None]:
        hold_id = f"call-{self._ids - which}"
        return hold_id, self._model.holds.get(hold_id)

    def _left(self, of: Counter, at: int) -> int:
        return self._model.limits[of] - sum(self._model.use(of, at))

    def _fits(self, demand: Demand, lefts: dict, rigid: bool, sizes: Sizes) -> bool:
        return amount(demand, sizes.most if rigid else sizes.useful) <= max(0, lefts[demand.counter])

    def _check_size(self, demands: Sequence[Demand], lefts: dict, said: Granted, sizes: Sizes) -> None:
        """The size is one that the rule allows, and the next larger one is not."""
        enforced = [d for d in demands if not d.shadow]

        def allowed(size: int) -> bool:
            part = {True: 8, False: 1} if size == sizes.most else {True: 4, False: 1}
            small = all(amount(d, size) <= max(0, lefts[d.counter]) // part[d.rate > 0] for d in enforced)
            shrinking = [d for d in enforced if d.rate > 0 and not d.rigid]
            modest = all(amount(d, size) <= max(0, lefts[d.counter]) // 4 for d in shrinking)
            return small or modest or size == sizes.useful

        assert said.size == max(size for size in range(sizes.useful, sizes.most + 1) if allowed(size))
        assert [taken.amount for taken in said.taken] == [amount(d, said.size) for d in demands]

    def _check_not_over(self, said: Granted, at: int) -> None:
        """P1: no grant lifts used and held above the limit in force."""
        for taken in said.taken:
            demand = self._model.holds[said.hold_id].took[taken.counter][0]
            assert demand.shadow or not taken.amount or sum(self._model.use(taken.counter, at)) <= taken.limit

    def _counted_at(self, hold: Hold, of: Counter, at: int) -> int:
        """The moment whose window an extension counts in: of a calendar day that of the admission."""
        return at if of.window.kind is WindowKind.ROLLING else hold.granted

    def _extend(self, hold: Hold, size: int, at: int) -> None:
        for each, (demand, takings) in hold.took.items():
            added = amount(demand, size) - amount(demand, hold.size)
            if added:
                takings.append([at, added])
                over = sum(self._model.use(each, self._counted_at(hold, each, at))) > self._model.limits[each]
                assert demand.shadow or not over
        self._now = at if size > hold.size else self._now
        hold.size = size

    def _check_shortages(self, shortages: Sequence[Shortage], at: int, hold: Hold | None) -> None:
        for each in shortages:
            of = each.demand.counter
            moment = at if hold is None else self._counted_at(hold, of, at)
            room = each.demand.limit - each.needed
            rolls = of.window.kind is WindowKind.ROLLING
            assert (each.used, each.held) == self._model.use(of, moment, hold)
            fits_now = each.used <= room
            fits_soon = rolls and self._model.use(of, at + SOON, hold)[0] <= room
            assert each.shortness is (Shortness.HELD if fits_now or fits_soon else Shortness.SPENT)
            if rolls and not fits_now and each.available_at is not None:
                assert self._model.use(of, each.available_at, hold)[0] <= room
                assert self._model.use(of, each.available_at - 1, hold)[0] > room
            assert (each.available_at is None) == self._never(each, hold)

    def _never(self, each: Shortage, hold: Hold | None) -> bool:
        if each.shortness is Shortness.HELD:
            return False
        window = each.demand.counter.window
        resets = window.kind is WindowKind.ROLLING or (window.kind is WindowKind.DAY and hold is None)
        return not resets or each.needed > each.demand.limit
