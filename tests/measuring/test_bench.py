"""`make bench` in small: it runs, it loses no call, and what it says follows from what it measured."""

import contextlib
import io
import json
import shutil
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import pytest
from bench.calls import STREAM, STREAM_CHUNKS, STREAM_END
from bench.figures import PAIRS, AtMost, compared
from bench.go_decision import NoGo, built
from bench.load import Load, unchunked
from bench.report import report
from bench.roads import BARE, TOLLWAY
from bench.run import Result
from bench.scenarios import CASES, MANY, ONE, QUICK, USUAL_CASES, checkpoints, schedule
from bench.turns import Sample
from rich.console import Console

ROOT = Path(__file__).parents[2]
PROCESSES = {"bare": {"sidecar", "gateway"}, "tollway": {"sidecar", "gateway", "extauthz", "supervisor"}}


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, Any]]:
    output = tmp_path_factory.mktemp("bench") / "result.json"
    done = bench("--quick", "--output", str(output))
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(output.read_text())


def samples(result: dict[str, Any], road: str, scenario: str) -> list[dict[str, Any]]:
    return [each for each in result["samples"] if (each["road"], each["scenario"]) == (road, scenario)]


def test_every_call_made_over_tollway_is_settled(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    over_tollway = [
        each for each in result["samples"] if each["road"] in {"tollway", "limits-1", "limits-4", "limits-16"}
    ]
    made = sum(each["load"]["made"] + each["beside"] for each in over_tollway)
    filled = max(each["calls"] for each in result["memory"][:2])
    ledger = result["ledgers"]["tollway"]
    assert ledger["verified"]
    assert sum(ledger["settled"].values()) == made + filled


def test_every_case_is_measured_on_all_its_roads(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    taken = {(each["scenario"], each["road"]) for each in result["samples"]}
    planned = {(scenario.name, road) for _, scenario, road in schedule(QUICK, USUAL_CASES)}
    assert planned - taken == {each for each in planned if each[1] in result["left_out"]}
    assert set(result["left_out"]) == (set() if shutil.which("go") else {"go"})


def test_both_roads_have_every_scenario_in_every_round_and_take_turns_to_begin() -> None:
    order = [(number, scenario.name, road) for number, scenario, road in schedule(QUICK, ("latency", "calls"))]
    twice = [(number, scenario.name, road) for number, scenario, road in schedule(two_rounds(), ("latency", "calls"))]
    assert order == [(0, ONE, BARE), (0, ONE, TOLLWAY), (0, MANY, BARE), (0, MANY, TOLLWAY)]
    assert twice[4:] == [(1, ONE, TOLLWAY), (1, ONE, BARE), (1, MANY, TOLLWAY), (1, MANY, BARE)]


def two_rounds() -> Any:
    return type(QUICK)(2, QUICK.calls, QUICK.seconds, QUICK.remembered)


def test_every_process_of_a_road_has_its_cpu_time_and_memory(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    for road, processes in PROCESSES.items():
        assert all(set(each["cpu_ms_per_call"]) == processes for each in samples(result, road, MANY))
        (*_, last) = [each for each in result["memory"] if each["road"] == road]
        assert set(last["processes"]) == processes
        assert all(0 < each["private"] <= each["pss"] <= each["rss"] for each in last["processes"].values())


def test_memory_is_read_at_the_start_after_so_many_calls_and_at_the_end(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    start, filled, end = [each["calls"] for each in result["memory"] if each["road"] == "tollway"]
    assert start == 0 < QUICK.remembered <= filled < end
    assert checkpoints(1_000_000) == (10_000, 100_000, 1_000_000)


def test_what_is_printed_is_what_is_written_with_the_target_beside_it(ran: tuple[str, dict[str, Any]]) -> None:
    printed, result = ran
    for figure in result["figures"]:
        line = f"{figure['label']} "
        assert line in printed
        if figure["ratio"] is not None:
            assert f"{figure['ratio']:.2f} ×" in printed
    assert f"≤ 7.5 ×  {verdict(result, 'cpu', MANY)}" in printed
    assert f"≤ +1 ms  {verdict(result, 'p50', ONE)}" in printed
    assert printed.count("≤") == sum(figure["target"] is not None for figure in result["figures"]) + 2


def verdict(result: dict[str, Any], key: str, title: str) -> str:
    (met,) = [each["met"] for each in result["figures"] if (each["key"], each["title"]) == (key, title)]
    return "met" if met else "MISSED"


async def test_where_there_is_no_go_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(NoGo, match="there is no Go toolchain here"):
        await built(tmp_path, {"PATH": "/nowhere"})


def test_what_is_left_out_is_said_loudly(ran: tuple[str, dict[str, Any]]) -> None:
    _, result = ran
    without = msgspec.convert({**result, "left_out": {"go": "there is no Go toolchain here"}}, Result)
    console = Console(file=io.StringIO(), width=200)
    for part in report(without):
        console.print(part)
    assert "NOT MEASURED: Envoy with a decision in Go: there is no Go toolchain here" in console.file.getvalue()


def test_a_case_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    done = bench("--only", "latency,nonsense")
    assert done.returncode == 2
    assert f"no such case: nonsense; there are {', '.join(CASES)}" in done.stderr


LOAD = {"made": 10, "measured": 10, "seconds": 1.0, "first": 1.0, "p90": 1.0, "p99": 1.0, "longest": 1.0}


def made_up(number: int, road: str, p50: float, cpu: float) -> Sample:
    load = Load(**LOAD, p50=p50, client_cpu=0.1, idle={})  # type: ignore[arg-type]
    processes = {"gateway": cpu, "sidecar": 1.0, **({"extauthz": 2 * cpu} if road == TOLLWAY else {})}
    return Sample(number, MANY if cpu else ONE, road, load, processes)


def test_ratio_and_difference_are_medians_of_neighbours() -> None:
    # The machine becomes ten times slower in the second round; in the third Tollway alone does.
    pairs = [(1.0, 2.0), (10.0, 30.0), (1.0, 9.0)]
    taken = [
        made_up(number, road, p50, 0)
        for number, pair in enumerate(pairs)
        for road, p50 in zip((BARE, TOLLWAY), pair, strict=True)
    ]
    (p50,) = [each for each in compared(taken) if each.key == "p50"]
    assert (p50.ratio, p50.ratios, p50.added) == (3.0, (2.0, 9.0), median([1.0, 20.0, 8.0]))
    assert (p50.target, p50.met) == (AtMost("added", 1.0), False)


def test_the_headline_is_the_gateway_and_extauthz_over_the_bare_gateway() -> None:
    taken = [made_up(0, BARE, 1.0, 0.5), made_up(0, TOLLWAY, 1.0, 1.2)]
    (cpu,) = [each for each in compared(taken) if each.key == "cpu"]
    assert cpu.ratio == pytest.approx((1.2 + 2.4) / 0.5)
    assert (cpu.target, cpu.met) == (AtMost("ratio", 7.5), True)


def test_every_target_is_of_a_figure_that_its_pair_has() -> None:
    for pair in PAIRS:
        assert set(pair.targets) <= {figure.key for figure in pair.figures}


ANSWERS = {
    "a refusal": (b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 5\r\n\r\nspent", "spent"),
    "an answer that is too short": (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "{}"),
    "a stream that is too short": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\ndata\r\n0\r\n\r\n",
        "data",
    ),
    "an end without an answer": (b"", "closed by the other side"),
}


@pytest.mark.parametrize(("answer", "said"), ANSWERS.values(), ids=ANSWERS)
def test_the_load_ends_at_the_first_wrong_answer_and_says_it(answer: bytes, said: str) -> None:
    with answering(answer) as port:
        done = load(port, {"callers": 2, "calls": 5, "warm_up": 1})
    assert done.returncode == 1
    assert '"made"' not in done.stdout
    assert said in done.stderr


def test_a_stream_is_whole_when_all_its_chunks_are() -> None:
    content = b"".join(STREAM_CHUNKS) + STREAM_END
    chunked = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:70], content[70:])) + b"0\r\n\r\n"
    assert unchunked(chunked) == content
    assert STREAM.answer_bytes == len(content)


def load(port: int, turn: dict[str, object]) -> subprocess.CompletedProcess[str]:
    target = {"host": "127.0.0.1", "port": port, "path": "/", "body": "{}", "answer_bytes": 5}
    job = json.dumps({"target": target, "turn": turn}) + "\n"
    command = [sys.executable, "-m", "bench.load"]
    return subprocess.run(command, cwd=ROOT, input=job, capture_output=True, text=True, timeout=30, check=False)


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
