"""`make bench` in small: it runs, it loses no call, and what it says follows from what it measured."""

import contextlib
import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PROCESSES = {"bare": {"sidecar", "gateway"}, "tollway": {"sidecar", "gateway", "extauthz", "supervisor"}}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    output = tmp_path_factory.mktemp("bench") / "result.json"
    done = bench("--quick", "--rounds", "2", "--calls", "60", "--seconds", "0.3", "--output", str(output))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text())


def samples(result: dict[str, Any], road: str, scenario: str) -> list[dict[str, Any]]:
    return [each for each in result["samples"] if (each["road"], each["scenario"]) == (road, scenario)]


def test_every_call_made_over_tollway_is_settled(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    made = sum(each["load"]["made"] for each in result["samples"] if each["road"] == "tollway")
    assert result["ledger"] == {"settled": made, "outcomes": {"settled (provider)": made}, "verified": True}


def test_both_roads_have_every_scenario_in_every_round_and_take_turns_to_begin(
    ran: tuple[str, dict[str, Any]],
) -> None:
    _, result = ran
    one, many = "one caller", "many callers"
    assert [(each["round"], each["scenario"], each["road"]) for each in result["samples"]] == [
        *((0, one, "bare"), (0, one, "tollway"), (0, many, "bare"), (0, many, "tollway")),
        *((1, one, "tollway"), (1, one, "bare"), (1, many, "tollway"), (1, many, "bare")),
    ]


def test_every_process_of_a_road_has_its_cpu_time_and_memory(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    for road, processes in PROCESSES.items():
        assert all(set(each["cpu_ms_per_call"]) == processes for each in samples(result, road, "many callers"))
        assert set(result["memory"][road]) == processes
        assert all(0 < each["private"] <= each["pss"] for each in result["memory"][road].values())


def test_ratio_and_difference_are_medians_of_neighbours(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    (p50,) = [each for each in result["figures"] if each["key"] == "p50"]
    bare, tollway = (
        {each["round"]: each["load"]["p50"] for each in samples(result, road, "one caller")}
        for road in ("bare", "tollway")
    )
    assert p50["ratio"] == pytest.approx(median(tollway[number] / bare[number] for number in bare))
    assert p50["added"] == pytest.approx(median(tollway[number] - bare[number] for number in bare))
    assert p50["ratios"] == sorted(p50["ratios"])


def test_what_is_printed_is_what_is_written(ran: tuple[str, dict[str, Any]]) -> None:
    printed, result = ran
    for figure in result["figures"]:
        if figure["ratio"] is not None:
            assert f"{figure['label']} " in printed
            assert f"{figure['ratio']:.2f} ×" in printed
    assert f"{result['ledger']['settled']} calls over Tollway" in printed


ANSWERS = {
    "a refusal": (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\nspent", "spent"),
    "an answer that is too short": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "{}"),
    "an end without an answer": (b"", "closed by the other side"),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_the_load_ends_at_the_first_wrong_answer_and_says_it(answer: bytes, said: str) -> None:
    with answering(answer) as port:
        target = {"host": "127.0.0.1", "port": port, "path": "/", "body": "{}", "answer_bytes": 5}
        turn = {"callers": 2, "calls": 5, "seconds": None, "warm_up": 1}
        done = subprocess.run(
            [sys.executable, "-m", "bench.load"],
            cwd=ROOT,
            input=json.dumps({"target": target, "turn": turn}),
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """A server that gives everybody `answer` once and hangs up; its port."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()
