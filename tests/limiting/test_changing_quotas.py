"""Quotas are shrunk, deleted, made again and counted another way while clients call."""

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Self

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, provider, quota, running, secret, wait_until
from tollway.ledger.port import JournalRow, RowKind
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings
from tollway_extauthz.stores.sqlite import SQLiteLedger

CALLERS = 6
RESOURCES = [secret(), provider(), agent("anna"), agent("bert")]
SLOW = "gpt-4o"
SETTINGS = ProviderSettings(
    key=KEY,
    behaviour=Behaviour(output_tokens=10, latency_ms=20),
    models={SLOW: Behaviour(output_tokens=40, chunk_delay_ms=50)},
)


def calls(amount: int, window: str = "Lifetime", **spec: object) -> list[dict[str, Any]]:
    """The quota under test, and one beside it that covers every call."""
    return [
        quota("changing", {"name": "calls", "requests": amount, "window": window}, **spec),
        quota("plenty", {"name": "tokens", "tokens": 1 << 50, "window": "Lifetime"}),
    ]


class Crowd:
    """Callers that call without a pause; what they were told, by reason ("" for an answer)."""

    def __init__(self, installation: Installation) -> None:
        self._stop = threading.Event()
        self.told: list[str] = []
        urls = [installation.base_url(f"team-a/{name}") for name in ("anna", "bert")]
        self._threads = [threading.Thread(target=self._call, args=(urls[n % 2],)) for n in range(CALLERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _call(self, url: str) -> None:
        with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
            while not self._stop.is_set():
                self.told.append(reason_of(client))

    def hears(self, reason: str) -> None:
        """Wait until somebody is told this from now on."""
        before = len(self.told)
        wait_until(lambda: reason in self.told[before:], 10)


def reason_of(client: openai.OpenAI) -> str:
    try:
        client.chat.completions.create(
            model="gpt-4o-mini", messages=[{"role": "user", "content": "go"}], max_completion_tokens=16
        )
    except openai.APIStatusError as refused:
        time.sleep(0.01)
        return str(refused.response.headers["x-tollway-reason"])
    return ""


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Installation, DemoProvider]]:
    with running([*RESOURCES, *calls(10**6)], settings=SETTINGS) as made:
        yield made
        assert json.loads(made[0].tollway("ledger", "verify", "-o", "json"))["ok"]


def change(installation: Installation, quotas: Sequence[dict[str, Any]]) -> int:
    """Put other quotas in force; the moment, in milliseconds."""
    installation.write("resources.yaml", [*RESOURCES, *quotas])
    return time.time_ns() // 1_000_000


def journal(installation: Installation) -> list[JournalRow]:
    ledger = SQLiteLedger(installation.state / "ledger.sqlite")
    try:
        return list(ledger.journal())
    finally:
        ledger.close()


def counter(installation: Installation, window: str = "Lifetime") -> defaultdict[tuple[str, ...], tuple[int, int]]:
    """(used, held) of each counter of the quota under test, by what it is separated by."""
    nothing: defaultdict[tuple[str, ...], tuple[int, int]] = defaultdict(lambda: (0, 0))
    counters = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    return nothing | {
        tuple(each["per"].values()): (each["used"], each["held"])
        for each in counters
        if each["quota"] == "changing" and each["window"] == window
    }


def granted(installation: Installation) -> int:
    return sum(row.kind is RowKind.GRANT for row in journal(installation))


def test_R31_a_shrunk_limit_is_in_force_within_a_second(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    with Crowd(installation) as crowd:
        crowd.hears("")
        changed = change(installation, calls(1))
        crowd.hears("quota.requests.spent")
    old = [row.at for row in journal(installation) if row.kind is RowKind.GRANT and limit_of(row) > 1]
    assert max(old) - changed < 1_000


def limit_of(row: JournalRow) -> int:
    return next(entry.limit for entry in row.entries if entry.counter.quota == "changing")


def test_R31_deleting_a_quota_and_making_it_again_resets_nothing(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    with Crowd(installation) as crowd:
        for _ in range(3):
            change(installation, calls(10**6))
            crowd.hears("")
            change(installation, [])
            crowd.hears("quota.none")
        used = granted(installation)
        change(installation, calls(used + 5))
        crowd.hears("quota.requests.spent")
    installation.settled_calls(1)
    assert counter(installation) == {(): (used + 5, 0)}
    assert granted(installation) == used + 5


def test_R31_a_call_in_flight_settles_though_its_quota_is_gone(place: tuple[Installation, DemoProvider]) -> None:
    installation, served = place
    change(installation, calls(10**6))
    url = installation.base_url("team-a/anna")
    with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        wait_until(lambda: reason_of(client) == "", 10)
        stream = client.chat.completions.create(
            model=SLOW, messages=[{"role": "user", "content": "go"}], max_completion_tokens=64, stream=True
        )
        next(iter(stream))
        change(installation, [])
        wait_until(lambda: reason_of(client) == "quota.none", 10)
        before = len(served.app[CALL_LOG])
        for _ in stream:
            pass
        wait_until(lambda: len(served.app[CALL_LOG]) > before, 10)
    call_id = stream.response.headers["x-tollway-call"]
    wait_until(lambda: ended(installation, call_id), 10)
    (end,) = [row for row in journal(installation) if row.call_id == call_id and row.kind is RowKind.SETTLE]
    assert {entry.counter.quota for entry in end.entries} == {"changing", "plenty"}
    assert end.amounts is not None
    assert end.amounts.output_tokens == 40


def ended(installation: Installation, call_id: str) -> bool:
    return any(row.call_id == call_id and row.kind is RowKind.SETTLE for row in journal(installation))


def test_R31_another_window_and_another_separation_go_on_from_what_was_counted(
    place: tuple[Installation, DemoProvider],
) -> None:
    installation, _ = place
    with Crowd(installation) as crowd:
        change(installation, calls(10**6))
        crowd.hears("")
        change(installation, calls(10**6, "Year"))
        wait_until(lambda: counter(installation, "Year")[()] > (0, 0), 10)
        change(installation, calls(10**6, "Year", per=["Agent"]))
        wait_until(lambda: len([used for used, _ in counter(installation, "Year").values() if used]) == 3, 10)
        crowd.hears("")
    installation.settled_calls(1)
    by_agent = {"anna": 0, "bert": 0}
    for row in journal(installation):
        if row.kind is RowKind.GRANT and row.facts is not None:
            by_agent[row.facts.agent.rpartition("/")[2]] += 1
    used = counter(installation, "Year")
    assert {key[0]: amounts for key, amounts in used.items() if key} == {
        name: (number, 0) for name, number in by_agent.items()
    }
    assert sum(row.kind is RowKind.SEED for row in journal(installation)) == 2
