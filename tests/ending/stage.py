"""An installation, the acting provider behind it, callers that leave when a test wants, and the books afterwards."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ending.acting_provider import CAP, ActingProvider, Bill
from installations import Installation, agent, children_of, provider, quota, running, secret, wait_until
from ports import nobodys_port

FLUSH_S = 0.1
"""How often Envoy writes its access log to the disk."""
HERE = Path(__file__).parent
AGENT = "team-a/caller"
LIMITS = (
    {"name": "requests", "requests": 100_000, "window": "Lifetime"},
    {"name": "input", "inputTokens": 100_000_000, "window": "Lifetime"},
    {"name": "output", "outputTokens": 100_000_000, "window": "Lifetime"},
    {"name": "money", "cost": "9000.00", "window": "Lifetime"},
    {"name": "parallel", "concurrent": 1000},
)


@dataclass(frozen=True)
class Way:
    """How an API is called: the model, the path, the field of the cap, headers that it wants."""

    provider: str
    path: str
    model: str
    cap: str
    headers: Mapping[str, str]

    def body(self, prompt: str, cap: int, *, stream: bool) -> bytes:
        messages = [{"role": "user", "content": prompt}]
        return json.dumps({"model": self.model, "messages": messages, "stream": stream, self.cap: cap}).encode()


CHAT = Way("openai", "/v1/chat/completions", "gpt-4o-mini", "max_completion_tokens", {})
HIDING = Way("openai", "/v1/chat/completions", "gpt-5-mini", "max_completion_tokens", {})
COMPATIBLE = Way("compatible", "/v1/chat/completions", "in-house", "max_tokens", {})
MESSAGES = Way("anthropic", "/v1/messages", "claude-sonnet-4-5", "max_tokens", {"anthropic-version": "2023-06-01"})
NOBODY = Way("nobody", "/v1/chat/completions", "gpt-4o-mini", "max_completion_tokens", {})


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path))


class TunedInstallation(Installation):
    program = (str(HERE / "tuned_up.py"),)


class Call:
    """One call on a connection of its own."""

    def __init__(self, base_url: str, way: Way, prompt: str, cap: int = CAP, *, stream: bool = False) -> None:
        self.prompt = prompt
        host, prefix = base_url.removeprefix("http://").split("/", 1)
        self._connection = http.client.HTTPConnection(host, timeout=30)
        headers = {"content-type": "application/json", **way.headers}
        path = f"/{prefix.split('/')[0]}{way.path}"
        self._connection.request("POST", path, way.body(prompt, cap, stream=stream), headers)
        self._response: http.client.HTTPResponse | None = None

    @property
    def response(self) -> http.client.HTTPResponse:
        if self._response is None:
            self._response = self._connection.getresponse()
        return self._response

    @property
    def id(self) -> str:
        return self.response.headers["x-request-id"]

    def read(self) -> bytes:
        """To the end, however it comes."""
        try:
            return self.response.read()
        except (http.client.HTTPException, OSError):
            return b""
        finally:
            self.leave()

    def read_until(self, text: bytes) -> bytes:
        read = b""
        while text not in read:
            more = self.response.read1(4096)
            assert more, f"the answer ended: {read!r}"
            read += more
        return read

    def leave(self) -> None:
        """Close the connection, with whatever is still under way."""
        if self._response is not None:
            self._response.close()
        self._connection.close()


class Stage:
    def __init__(self, installation: Installation, acting: ActingProvider) -> None:
        self.installation = installation
        self.acting = acting
        self._numbers = itertools.count()
        self._calls: list[Call] = []

    # Calling

    def call(self, act: str, way: Way = CHAT, cap: int = CAP) -> Call:
        prompt = f"{act} #{next(self._numbers)}"
        call = Call(self._base_url(way), way, prompt, cap, stream=act.startswith("stream"))
        self._calls.append(call)
        return call

    def everybody_leaves(self) -> None:
        for call in self._calls:
            call.leave()

    def _base_url(self, way: Way) -> str:
        return self.installation.base_url(AGENT, way.provider)

    def begun(self, act: str, way: Way = CHAT) -> tuple[Call, Bill]:
        """A call that the provider has begun to answer."""
        call = self.call(act, way)
        return call, self.bill(call)

    def bill(self, call: Call) -> Bill:
        """Of a call, once the provider has it."""
        wait_until(lambda: any(bill.prompt == call.prompt for bill in self.acting.bills), 10)
        return next(bill for bill in self.acting.bills if bill.prompt == call.prompt)

    # The books

    def ask(self, path: str) -> Any:
        connection = _UnixConnection(self.installation.state / "run" / "admin.sock")
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            assert answer.status == 200, (path, answer.status, answer.read())
            return json.loads(answer.read())

    def calls(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.ask("/ledger")["calls"]
        return found

    def ended(self, call_id: str, within: float = 10.0) -> dict[str, Any]:
        """A call as it stands in the books once it has ended."""
        return self.known(call_id, lambda call: call["outcome"] != "open", within)

    def books(self, call_id: str) -> dict[str, Any]:
        """A call as it stands in the books now."""
        return self.known(call_id, lambda _: True)

    def known(self, call_id: str, as_what: Callable[[dict[str, Any]], bool], within: float = 10.0) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        def is_known() -> bool:
            found[:] = [call for call in self.calls() if call["id"] == call_id and as_what(call)]
            return bool(found)

        wait_until(is_known, within, lambda: str([call for call in self.calls() if call["id"] == call_id]))
        return found[0]

    def explained(self, call_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask(f"/explain/{call_id}")
        return found

    def granted(self) -> set[str]:
        """The ids of all calls that ever got a hold."""
        return {call["id"] for call in self.calls() if call["outcome"] != "refused"}

    def in_order(self) -> bool:
        """Whether all counters are what the journal adds up to, that is what the calls came to, each once, and no call
        came to less than what the provider generated for it."""
        calls = {call["id"]: call for call in self.calls() if call["outcome"] != "refused"}
        assert all(covers(calls[bill.call], bill) for bill in self.acting.bills), (self.acting.bills, calls)
        return self._adds_up(list(calls.values()))

    def _adds_up(self, calls: Sequence[Mapping[str, Any]]) -> bool:
        assert self.ask("/ledger/verify")["ok"]
        assert all(call["outcome"] != "open" for call in calls), calls
        counters = {counter["limit"]: counter for counter in self.ask("/limits")["counters"]}
        sums = {
            "input": sum(call["input_tokens"] for call in calls),
            "output": sum(call["output_tokens"] for call in calls),
            "money": sum(call["cost"] for call in calls),
        }
        assert {name: counters[name]["used"] for name in sums} == sums
        assert {counter["held"] for counter in counters.values()} == {0}
        return True

    # Its processes

    def pid(self, part: str) -> int:
        """Of the process that has `part` in its command."""
        for pid in children_of(self.installation.pid):
            with contextlib.suppress(OSError):
                if part in Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "):
                    return pid
        return 0

    @property
    def gateway(self) -> int:
        return self.pid("gateway/bootstrap.json")

    @property
    def data_plane(self) -> int:
        return self.pid("extauthz/settings.json")

    @property
    def sidecar(self) -> int:
        return self.pid("agents/team-a_caller/bootstrap.json")

    def kill(self, pid: int) -> None:
        """Kill it, and wait until another has taken its place and serves."""
        part = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        name = next(each for each in part if each.endswith(("bootstrap.json", "settings.json")))
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: self.pid(name) not in (0, pid), 20)
        self.wait_until_it_serves()

    @contextlib.contextmanager
    def paused(self, pid: int) -> Iterator[None]:
        """A process that the kernel gives no time."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def data_plane_dies(self, moment: str) -> Iterator[None]:
        """Kill it at a moment of `dying_data_plane`, and wait until another has taken its place and serves."""
        (self.installation.state / moment).touch()
        yield
        wait_until(lambda: not (self.installation.state / moment).exists(), 10)
        self.wait_until_it_serves()

    @contextlib.contextmanager
    def locked_ledger(self) -> Iterator[None]:
        """Nobody can write to the ledger."""
        connection = sqlite3.connect(self.installation.state / "ledger.sqlite", isolation_level=None, timeout=10)
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            yield
            connection.execute("ROLLBACK")

    def put_into_force(self, resources: Sequence[Mapping[str, Any]]) -> None:
        before = self.ask("/status")["generation"]
        self.installation.write("resources.yaml", resources)
        # A change that takes something away comes in two generations; what follows waits for the last.
        wait_until(lambda: self.ask("/status")["generation"] > before and self._last_change_is_in_force(), 20)

    def _last_change_is_in_force(self) -> bool:
        return "the change is in force" in self.installation.output.read_text().splitlines()[-1]

    def wait_for_check(self) -> None:
        """Until the gateway has asked about a call that nobody has answered."""
        wait_until(lambda: self._gauge("cluster.check.upstream_rq_active") > 0, 10)

    def wait_for_line(self) -> None:
        """Until the gateway has no call any more, and all that it wrote of them is in the file."""
        wait_until(lambda: self._gauge("http.road.downstream_rq_active") == 0, 10)
        time.sleep(2 * FLUSH_S)

    def _gauge(self, name: str) -> int:
        connection = _UnixConnection(self.installation.state / "run" / "gateway.sock")
        with contextlib.closing(connection):
            connection.request("GET", f"/stats?filter=^{name}$")
            return int(connection.getresponse().read().rpartition(b": ")[2])

    def wait_until_it_serves(self) -> None:
        """Until calls are decided again: a call that is refused goes the whole road."""

        def decides() -> bool:
            try:
                call = Call(self._base_url(CHAT), replace(CHAT, model="no-such-model"), "")
                call.read()
            except (http.client.HTTPException, OSError):
                return False
            return call.response.status < 500

        wait_until(decides, 20)


def documents(acting: ActingProvider, *more: Mapping[str, Any]) -> list[dict[str, Any]]:
    priced = {"prices": [{"model": "in-house", "input": "0.15", "output": "0.60"}]}
    known = {"models": [{"name": "in-house", "hiddenOutput": False, "maxOutputTokens": 4096}]}
    endpoint = acting.endpoint
    return [
        secret(),
        provider(endpoint=endpoint, default=True),
        provider("compatible", type="OpenAICompatible", endpoint=endpoint, **priced, **known),
        provider("anthropic", type="Anthropic", endpoint=endpoint),
        provider("nobody", endpoint=f"http://127.0.0.1:{nobodys_port()}"),
        agent("caller"),
        quota("plenty", *LIMITS),
        *(dict(each) for each in more),
    ]


@contextlib.contextmanager
def staged(*options: str, **tuning: object) -> Iterator[Stage]:
    """`options` of `tuned_up`; `tuning`: fields of `tollway_cli.standalone.tuning.Tuning`."""
    arguments = [*options, "--tuning", json.dumps(tuning)]
    with ActingProvider() as acting, running(documents(acting), arguments=arguments, kind=TunedInstallation) as (up, _):
        stage = Stage(up, acting)
        stage.wait_until_it_serves()
        try:
            yield stage
        finally:
            stage.everybody_leaves()


def covers(call: Mapping[str, Any], bill: Bill) -> bool:
    """Whether the charge is at least what the provider generated, and at most what the call could have come to."""
    most = max(call["size"], bill.output)
    return bill.input <= call["input_tokens"] and bill.output <= call["output_tokens"] <= most
