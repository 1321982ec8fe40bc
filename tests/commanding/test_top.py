"""`tollway top`: who spends what right now. Its answer, its tables, its screen and its lines in a pipe."""

import contextlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp.test_utils import TestClient, TestServer

from installations import agent, provider, quota
from tollway.deciding.rulebook import RuleBook
from tollway.ledger.port import CallFacts, Counter, Demand, Refused, Sizes, Source
from tollway.ledger.units import Amounts, Unit, Window, WindowKind
from tollway.pricing.data import default_book
from tollway.resources.parse import parse_files
from tollway_extauthz.admin import Admin
from tollway_extauthz.peer import PeerValidator
from tollway_extauthz.rules import Rules
from tollway_extauthz.settings import Settings
from tollway_extauthz.stores.memory import MemoryLedger

NOW = 1_764_200_000_000
RESEARCHER = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"
WRITER = "spiffe://cluster.local/ns/team-a/sa/writer/agent/writer"
NUMBERS = {"calls": 0, "refused": 0, "open": 0, "input_tokens": 0, "output_tokens": 0, "cost": 0, "held": 0}
RATES = {"calls_per_second": 0.0, "cost_per_minute": 0}
DAILY = {
    "namespace": "team-a",
    "quota": "research",
    "limit": "daily",
    "unit": "cost",
    "amount": 5_000_000_000,
    "used": 3_500_000_000,
    "held": 500_000_000,
    "remaining": 1_000_000_000,
}


def row(who: str, model: str, **numbers: object) -> dict[str, object]:
    return {"agent": who, "namespace": "team-a", "provider": "openai", "model": model, **NUMBERS, **RATES, **numbers}


ANSWER = {
    "at": NOW,
    "window_ms": 60_000,
    "rows": [
        row(RESEARCHER, "gpt-4o", calls=90, cost=30_000_000, calls_per_second=1.5, cost_per_minute=30_000_000),
        row(WRITER, "gpt-4o-mini", calls=3, open=2, cost=2_000, held=70_000_000),
        row(RESEARCHER, "gpt-5", refused=7),
    ],
    "totals": NUMBERS | RATES | {"calls": 93, "refused": 7, "open": 2, "cost": 30_002_000, "calls_per_second": 1.55},
    "tightest": {RESEARCHER: DAILY},
}


def test_once_shows_a_row_per_agent_and_model_the_sum_and_the_tightest_limit(tollway, instance) -> None:
    instance.answers["GET /top"] = (200, ANSWER)
    ran = tollway("top", "--once", "--state", instance.state)
    header, titles, dearest, cheap, refused, total = ran.out.splitlines()
    assert ran.code == 0
    assert "ended within 1m" in header
    assert titles.split()[:4] == ["AGENT", "PROVIDER", "MODEL", "CALLS/S"]
    assert dearest.split()[:10] == ["team-a/researcher", "openai", "gpt-4o", "1.5", "90", "0", "0", "0", "0", "$0.03"]
    assert dearest.endswith("team-a/research daily: 80 % ($4.00 of $5.00 cost)")
    assert cheap.split()[0] == "team-a/writer"
    assert refused.split()[:7] == ["team-a/researcher", "openai", "gpt-5", "0.0", "0", "0", "7"]
    assert total.split()[:5] == ["TOTAL", "1.6", "93", "2", "7"]


@pytest.mark.parametrize(
    ("order", "first"),
    [("cost", "gpt-4o"), ("open", "gpt-4o-mini"), ("refused", "gpt-5"), ("model", "gpt-4o"), ("agent", "gpt-4o")],
)
def test_rows_are_sorted_as_asked(tollway, instance, order, first) -> None:
    instance.answers["GET /top"] = (200, ANSWER)
    ran = tollway("top", "--sort", order, "-o", "json", "--state", instance.state)
    assert ran.json["rows"][0]["model"] == first
    assert sorted(map(str, ran.json["rows"])) == sorted(map(str, ANSWER["rows"]))


def test_the_window_is_asked_for_in_milliseconds(tollway, instance) -> None:
    instance.answers["GET /top"] = (200, ANSWER)
    tollway("top", "--once", "--window", "5m", "--state", instance.state)
    assert instance.asked == [("GET /top?window_ms=300000", None)]


@pytest.mark.parametrize("arguments", [["--window", "soon"], ["--window", "2d"], ["--every", "0s"]], ids=" ".join)
def test_wrong_times_are_wrong_usage(tollway, instance, arguments) -> None:
    ran = tollway("top", *arguments, "--state", instance.state)
    assert (ran.code, ran.out) == (2, "")
    assert "write 30s, 5m or 2h" in ran.err


def test_without_an_instance_it_is_3(tollway, tmp_path) -> None:
    assert tollway("top", "--once", "--state", tmp_path).code == 3


def command(instance: Any, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tollway_cli", "top", "--state", str(instance.state), *arguments]


def test_in_a_pipe_it_writes_plain_lines_again_and_again_until_nobody_reads(instance) -> None:
    instance.answers["GET /top"] = (200, ANSWER)
    with subprocess.Popen(command(instance, "--every", "1s"), stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        lines = [running.stdout.readline() for _ in range(10)]
        running.stdout.close()
        assert running.wait(10) == 0
    assert [line.startswith("TOTAL") for line in lines].count(True) == 1
    assert lines[0].split("  ")[1] == lines[7].split("  ")[1]
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("ending", [b"q", signal.SIGINT], ids=["q", "Ctrl-C"])
def test_on_a_terminal_it_lives_sorts_on_s_and_ends_on(instance, ending: bytes | signal.Signals) -> None:
    instance.answers["GET /top"] = (200, ANSWER)
    # Whoever started the tests in the background has Ctrl-C ignored, and every process that we start with it.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminal, inside = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "LINES": "50"}
    running = subprocess.Popen(command(instance), stdin=inside, stdout=inside, env=environment)
    signal.signal(signal.SIGINT, usual)
    os.close(inside)
    seen(terminal, "Sorted by cost")
    os.write(terminal, b"s")
    seen(terminal, "Sorted by calls")
    if isinstance(ending, bytes):
        os.write(terminal, ending)
    else:
        running.send_signal(ending)
    read_to_the_end(terminal)
    assert running.wait(10) == 0
    os.close(terminal)


def read_to_the_end(terminal: int) -> None:
    """As a terminal does: a program cannot end while nobody takes what it writes."""
    until = time.monotonic() + 20
    with contextlib.suppress(OSError):  # EIO: nobody has the other side any more
        while time.monotonic() < until and select.select([terminal], [], [], 10)[0]:
            os.read(terminal, 65_536)


def seen(terminal: int, wanted: str) -> None:
    """Wait until the terminal shows `wanted`."""
    shown = ""
    while wanted not in shown:
        readable, _, _ = select.select([terminal], [], [], 10)
        assert readable, shown
        shown += os.read(terminal, 65_536).decode("utf-8", "replace")


# The answer itself


RULES = [
    agent("researcher"),
    provider(endpoint="http://127.0.0.1:9"),
    quota(
        "research", {"name": "daily", "cost": "5.00", "window": "Day"}, {"name": "rpm", "requests": 4, "window": "1m"}
    ),
]


@pytest.fixture
def ledger() -> MemoryLedger:
    return MemoryLedger()


@pytest.fixture
async def admin(ledger: MemoryLedger, tmp_path: Path) -> AsyncIterator[TestClient[Any, Any]]:
    resources = parse_files({"a.yaml": yaml.safe_dump_all(RULES).encode()}).resources
    book = RuleBook(resources, default_book())
    rules = Rules(1, book, PeerValidator.__new__(PeerValidator), resources)
    paths = dict.fromkeys(
        ("rules", "issuers", "ledger", "check_socket", "gateway_admin_socket", "admin_socket"), "unused"
    )
    settings = Settings(trust_domain="cluster.local", access_log=str(tmp_path / "log"), metrics_port=0, **paths)
    served = Admin(ledger, lambda: rules, lambda _agent, _model: None, lambda: NOW, settings)
    async with TestClient(TestServer(served.application())) as client:
        yield client


def begin(ledger: MemoryLedger, hold_id: str, at: int, *demands: Demand) -> None:
    facts = CallFacts(RESEARCHER, "team-a", "openai", "gpt-4o", "chat", input_ceiling=10, input_rate=1_000_000)
    ledger.reserve(hold_id, facts, demands, Sizes(0, 0), at, at + 60_000)


async def test_the_answer_has_what_ended_within_the_window_and_what_is_open(admin, ledger: MemoryLedger) -> None:
    begin(ledger, "old", NOW - 120_000)
    ledger.settle("old", Amounts(1, 10, 10, 1_000), Source.PROVIDER, NOW - 100_000)
    begin(ledger, "new", NOW - 50_000)
    ledger.settle("new", Amounts(1, 10, 20, 6_000), Source.PROVIDER, NOW - 40_000)
    begin(ledger, "open", NOW - 1_000)
    answer = await (await admin.get("/top")).json()
    (one,) = answer["rows"]
    assert (one["calls"], one["open"], one["cost"], one["held"]) == (1, 1, 6_000, 10_000)
    assert (one["calls_per_second"], one["cost_per_minute"]) == (0.017, 6_000)
    assert answer["totals"]["cost"] == 6_000
    wider = await (await admin.get("/top", params={"window_ms": "300000"})).json()
    assert (wider["totals"]["cost"], wider["totals"]["cost_per_minute"]) == (7_000, 1_400)


async def test_the_tightest_limit_is_the_one_with_the_least_share_left(admin, ledger: MemoryLedger) -> None:
    counter = Counter("team-a", "research", "rpm", Unit.REQUESTS, Window(WindowKind.ROLLING, 60_000))
    begin(ledger, "a", NOW, Demand(counter, 4, base=1000))
    answer = await (await admin.get("/top")).json()
    tightest = answer["tightest"][RESEARCHER]
    assert (tightest["limit"], tightest["amount"], tightest["held"]) == ("rpm", 4, 1)


async def test_whoever_had_no_identity_is_counted_and_bound_by_nothing(admin, ledger: MemoryLedger) -> None:
    ledger.record_refusal(Refused("no", CallFacts("", "", "openai", "", ""), "identity.missing", "No."), NOW)
    answer = await (await admin.get("/top")).json()
    assert [(each["agent"], each["refused"]) for each in answer["rows"]] == [("", 1)]
    assert answer["tightest"] == {}


@pytest.mark.parametrize("window", ["0", "-5", "a minute", "99999999999"])
async def test_an_impossible_window_is_400(admin, window: str) -> None:
    assert (await admin.get("/top", params={"window_ms": window})).status == 400


async def test_how_far_it_has_come_is_said_for_the_doctor(admin, ledger: MemoryLedger, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("three lines that\nnobody took\nyet\n")
    ledger.record_refusal(Refused("no", CallFacts(RESEARCHER, "", "openai", "", ""), "quota.none", "No."), NOW)
    answer = json.loads(await (await admin.get("/standing")).text())
    assert answer["ledger"] == {"latest": NOW, "first_deadline": None}
    assert answer["refusals"] == [{"agent": RESEARCHER, "reason": "quota.none", "count": 1}]
    assert answer["access_log"]["behind"] == 33
    ledger.set_checkpoint("access-log", f"{(tmp_path / 'log').stat().st_ino} 17")
    answer = json.loads(await (await admin.get("/standing")).text())
    assert answer["access_log"]["behind"] == 16
