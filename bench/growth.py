"""Does a grant cost more the more there is? `python -m bench.growth` compares little with much, in turns, in one run.

What is timed is all that limits cost a call: which ones cover it, reserving on them, settling. Each axis grows one
thing and leaves the others small: agents, calls that ended, quotas that have nothing to do with the call. Sizes take
turns, so that whatever else the machine does slows both; only their ratio is a figure.
"""

import argparse
import random
import sqlite3
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from bench.failures import BenchFailed
from bench.machine import Machine, this_machine
from tollway.deciding.rulebook import Caller, Cover, RuleBook
from tollway.ledger.port import CallFacts, Demand, Granted, Sizes, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind
from tollway.ledger.windows import bucket
from tollway.pricing.data import default_book
from tollway.resources.models import AgentIdentity, AIQuota, Limit, Meta, Per, ResourceSet, Selector
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_extauthz.stores.sqlite.facts import digest_of
from tollway_extauthz.stores.sqlite.rows import content_of, shared_facts
from tollway_extauthz.stores.sqlite.tables import SQLiteTables

MOST_RATIO: Final = 1.2
_TABLE_WIDTH: Final = 120
NOW: Final = 1_790_000_000_000
THEN: Final = NOW - 86_400_000
PROVIDER, MODEL = "openai", "gpt-4o-mini"
LIMITS: Final = (
    Limit("rpm", Unit.REQUESTS, 1 << 40, Window(WindowKind.ROLLING, 60_000)),
    Limit("daily", Unit.COST, 1 << 50, Window(WindowKind.DAY, time_zone="Europe/Berlin")),
    Limit("tokens", Unit.TOKENS, 1 << 50, Window(WindowKind.MONTH)),
)
CONSUMED: Final = Amounts(1, 90, 40, 37_500)
BASES: Final = {Unit.REQUESTS: (1000, 0), Unit.COST: (13_500_000, 600_000), Unit.TOKENS: (90_000, 1000)}


@dataclass(frozen=True, slots=True)
class Size:
    """How much there is before the first call that is timed."""

    agents: int = 10
    calls: int = 1_000
    quotas: int = 1


@dataclass(frozen=True, slots=True)
class Axis:
    """`first`: each call that is timed is the first of its agent since the rules changed; else all called before."""

    name: str
    grows: str
    little: Size
    much: Size
    first: bool = False


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians in microseconds, each of a round of calls; `ratio` is the median of the rounds' own ratios."""

    axis: Axis
    little_us: float
    much_us: float
    ratio: float


@dataclass(frozen=True, slots=True)
class Report:
    machine: Machine
    most_ratio: float
    growths: Sequence[Growth]


def axes(agents: int, calls: int, quotas: int) -> Sequence[Axis]:
    usual = Size()
    return (
        Axis("agents", "agents", usual, replace(usual, agents=agents)),
        Axis("calls that ended", "calls", usual, replace(usual, calls=calls)),
        Axis("unrelated quotas", "quotas", usual, replace(usual, quotas=quotas)),
        Axis("unrelated quotas, first call of an agent", "quotas", usual, replace(usual, quotas=quotas), first=True),
    )


class Subject:
    """A ledger and a rule book of one size, and callers drawn from all agents."""

    def __init__(self, ledger: SQLiteLedger, book: RuleBook, callers: Sequence[Caller], dice: random.Random) -> None:
        self._ledger = ledger
        self._book = book
        self._callers = callers
        self._dice = dice
        self._now = NOW

    def check(self) -> None:
        """That the ledger is one: filled as calls would have filled it, and used by all that were timed."""
        if mismatches := self._ledger.verify():
            raise BenchFailed(f"the ledger does not add up, so no figure is sound: {mismatches[0]}")

    def warm_up(self) -> None:
        """A call by each of the agents."""
        for caller in list(self._callers) * max(1, 300 // len(self._callers)):
            self._timed_call(caller)

    def round(self, calls: int, *, first: bool = False) -> float:
        """The median call in microseconds; see `Axis.first`."""
        return median(self._timed_call(self._dice.choice(self._callers), first) for _ in range(calls)) / 1000

    def _timed_call(self, caller: Caller, first: bool = False) -> int:
        if first:
            self._book.covers.cache_clear()
        hold_id = f"{self._dice.getrandbits(128):032x}"
        self._now += 7
        began = time.perf_counter_ns()
        covers = self._book.covers(caller, PROVIDER, MODEL)
        demands = [_demand(cover) for cover in covers]
        granted = self._ledger.reserve(hold_id, _facts(caller), demands, Sizes(64, 100), self._now, self._now + 60_000)
        self._ledger.settle(hold_id, CONSUMED, Source.PROVIDER, self._now)
        ended = time.perf_counter_ns()
        assert isinstance(granted, Granted)
        assert len(covers) == len(LIMITS)
        return ended - began


def measure(axis: Axis, rounds: int, calls: int, folder: Path) -> Growth:
    with subject(axis.little, folder / "little.db") as little, subject(axis.much, folder / "much.db") as much:
        for each in (little, much):
            each.warm_up()
        first = axis.first
        pairs = [(little.round(calls, first=first), much.round(calls, first=first)) for _ in range(rounds)]
        little.check()
    return Growth(
        axis,
        median(pair[0] for pair in pairs),
        median(pair[1] for pair in pairs),
        median(pair[1] / pair[0] for pair in pairs),
    )


@contextmanager
def subject(size: Size, path: Path) -> Iterator[Subject]:
    """A ledger of that size; deleted afterwards."""
    agents = [AgentIdentity(Meta(f"a{n}", "team-a", {"app": f"a{n}"}), Selector({})) for n in range(size.agents)]
    book = RuleBook(ResourceSet(agents=tuple(agents), quotas=(_quota(), *_unrelated(size.quotas))), default_book())
    callers = [book.caller_of(agent) for agent in agents]
    prefill(path, book, callers, size.calls)
    with closing(SQLiteLedger(path)) as ledger:
        yield Subject(ledger, book, callers, random.Random(1))
    path.unlink()


def _quota() -> AIQuota:
    return AIQuota(Meta("everybody", "team-a"), LIMITS, per=(Per.AGENT,))


def _unrelated(number: int) -> Iterator[AIQuota]:
    """Quotas of the same namespace for agents that there are not."""
    for n in range(number):
        yield AIQuota(Meta(f"other-{n}", "team-a"), LIMITS, agents=Selector({"app": f"other-{n}"}))


def _demand(cover: Cover) -> Demand:
    return Demand(cover.counter, cover.limit.amount, *BASES[cover.limit.unit])


def _facts(caller: Caller) -> CallFacts:
    return CallFacts(
        caller.spiffe_id, caller.namespace, PROVIDER, MODEL, "chat", price="{}", input_ceiling=90, output_rate=600_000
    )


# Filling a ledger as that many calls would have: with the store's own tables, but all at once.

_COUNTERS: Final = """
WITH RECURSIVE each (n) AS (SELECT 1 WHERE :agents > 1 UNION ALL SELECT n + 1 FROM each WHERE n < :agents - 1)
INSERT INTO counters SELECT NULL, c.limit_id, replace(c.per, '"a0"', '"a' || n || '"'), c.amount
FROM each CROSS JOIN (SELECT * FROM counters) c
"""
_COUNTED: Final = """
INSERT INTO temp.counted
SELECT cast(substr(c.per ->> '$[0][1]', 2) AS INTEGER), c.id, s.bucket, s.took, c.amount, s.base, s.rate
FROM counters c JOIN limits l ON l.id = c.limit_id JOIN temp.shares s ON s.name = l.name
"""
_CALLS: Final = """
WITH RECURSIVE each (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM each WHERE n < :calls)
INSERT INTO temp.calls SELECT n, lower(hex(randomblob(16))), n % :agents FROM each
"""
_FACTS: Final = """
WITH RECURSIVE each (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM each WHERE n < :agents - 1)
INSERT INTO facts (id, digest, content) SELECT n + 1, digest_of(content), content
FROM (SELECT n, replace(:facts, 'a0', 'a' || n) AS content FROM each)
"""
_ENTRIES: Final = (
    "(SELECT json_group_array(json_array(id, bucket, {0}, amount{1})) FROM temp.counted WHERE agent = c.agent)"
)
_GRANTS: Final = f"""
INSERT INTO journal (seq, at, kind, call_id, entries, size, facts, input_ceiling)
SELECT 2 * c.n - 1, :then, 'grant', c.id, {_ENTRIES.format("took, 0", ", base, rate, json('false')")}, 100,
    c.agent + 1, :input_ceiling
FROM temp.calls c
"""
_SETTLES: Final = f"""
INSERT INTO journal (seq, at, kind, call_id, entries, size, source, requests, input_tokens, output_tokens, cost)
SELECT 2 * c.n, :then, 'settle', c.id, {_ENTRIES.format("-took, took", "")}, 100, 4, :requests, :input_tokens,
    :output_tokens, :cost
FROM temp.calls c
"""
_HOLDS: Final = """
INSERT INTO holds (granted, hold_id, size, deadline, ended)
SELECT 2 * c.n - 1, c.id, 100, :then + 60000, 2 * c.n FROM temp.calls c
"""
_BUCKETS: Final = """
INSERT INTO buckets SELECT k.id, k.bucket, 0, k.took * count(*) FROM temp.calls c JOIN temp.counted k USING (agent)
GROUP BY k.id, k.bucket
"""


def prefill(path: Path, book: RuleBook, callers: Sequence[Caller], calls: int) -> None:
    """A ledger in which `calls` calls of `callers`, in turn, were granted and settled before NOW."""
    SQLiteLedger(path).close()
    values = {
        "calls": calls,
        "agents": len(callers),
        "then": THEN,
        "facts": content_of(shared_facts(_facts(callers[0]))),
        "input_ceiling": _facts(callers[0]).input_ceiling,
        **{name: getattr(CONSUMED, name) for name in CONSUMED.__slots__},
    }
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TEMP TABLE calls (n INTEGER PRIMARY KEY, id TEXT, agent INTEGER)")
        connection.execute(
            "CREATE TEMP TABLE counted (agent, id, bucket, took, amount, base, rate, PRIMARY KEY (agent, id))"
        )
        connection.execute("CREATE TEMP TABLE shares (name TEXT PRIMARY KEY, bucket, took, base, rate)")
        connection.create_function("digest_of", 1, digest_of, deterministic=True)
        for cover in book.covers(callers[0], PROVIDER, MODEL):
            SQLiteTables(connection).see(cover.counter, cover.limit.amount)
            unit, in_bucket = cover.limit.unit, bucket(cover.counter.window, THEN)
            share = (cover.limit.name, in_bucket, CONSUMED.of(unit), *BASES[unit])
            connection.execute("INSERT INTO shares VALUES (?, ?, ?, ?, ?)", share)
        for query in (_COUNTERS, _COUNTED, _CALLS, _FACTS, _GRANTS, _SETTLES, _HOLDS, _BUCKETS):
            connection.execute(query, values)


def main() -> int:
    options = _options()
    try:
        report = _measured(options)
    except BenchFailed as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    options.output.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    console = Console()
    (console if console.is_terminal else Console(width=_TABLE_WIDTH)).print(table(report.growths))
    return int(any(growth.ratio > MOST_RATIO for growth in report.growths))


def _measured(options: argparse.Namespace) -> Report:
    growths = []
    with tempfile.TemporaryDirectory(prefix="tw-growth-") as folder, Console(stderr=True).status("") as status:
        machine = this_machine(Path(folder))
        for axis in axes(options.agents, options.calls, options.quotas):
            status.update(f"{axis.name}: filling, then {options.rounds} rounds")
            growths.append(measure(axis, options.rounds, options.round, Path(folder)))
    return Report(machine, MOST_RATIO, growths)


def table(growths: Sequence[Growth]) -> Table:
    made = Table("with ever more", "little", "much", "µs a call", "µs a call", "ratio", title="Cost of a grant")
    for growth in growths:
        axis = growth.axis
        sizes = (f"{getattr(size, axis.grows):,}" for size in (axis.little, axis.much))
        times = (f"{growth.little_us:.0f}", f"{growth.much_us:.0f}")
        verdict = "" if growth.ratio <= MOST_RATIO else f"  above {MOST_RATIO}"
        made.add_row(axis.name, *sizes, *times, f"{growth.ratio:.2f}{verdict}")
    return made


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.splitlines()[0])
    parser.add_argument("--agents", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--quotas", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--round", type=int, default=300, help="calls in a round (%(default)s)")
    parser.add_argument("--output", type=Path, default=Path("bench-growth.json"), help="the JSON (%(default)s)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
