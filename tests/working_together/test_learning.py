"""A worker that is told of no end learns from the ledger how long answers are."""

import time
from contextlib import closing
from pathlib import Path

from tollway.ledger.port import CallFacts, Counter, Demand, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway_extauthz.settings import Settings
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_extauthz.worker import Worker

AGENT, MODEL, TOKENS = "spiffe://cluster.local/ns/a/sa/b", "gpt-4o-mini", 40
OUTPUT = Counter("a", "q", "output", Unit.OUTPUT_TOKENS, LIFETIME)


def now() -> int:
    return time.time_ns() // 1_000_000


async def test_it_knows_what_another_has_settled_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with closing(SQLiteLedger(path)) as own, closing(SQLiteLedger(path)) as others:
        worker = Worker(_settings(tmp_path), own, now, now, time.perf_counter)
        for call in ("v", "w", "x", "y", "z"):
            facts = CallFacts(AGENT, "a", "openai", MODEL, "chat.completions", price="{}", input_ceiling=1)
            others.reserve(call, facts, [Demand(OUTPUT, 10**6, 0, 1000)], Sizes(100, 100), now(), now() + 60_000)
            others.settle(call, Amounts(output_tokens=TOKENS), Source.PROVIDER, now())
        assert worker.learned.median(AGENT, MODEL) is None
        await worker.learn_again()
        assert worker.learned.median(AGENT, MODEL) == TOKENS


def _settings(folder: Path) -> Settings:
    names = ("rules", "issuers", "ledger", "check_socket", "access_log", "gateway_admin_socket", "admin_socket")
    places = {name: str(folder / name) for name in names}
    return Settings(trust_domain="cluster.local", metrics_port=0, worker=1, **places)
