"""Prompts, answers, keys and everything else that calls carry are seen by who they are for, and kept nowhere.

Canaries are planted in all of it; calls end in every way; then every file, log, metric, answer, refusal and process of
a real installation is searched for them.
"""

import contextlib
import http.client
import json
import os
import signal
import sqlite3
import stat
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from installations import Installation, agent, budget, children_of, provider, quota, running, secret, wait_until
from leaking.canaries import CANARIES, KEY, Place, answers, calls, files_below, found_in, processes, state
from leaking.telling_provider import TellingProvider

PATH = "/openai/v1/chat/completions"
BIG = 100_000
"""Over what is read in a process of its own."""


@dataclass(frozen=True)
class Heard:
    """An answer as the agent got it. `ours`: it is Tollway's own, and not the provider's."""

    status: int
    ours: bool
    raw: bytes


@dataclass
class Scene:
    installation: Installation
    provider: TellingProvider
    heard: list[Heard] = field(default_factory=list)

    def call(
        self, act: str, agent: str = "caller", path: str = PATH, body: bytes | None = None, leave: bool = False
    ) -> Heard:
        address = urlsplit(self.installation.base_url(f"team-a/{agent}"))
        with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=20)) as connection:
            connection.request("POST", path, request(act) if body is None else body, HEADERS)
            answer = connection.getresponse()
            if leave:
                content = answer.read1(64)
            else:
                with contextlib.suppress(http.client.IncompleteRead):
                    content = b""
                    content = answer.read()
            raw = f"{answer.status} {answer.reason}\n{answer.headers}".encode() + content
            self.heard.append(Heard(answer.status, "x-told" not in answer.headers, raw))
        return self.heard[-1]

    @property
    def data_plane(self) -> int:
        for pid in children_of(self.installation.pid):
            with contextlib.suppress(OSError):
                if b"extauthz/settings.json" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
        return 0


AGENTS_KEY = "the agent's own key"
HEADERS = {
    "content-type": "application/json",
    "authorization": f"Bearer {CANARIES[AGENTS_KEY]}",
    "x-api-key": CANARIES[AGENTS_KEY],
    "openai-organization": CANARIES[AGENTS_KEY],
    "cookie": f"session={CANARIES['a cookie']}",
    "user-agent": "an-agent/1.0",
}


def request(act: str, **more: Any) -> bytes:
    """A request that says canaries wherever a request can say anything."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": CANARIES["a tool's arguments"]}}
    tool = {"name": "f", "description": CANARIES["a tool's description"], "parameters": {"type": "object"}}
    messages = [
        {"role": "system", "content": CANARIES["a system prompt"]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": CANARIES["a tool's result"]},
        {"role": "user", "content": f"{act} {CANARIES['a prompt']}"},
    ]
    stream = act in ("stream", "linger", "cut")
    said = {"model": "gpt-4o-mini", "messages": messages, "stream": stream, "max_completion_tokens": 30}
    said |= {"tools": [{"type": "function", "function": tool}], "metadata": {"note": CANARIES["metadata"]}}
    return json.dumps({**said, "user": CANARIES["a user"], **more}).encode()


def refused_bodies() -> Sequence[bytes]:
    """Each of them is wrong in another way, and says canaries where it is."""
    prompt = CANARIES["a prompt"]
    part = {"type": "file", "file": {"filename": CANARIES["a file name"], "file_data": prompt, "file_id": prompt}}
    return (
        prompt.encode(),
        request("whole")[:-1],
        b'{"model":"' + prompt.encode() + b'\xff"}',
        request("whole", messages=[{"role": "user", "content": prompt, prompt.upper(): 1}]),
        request("whole", messages=[{"role": "user", "content": [part]}]),
        request("whole", messages=prompt),
        request("whole", max_tokens=7),
        request("whole", max_completion_tokens=prompt),
        request("whole", stream=prompt),
        request("whole", service_tier=prompt),
        request("whole", n=10**30),
        request("whole", tools=[{"type": prompt}]),
        request("whole", metadata={"a": CANARIES["metadata"]}, store=True),
        request("whole", messages=[{"role": "user", "content": prompt * (BIG // 20)}], stream=prompt),
        (prompt * (BIG // 20)).encode(),
    )


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with TellingProvider() as telling:
        documents = [
            secret(value=KEY),
            provider(endpoint=telling.endpoint),
            agent("caller"),
            agent("poor"),
            quota("plenty", budget("50.00"), {"name": "requests", "requests": 1000, "window": "1m"}, only="caller"),
            quota("nothing", budget("0.00"), only="poor"),
        ]
        with running(documents) as (installation, _):
            scene = Scene(installation, telling)
            make_calls(scene)
            yield scene


def make_calls(scene: Scene) -> None:
    """Of every outcome."""
    granted = [scene.call(act).status for act in ("whole", "stream", "cut", "400", "429", "500")]
    assert granted == [200, 200, 200, 400, 429, 500]
    assert scene.call("linger", leave=True).status == 200
    assert scene.call("nonsense").status >= 500
    assert scene.call("whole", body=request("whole", user="x" * BIG)).status == 200
    assert scene.call("whole", "poor").status == 429
    assert {scene.call("whole", body=body).status for body in refused_bodies()} <= {400, 413}
    assert scene.call("whole", body=request("whole", model="no-such-model")).status in (403, 404)
    assert scene.call("whole", path=f"{PATH}?key={CANARIES['a query']}").status == 400
    assert scene.call("whole", path=f"/nowhere/v1?key={CANARIES['a query']}").status == 404
    assert scene.call("whole", path=f"/openai//v1/?{CANARIES['a query']}=1").status == 400
    assert scene.call("whole", path=f"/openai/v1/files?{CANARIES['a query']}").status in (400, 404)
    failures_of_our_own(scene)
    wait_until(lambda: all(call["outcome"] != "open" for call in calls(scene.installation)), 30)


def failures_of_our_own(scene: Scene) -> None:
    with contextlib.closing(sqlite3.connect(scene.installation.state / "ledger.sqlite", timeout=20)) as ledger:
        ledger.isolation_level = None
        ledger.execute("BEGIN IMMEDIATE")
        assert scene.call("whole").status == 503
        ledger.execute("ROLLBACK")
    killed = scene.data_plane
    os.kill(killed, signal.SIGKILL)
    assert scene.call("whole").status == 503
    wait_until(lambda: scene.data_plane not in (0, killed) and scene.call("whole").status == 200, 30)


# --- that there is something to be found ---------------------------------------------------------------------------


def test_what_a_call_carries_reaches_the_provider_with_its_key_and_without_the_agents_own(scene: Scene) -> None:
    heard = found_in(b"".join(scene.provider.heard))
    asked = {"a prompt", "a system prompt", "metadata", "a user", "the provider's key"}
    tools = {"a tool's arguments", "a tool's result", "a tool's description"}
    assert heard == asked | tools


def test_what_the_provider_tells_reaches_the_agent(scene: Scene) -> None:
    told = found_in(b"".join(heard.raw for heard in scene.heard if not heard.ours))
    assert {"an answer", "an answer in a stream", "a provider's error", "a header of the answer"} <= told
    assert "the provider's key" not in told


def test_the_search_sees_what_is_there_however_it_is_spelt() -> None:
    for encoded in (KEY, KEY.encode().hex(), b64encode(f"Bearer {KEY}".encode()).decode()):
        assert found_in(f"x{encoded}x".encode()) == {"the provider's key"}


# --- that it is found nowhere --------------------------------------------------------------------------------------


def leaks(places: Iterator[Place]) -> dict[str, set[str]]:
    return {place.name: found for place in places if (found := found_in(place.content))}


def test_nothing_of_a_call_is_in_a_refusal_its_headers_included(scene: Scene) -> None:
    ours = [heard for heard in scene.heard if heard.ours]
    assert {heard.status for heard in ours} >= {400, 404, 429, 503}
    assert len(ours) >= 20
    assert {heard.raw: found for heard in ours if (found := found_in(heard.raw))} == {}


def test_the_only_file_with_the_key_is_the_gateway_s_which_nobody_else_may_read(scene: Scene) -> None:
    holding = [path for path in files_below(scene.installation.state) if KEY.encode() in path.read_bytes()]
    assert [path.name for path in holding] == ["credential-openai.json"]
    (path,) = holding
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {stat.S_IMODE(each.stat().st_mode) for each in (scene.installation.state, path.parent)} == {0o700}


def test_nothing_of_a_call_is_in_any_log_the_ledger_or_another_file(scene: Scene) -> None:
    places = {place.name: place for place in state(scene.installation)}
    names = " ".join(places)
    for expected in ("ledger.sqlite", "ledger.sqlite-wal", "access.log", "envoy.log", "extauthz.log", "rules.json"):
        assert expected in names
    assert b'"code":200' in places["gateway/access.log"].content
    kept = leaks(iter(places.values()))
    assert [(Path(name).name, found) for name, found in kept.items()] == [
        ("credential-openai.json", {"the provider's key"})
    ]


def test_nothing_of_a_call_is_in_a_metric(scene: Scene) -> None:
    settings = json.loads((scene.installation.state / "extauthz" / "settings.json").read_text())
    with urllib.request.urlopen(f"http://127.0.0.1:{settings['metrics_port']}/metrics") as answer:
        metrics = answer.read()
    assert b"tollway_checks_total" in metrics
    assert found_in(metrics) == set()


def test_nothing_of_a_call_is_in_what_the_administration_answers(scene: Scene) -> None:
    places = list(answers(scene.installation))
    assert sum(place.name.startswith("admin /explain/") for place in places) >= 20
    assert leaks(iter(places)) == {}


def test_nothing_of_a_call_is_in_what_the_command_says(scene: Scene) -> None:
    said = "".join(scene.installation.tollway(*command, codes=(0, 1)) for command in (["ledger"], ["doctor"]))
    assert "gpt-4o-mini" in said
    assert found_in(said.encode()) == set()


def test_nothing_of_a_call_is_in_what_ps_shows_or_an_environment(scene: Scene) -> None:
    places = list(processes(scene.installation))
    assert len(places) >= 12
    assert leaks(iter(places)) == {}
