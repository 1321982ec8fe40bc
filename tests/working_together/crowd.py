"""Callers of a running installation, what they are told, and what its workers say."""

import http.client
import json
import threading
from collections import Counter
from typing import Any, Self
from urllib.parse import urlsplit

import msgspec

from installations import Installation, wait_until
from tollway_cli.failures import Broken
from tollway_cli.standalone.self_report import read_report
from tollway_cli.standalone.state import StateDirectory
from tollway_cli.standalone.workers import numbered
from tollway_cli.views.instance import Admin
from tollway_extauthz.metrics import Counts
from tollway_extauthz.other_workers import Told

CHEAP = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "go"}], "max_completion_tokens": 8}
NOTHING = "the connection ended"


class Line:
    """One kept connection of an agent to its sidecar."""

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        self._path = f"{parts.path}/chat/completions"
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)

    def call(self, body: dict[str, Any] = CHEAP) -> str:
        """Returns why the call was refused; "" for an answer."""
        try:
            headers = {"content-type": "application/json", "authorization": "Bearer x"}
            self._connection.request("POST", self._path, json.dumps(body), headers)
            response = self._connection.getresponse()
            said = json.loads(response.read())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            return NOTHING
        return "" if response.status == 200 else reason(response, said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()


def reason(response: http.client.HTTPResponse, said: dict[str, Any]) -> str:
    """The reason of a refusal that is shaped as OpenAI's; else what there is of it."""
    shaped = said.keys() == {"error"} and said["error"].keys() == {"message", "type", "param", "code"}
    return response.headers["x-tollway-reason"] if shaped else f"{response.status} {said}"


class Crowd:
    """Callers that call without a pause; how often each of them was told what."""

    def __init__(self, base_url: str, callers: int) -> None:
        self.told: Counter[str] = Counter()
        self._base_url = base_url
        self._gone = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._call) for _ in range(callers)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._gone.set()
        for thread in self._threads:
            thread.join()

    def is_answered(self, more: int) -> None:
        """Wait until so many more calls were answered."""
        enough = self.told[""] + more
        wait_until(lambda: self.told[""] >= enough, 30, lambda: str(self.told))

    def _call(self) -> None:
        with Line(self._base_url) as line:
            while not self._gone.is_set():
                told = line.call()
                with self._lock:
                    self.told[told] += 1


def pid_of(installation: Installation, name: str) -> int | None:
    report = read_report(installation.state)
    assert report is not None
    return next(process.pid for process in report.processes if process.name == name)


def generation_of(installation: Installation, worker: int) -> int | None:
    """By which rules it decides; None while it does not answer."""
    try:
        return json.loads(_asked(installation, worker, "/status"))["generation"]
    except Broken:
        return None


def counted_by(installation: Installation, worker: int) -> Counts:
    """What one of the workers beside the first has counted."""
    return msgspec.msgpack.decode(_asked(installation, worker, "/counts"), type=Told).counts


def _asked(installation: Installation, worker: int, target: str) -> bytes:
    return Admin(str(StateDirectory.at(installation.state).socket(numbered("admin", worker)))).get(target)
