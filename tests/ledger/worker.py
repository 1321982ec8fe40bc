"""A process of its own that loads a ledger and tells, line by line, what was acknowledged. Most end by being killed.

`python worker.py FILE NAME single|batches|race THREADS`
"""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway_extauthz.stores.sqlite import SQLiteLedger

NOW = 1_767_268_800_000
BATCH = 8
RACED_FOR = 1_000
"""What all processes of a race may take together."""
DEMANDS = (
    Demand(Counter("team-a", "research", "tokens", Unit.OUTPUT_TOKENS, LIFETIME), 10**12, 0, 1000),
    Demand(Counter("team-a", "research", "requests", Unit.REQUESTS, LIFETIME), 10**12, 1000),
)
RACE = (Demand(Counter("team-a", "research", "race", Unit.REQUESTS, LIFETIME), RACED_FOR, 1000), *DEMANDS)


def reserve(ledger: SQLiteLedger, call: str, demands: tuple[Demand, ...] = DEMANDS) -> bool:
    facts = CallFacts("a", "n", "p", "m", "o")
    return isinstance(ledger.reserve(call, facts, demands, Sizes(1, 10), NOW, NOW + 10**9), Granted)


def settle(ledger: SQLiteLedger, call: str) -> None:
    ledger.settle(call, Amounts(1, 0, 5, 0), Source.PROVIDER, NOW)


def say(what: str, *calls: str) -> None:
    sys.stdout.writelines(f"{what} {call}\n" for call in calls)
    sys.stdout.flush()


def single(ledger: SQLiteLedger, name: str) -> None:
    for call in _names(name):
        assert reserve(ledger, call)
        say("granted", call)
        settle(ledger, call)
        say("settled", call)


def batches(ledger: SQLiteLedger, name: str) -> None:
    """Each grants some calls, and settles those of the one before."""
    open_calls: list[str] = []
    for batch in _names(name):
        calls = [f"{batch}-{n}" for n in range(BATCH)]
        with ledger.batch():
            assert all(reserve(ledger, call) for call in calls)
            for call in open_calls:
                settle(ledger, call)
        say("granted", *calls)
        say("settled", *open_calls)
        open_calls = calls


def race(ledger: SQLiteLedger, name: str) -> None:
    """Until nothing is left: batches of any size, some of which settle what they granted."""
    names, left = _names(name), True
    while left:
        with ledger.batch():
            calls = [call for call, _ in zip(names, range(1 + hash(next(names)) % 5), strict=False)]
            granted = [call for call in calls if reserve(ledger, call, RACE)]
            for call in granted[::2]:
                settle(ledger, call)
        say("granted", *granted)
        left = len(granted) == len(calls)


def _names(name: str) -> Iterator[str]:
    n = 0
    while True:
        n += 1
        yield f"{name}-{n}"


if __name__ == "__main__":
    shared = SQLiteLedger(Path(sys.argv[1]))
    load = {"single": single, "batches": batches, "race": race}[sys.argv[3]]
    for thread in range(int(sys.argv[4])):
        threading.Thread(target=load, args=(shared, f"{sys.argv[2]}-{thread}")).start()
