"""Calls through the sidecar of a running installation's agent, and what the gateway's Envoy counts."""

import contextlib
import http.client
import json
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from installations import Installation

BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 20}


@dataclass(frozen=True)
class Call:
    status: int
    reason: str


def call(installation: Installation, provider: str = "openai", agent: str = "team-a/caller") -> Call:
    """A small chat completion, at whatever provider the path names."""
    address = urlsplit(installation.base_url(agent))
    with contextlib.closing(http.client.HTTPConnection(address.netloc, timeout=10)) as connection:
        headers = {"content-type": "application/json"}
        connection.request("POST", f"/{provider}/v1/chat/completions", json.dumps(BODY), headers)
        answer = connection.getresponse()
        answer.read()
        return Call(answer.status, answer.headers.get("x-tollway-reason", ""))


class UnixConnection(http.client.HTTPConnection):
    """HTTP to a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(str(self._path.resolve()))


def asked(path: Path, target: str) -> bytes:
    """What a server on a Unix socket says to a GET."""
    with contextlib.closing(UnixConnection(path)) as connection:
        connection.request("GET", target)
        return connection.getresponse().read()


def counter(installation: Installation, names: str) -> int:
    """The sum of the gateway's counters whose names match."""
    said = asked(installation.state / "run" / "gateway.sock", f"/stats?filter={names}")
    return sum(int(number) for number in re.findall(rb": (\d+)$", said, re.MULTILINE))
