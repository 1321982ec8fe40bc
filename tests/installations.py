"""A real installation for tests: `tollway up` as a process, real Envoys, the demo provider behind them.

Builders show only what matters to a case: `agent("researcher")`, `quota("daily", cost="1.00")`.
"""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

from tollway_cli.demo.provider import ProviderSettings, make_app

API = "tollway.dev/v1alpha1"
KEY = "sk-canary-provider-key"
START_TIMEOUT_S = 60.0


def agent(
    name: str, namespace: str = "team-a", *, labels: Mapping[str, str] | None = None, **spec: object
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"agent": name, **(labels or {})}}
    return {
        "apiVersion": API,
        "kind": "AgentIdentity",
        "metadata": metadata,
        "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
    }


def quota(
    name: str, *limits: Mapping[str, object], namespace: str = "team-a", only: str = "", **spec: object
) -> dict[str, Any]:
    """A quota of `limits`; `only`: of the one agent of this name."""
    if only:
        spec["agents"] = {"matchLabels": {"agent": only}}
    return {
        "apiVersion": API,
        "kind": "AIQuota",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"limits": list(limits), **spec},
    }


def budget(amount: str) -> dict[str, object]:
    return {"name": "budget", "cost": amount, "window": "Lifetime"}


def provider(name: str = "openai", **spec: object) -> dict[str, Any]:
    return {
        "apiVersion": API,
        "kind": "AIProvider",
        "metadata": {"name": name},
        "spec": {
            "type": "OpenAI",
            "allowPlaintext": True,
            "credential": {"secretRef": {"name": "openai-key", "key": "api-key"}},
            **spec,
        },
    }


def secret(name: str = "openai-key", key: str = "api-key", value: str = KEY) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "tollway-system"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {key: value}}


class DemoProvider:
    """The demo provider in a thread of its own, so that a test can read what it served."""

    def __init__(self, settings: ProviderSettings) -> None:
        self.app = make_app(settings)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner = web.AppRunner(self.app, access_log=None)
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _start(self) -> None:
        await self._runner.setup()
        listening = socket.create_server(("127.0.0.1", 0))
        self.port = listening.getsockname()[1]
        await self._site(listening).start()

    def _site(self, listening: socket.socket) -> web.SockSite:
        return web.SockSite(self._runner, listening)


class Installation:
    """A running `tollway up`."""

    program: Sequence[str] = ("-m", "tollway_cli")
    """What Python runs to serve."""

    def __init__(self, folder: Path, documents: Sequence[Mapping[str, Any]], arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.config = folder / "config"
        self.state = folder / "state"
        self.ready_file = folder / "ready.json"
        self.output = folder / "up.log"
        self.config.mkdir()
        self.write("resources.yaml", documents)
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, name: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Replace one file of the configuration at once, as an editor or a checkout does."""
        fresh = self.folder / f"{name}.new"
        fresh.write_text(yaml.safe_dump_all(documents))
        fresh.rename(self.config / name)

    def start(self) -> None:
        command = [sys.executable, *self.program, "up", "--config", self.config, "--state", self.state]
        command += ["--ready-file", self.ready_file, *self._arguments]
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        wait_until(self._is_ready, START_TIMEOUT_S, self._log)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        return self._process.wait(30)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def ready(self) -> dict[str, Any]:
        return json.loads(self.ready_file.read_text())

    def base_url(self, agent: str, provider: str = "openai") -> str:
        return self.ready["agents"][agent]["base_urls"][provider]

    def tollway(self, *arguments: str, codes: Sequence[int] = (0,)) -> str:
        """Run the command against this instance."""
        command = [sys.executable, "-m", "tollway_cli", *arguments, "--state", str(self.state)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode in codes, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def calls(self) -> list[dict[str, Any]]:
        return json.loads(self.tollway("ledger", "-o", "json"))["calls"]

    def settled_calls(self, number: int, timeout: float = 20.0) -> list[dict[str, Any]]:
        """All calls, once `number` of them have ended and none is open. It may be starting again meanwhile."""
        found: list[dict[str, Any]] = []

        def all_ended() -> bool:
            answer = self.tollway("ledger", "-o", "json", codes=(0, 3))
            found[:] = json.loads(answer)["calls"] if answer else []
            ended = [call for call in found if call["outcome"] != "refused"]
            return len(ended) >= number and all(call["outcome"] != "open" for call in ended)

        wait_until(all_ended, timeout, lambda: str(found))
        return found

    def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"`tollway up` ended with {self._process.returncode}\n{self._log()}")
        return self.ready_file.exists()

    def _log(self) -> str:
        return self.output.read_text()[-8000:]


def wait_until(true: Callable[[], bool], timeout: float, describe: Callable[[], str] = lambda: "") -> None:
    """Poll until it is true; fail with a description. `timeout` is seconds of a machine that has time: where more wants
    to run than there are cores, they are longer."""
    timeout *= max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline, f"not true within {timeout:.1f} s\n{describe()}"
        time.sleep(0.02)


@contextlib.contextmanager
def running(
    documents: Sequence[Mapping[str, Any]],
    *,
    settings: ProviderSettings | None = None,
    arguments: Sequence[str] = (),
    kind: type[Installation] = Installation,
) -> Iterator[tuple[Installation, DemoProvider]]:
    """An installation of `documents` with the demo provider as the endpoint of every AIProvider that names none."""
    with (
        DemoProvider(settings or ProviderSettings(key=KEY)) as served,
        tempfile.TemporaryDirectory(prefix="tollway-") as folder,
    ):
        for document in documents:
            if document["kind"] == "AIProvider":
                document["spec"].setdefault("endpoint", served.endpoint)
        installation = kind(Path(folder), documents, arguments)
        installation.start()
        try:
            yield installation, served
        finally:
            if installation._process is not None and installation._process.poll() is None:
                installation.stop()


def children_of(pid: int) -> list[int]:
    """The processes that `pid` started, and theirs."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid:
                found += [int(entry.name), *children_of(int(entry.name))]
    return found
