"""A process of its own that loads a ledger and tells, line by line, what was acknowledged. It ends by being killed."""

import sys
import threading
from pathlib import Path

from tollway.ledger.port import CallFacts, Counter, Demand, Granted, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway_extauthz.stores.sqlite import SQLiteLedger

NOW = 1_767_268_800_000
DEMANDS = (
    Demand(Counter("team-a", "research", "tokens", Unit.OUTPUT_TOKENS, LIFETIME), 10**12, 0, 1000),
    Demand(Counter("team-a", "research", "requests", Unit.REQUESTS, LIFETIME), 10**12, 1000),
)


def load(ledger: SQLiteLedger, name: str) -> None:
    n = 0
    while True:
        n += 1
        call = f"{name}-{n}"
        granted = ledger.reserve(call, CallFacts("a", "n", "p", "m", "o"), DEMANDS, Sizes(1, 10), NOW, NOW + 10**9)
        assert isinstance(granted, Granted)
        sys.stdout.write(f"granted {call}\n")
        ledger.settle(call, Amounts(1, 0, 5, 0), Source.PROVIDER, NOW)
        sys.stdout.write(f"settled {call}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    shared = SQLiteLedger(Path(sys.argv[1]))
    for thread in range(int(sys.argv[3])):
        threading.Thread(target=load, args=(shared, f"{sys.argv[2]}-{thread}")).start()
