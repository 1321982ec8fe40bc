"""A running instance as the command sees it: a ready file, and a real server on a Unix socket with canned answers."""

import json
import socketserver
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tollway_cli.__main__ import main

RESEARCHER = "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> object:
        return json.loads(self.out)


@pytest.fixture
def tollway(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run the command in this process."""

    def run(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["tollway", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Ran(ended.value.code, captured.out, captured.err)

    return run


@dataclass
class Instance:
    state: Path
    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    """"GET /path" -> status, JSON (text where it is a string)."""
    asked: list[tuple[str, object]] = field(default_factory=list)
    """Method and target with query, and the body."""


class _Handler(BaseHTTPRequestHandler):
    instance: Instance

    def do_GET(self) -> None:
        self._answer(None)

    def do_POST(self) -> None:
        self._answer(json.loads(self.rfile.read(int(self.headers["content-length"]))))

    def _answer(self, body: object) -> None:
        self.instance.asked.append((f"{self.command} {self.path}", body))
        asked = f"{self.command} {self.path.partition('?')[0]}"
        status, answer = self.instance.answers.get(asked, (404, "there is nothing here"))
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Instance]:
    found = Instance(tmp_path)
    handler = type("Handler", (_Handler,), {"instance": found})
    with socketserver.ThreadingUnixStreamServer(str(tmp_path / "admin.sock"), handler) as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        (tmp_path / "ready.json").write_text(json.dumps(ready(tmp_path)))
        yield found
        server.shutdown()
        thread.join()


def ready(state: Path) -> object:
    return {
        "gateway": "https://127.0.0.1:14001",
        "admin": f"unix://{state / 'admin.sock'}",
        "agents": {
            "team-a/researcher": {
                "spiffe_id": RESEARCHER,
                "base_urls": {"openai": "http://127.0.0.1:15001/openai/v1"},
                "env": {"OPENAI_BASE_URL": "http://127.0.0.1:15001/openai/v1", "OPENAI_API_KEY": "tollway"},
            }
        },
    }
