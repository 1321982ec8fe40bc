"""`make soak` in small: what is killed, what must add up afterwards, and that a fault of ours would be seen."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bench.roads import EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR
from bench.soak.books import Books, Limit, Spent, audited
from bench.soak.faults import FAULTS
from bench.soak.judging import Evidence, Happened, Second, aftermaths, verdicts
from bench.soak.kinds import ANSWERED, LOST, NO_ANSWER, OWN_ERROR, REFUSED, UNAVAILABLE, WRONG, kind_of
from bench.soak.watching import Growth, Look, Rise, growth, rise
from bench.soak.wire import OWN_ERROR as OWN_ERROR_BODY

from tollway.ledger.port import CallFacts, Hold, Source
from tollway.ledger.units import Amounts

ROOT = Path(__file__).parents[2]
TRENDS = ("memory", "file descriptors", "failures that no fault explains")
"""Verdicts that need more than some seconds, or a machine that has nothing else to do."""


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, str]:
    folder = tmp_path_factory.mktemp("soak")
    result, page, picture = folder / "soak.json", folder / "soak.md", folder / "soak.svg"
    pace = ("--minutes", "0.35", "--kill-every", "3", "--watch-every", "1", "--calibrate", "2")
    files = ("--output", str(result), "--page", str(page), "--picture", str(picture))
    command = [sys.executable, "-m", "bench.soak", *pace, *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert result.exists(), done.stderr
    return json.loads(result.read_text()), page.read_text(), picture.read_text()


def test_every_fault_is_done_in_turn(soaked: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = soaked
    done = [each["fault"]["name"] for each in result["aftermaths"]]
    assert done == [fault.name for fault in FAULTS][: len(done)]
    assert len(done) >= len(FAULTS) - 1


def test_nothing_is_overspent_or_unaccounted_whatever_died(soaked: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = soaked
    judged = {each["name"]: each for each in result["verdicts"]}
    about_books = [each for name, each in judged.items() if not name.startswith(TRENDS)]
    assert [each for each in about_books if not each["fine"]] == []
    assert judged["unaccounted calls"]["found"] == f"0 of {result['books']['billed']:,}"
    assert result["books"]["billed"] > 100


def test_nobody_is_told_anything_that_no_provider_would_say(soaked: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = soaked
    assert result["kinds"][ANSWERED] > 0
    assert [kind for kind in result["kinds"] if kind.startswith((WRONG, NO_ANSWER))] == []


def test_the_page_and_the_picture_say_what_was_found(soaked: tuple[dict[str, Any], str, str]) -> None:
    result, page, picture = soaked
    for each in result["verdicts"]:
        assert f"| {each['name']} | {each['found']} |" in page
    assert "](soak.svg)" in page
    assert picture.count("<polyline") == 1 + 2 * len(result["looks"])
    assert picture.count("<title>") == 3 * len(result["aftermaths"])


# What it would say if something were wrong.

SHAPED = b'{"error":{"message":"Tollway could not decide on this call.","type":"server_error"}}'
ANSWERS = {
    "an answer": (b"HTTP/1.1 200 OK\r\nserver: x", b"{}", ANSWERED),
    "a refusal with its reason": (
        b"HTTP/1.1 429 Too Many Requests\r\nx-tollway-reason: quota.cost.spent\r\nserver: x",
        SHAPED,
        f"{REFUSED}quota.cost.spent",
    ),
    "a failure of ours in the provider's shape": (b"HTTP/1.1 503 Service Unavailable", SHAPED, UNAVAILABLE),
    "a failure of ours in nobody's shape": (b"HTTP/1.1 503 Service Unavailable", b"upstream error", f"{WRONG}503"),
    "another failure than may be": (b"HTTP/1.1 500 Internal Server Error", SHAPED, f"{WRONG}500"),
    "an error of the provider": (b"HTTP/1.1 500 Internal Server Error", OWN_ERROR_BODY, OWN_ERROR),
    "a 429 that no limit explains": (b"HTTP/1.1 429 Too Many Requests", SHAPED, f"{WRONG}429"),
}


@pytest.mark.parametrize(("head", "body", "kind"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_what_its_status_and_shape_say(head: bytes, body: bytes, kind: str) -> None:
    assert kind_of(head, body) == kind


class Ledger:
    """Holds as given."""

    def __init__(self, *holds: Hold) -> None:
        self._holds = {hold.hold_id: hold for hold in holds}

    def hold(self, hold_id: str) -> Hold | None:
        return self._holds.get(hold_id)


def hold(name: str, amounts: Amounts | None, granted_at: int = 1000) -> Hold:
    facts = CallFacts("spiffe://cluster.local/ns/bench/sa/tight/agent/tight", "bench", "openai", "gpt-4o-mini", "chat")
    source = Source.PROVIDER if amounts else None
    return Hold(name, facts, 100, granted_at + 60_000, granted_at, source, amounts)


# 60 tokens in and 100 out cost 9,000 + 60,000 nano-USD.
PAID = Amounts(1, 60, 100, 69_000)
BILLS = {
    "a call that the ledger charged": ("a 60 100\n", hold("a", PAID), (0, 0, 0, 0)),
    "a call that it does not know": ("b 60 100\n", hold("a", PAID), (1, 0, 0, 0)),
    "a call that is still open": ("a 60 100\n", hold("a", None), (0, 1, 0, 0)),
    "a call charged a token too little": ("a 60 100\n", hold("a", Amounts(1, 60, 99, 69_000)), (0, 0, 1, 0)),
    "a call charged too little money": ("a 60 100\n", hold("a", Amounts(1, 60, 100, 68_999)), (0, 0, 1, 0)),
    "a call that was served twice": ("a 60 100\na 60 100\n", hold("a", PAID), (0, 0, 0, 1)),
}


@pytest.mark.parametrize(("bill", "known", "faults"), BILLS.values(), ids=BILLS)
def test_the_bill_is_compared_with_the_ledger_call_by_call(
    bill: str, known: Hold, faults: tuple[int, ...], tmp_path: Path
) -> None:
    (tmp_path / "bill").write_text(bill)
    books = audited(tmp_path / "bill", Ledger(known), ())
    assert (books.unknown, books.open, books.undercharged, books.twice) == faults
    assert books.unaccounted == sum(faults)


def test_overspend_is_what_any_window_had_above_its_limit(tmp_path: Path) -> None:
    (tmp_path / "bill").write_text("a 60 100\nb 60 100\nc 60 100\n")
    holds = [hold(name, PAID, at) for name, at in (("a", 0), ("b", 9_999), ("c", 10_000))]
    limits = [
        Limit("tight", amount, window) for amount, window in ((138_000, 10_000), (137_999, 10_000), (206_999, None))
    ]
    spent = audited(tmp_path / "bill", Ledger(*holds), limits).spent
    assert [(each.charged, each.overspend) for each in spent] == [(138_000, 0), (138_000, 1), (207_000, 1)]


SOUND = Books(10, 0, 0, 0, 0, (), {"provider": 10}, 690, 700, (Spent(Limit("tight", 1000, None), 690, 700),))


def grown(private: float = 1000.0, files: float = 1.0, ageing: float | None = 1000.0, error: float = 0.0) -> Growth:
    old = None if ageing is None else Rise(ageing, error, 50e6)
    return Growth(Rise(private, error, 50e6), Rise(files, error, 30), old)


KILLED = Happened("extauthz is killed", 100.0, 100.0)
CALM = (
    Second(50.0, {("steady", ANSWERED): 9}),
    Second(101.0, {("steady", UNAVAILABLE): 1, ("tight", "refused: x"): 1}),
)


def evidence(**other: Any) -> Evidence:
    said = {"seconds": CALM, "faults": (KILLED,), "books": SOUND, "growths": {EXTAUTHZ: grown()}}
    return Evidence(**{**said, "generous": frozenset({"steady"}), "open_holds": 0, "mismatches": 0, **other})


def test_what_may_be_is_fine() -> None:
    assert [each for each in verdicts(evidence()) if not each.fine] == []


def books(**other: Any) -> Books:
    return Books(**{**{name: getattr(SOUND, name) for name in Books.__slots__}, **other})


WRONGS = {
    "overspend": evidence(books=books(spent=(Spent(Limit("tight", 699, None), 690, 700),))),
    "unaccounted calls": evidence(books=books(unknown=1)),
    "the ledger's sum": evidence(books=books(charged_cost=689)),
    "open holds at the end": evidence(open_holds=1),
    "counters that do not add up": evidence(mismatches=1),
    "calls that were answered": evidence(seconds=()),
    "failures that no fault explains": evidence(seconds=(*CALM, Second(108.0, {("steady", LOST): 1}))),
    "refusals of agents with room": evidence(seconds=(*CALM, Second(50.0, {("steady", f"{REFUSED}quota"): 1}))),
    "memory of extauthz": evidence(growths={EXTAUTHZ: grown(private=5.1e6)}),
    "file descriptors of gateway": evidence(growths={GATEWAY: grown(files=8.1)}),
    "memory of an extauthz by its age": evidence(growths={EXTAUTHZ: grown(ageing=1.1e6)}),
}


@pytest.mark.parametrize(("name", "found"), WRONGS.items(), ids=WRONGS)
def test_what_may_not_be_is_not_fine(name: str, found: Evidence) -> None:
    assert [each.name for each in verdicts(found) if not each.fine] == [name]


def test_no_fault_excuses_an_answer_in_nobodys_shape() -> None:
    (found,) = [
        each
        for each in verdicts(evidence(seconds=(*CALM, Second(101.0, {("tight", f"{WRONG}503"): 2}))))
        if not each.fine
    ]
    assert found.found == f"2 × {WRONG}503"


def test_the_aftermath_of_a_fault_is_what_failed_until_the_next_one() -> None:
    paused = Happened("extauthz is stopped", 160.0, 163.0)
    seconds = [Second(at, {("steady", UNAVAILABLE): 1}) for at in (99.0, 101.0, 102.5, 162.0, 163.4)]
    first, second = aftermaths(seconds, [KILLED, paused])
    assert (first.failures, first.recovered) == ({UNAVAILABLE: 2}, 2.5)
    assert (second.failures, second.recovered) == ({UNAVAILABLE: 2}, pytest.approx(0.4))


def looks(grows: float, *, restarts: bool = False) -> list[Look]:
    """Every 10 s of 30 minutes: `grows` bytes a second since its start, which is every 5 minutes or once."""
    return [
        Look(at, age, int(50e6 + grows * age), 30 + at // 600)
        for at in range(0, 1800, 10)
        for age in (at % 300 if restarts else at,)
    ]


def test_growth_is_the_line_through_the_last_two_thirds() -> None:
    found = growth(looks(1000), 1800)
    assert found is not None
    assert found.ageing is not None
    assert found.private.amount == pytest.approx(1000 * 1190, rel=0.01)
    assert found.ageing.amount == pytest.approx(60_000)
    assert found.files.certain > 0


def test_what_grows_and_is_killed_is_seen_by_its_age() -> None:
    found = growth(looks(50_000, restarts=True), 1800)
    assert found is not None
    assert found.ageing is not None
    assert abs(found.private.amount) < 5e6
    assert found.ageing.amount == pytest.approx(3e6)


def test_what_only_goes_up_and_down_does_not_grow() -> None:
    dice = random.Random(7)
    found = [rise([(at, dice.uniform(40, 100)) for at in range(0, 1200, 10)], 1200) for _ in range(100)]
    assert sum(each.certain <= 10 for each in found) >= 97


def test_two_files_left_open_in_each_minute_are_seen_through_that() -> None:
    dice = random.Random(7)
    found = [rise([(at, dice.uniform(40, 100) + at / 30) for at in range(0, 1200, 10)], 1200) for _ in range(100)]
    assert sum(each.certain > 10 for each in found) >= 97


def test_all_that_is_watched_has_a_name_on_the_page(soaked: tuple[dict[str, Any], str, str]) -> None:
    result, _, _ = soaked
    assert set(result["looks"]) == {EXTAUTHZ, GATEWAY, SIDECAR, SUPERVISOR}
    assert all(result["looks"].values())
