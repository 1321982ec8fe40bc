"""Words that are found nowhere by accident, and where a running installation could have left them."""

import base64
import json
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from installations import Installation, children_of
from reading_hostile.gateway import asked

CANARIES: Mapping[str, str] = {
    what: f"canary{number}zq{what.replace(' ', '')}xv7Kd93"
    for number, what in enumerate(
        [
            *("a prompt", "a system prompt", "an answer", "an answer in a stream", "a provider's error"),
            *("the provider's key", "the agent's own key", "a cookie", "a tool's arguments", "a tool's result"),
            *("a tool's description", "metadata", "a query", "a header of the answer", "a file name", "a user"),
        ]
    )
}
KEY = CANARIES["the provider's key"]


def spellings(canary: str) -> Iterator[bytes]:
    """As it is, in hexadecimal digits, and in base64 at each of the three places where it can begin."""
    plain = canary.encode()
    yield plain
    yield plain.hex().encode()
    yield plain[::-1]
    for before in range(3):
        encoded = base64.b64encode(b"x" * before + plain)
        yield encoded[4 if before else 0 : -4]


def found_in(said: bytes) -> set[str]:
    """Which canaries it contains."""
    return {what for what, canary in CANARIES.items() if any(each in said for each in spellings(canary))}


@dataclass(frozen=True)
class Place:
    name: str
    content: bytes


def files_below(directory: Path) -> Iterator[Path]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder) / name
            if stat.S_ISREG(path.lstat().st_mode):
                yield path


def state(installation: Installation) -> Iterator[Place]:
    """Every file that an installation keeps: logs, the ledger with what is not yet in its main file, certificates."""
    for path in files_below(installation.state):
        yield Place(str(path.relative_to(installation.state)), path.read_bytes())
    yield Place("what `tollway up` said", installation.output.read_bytes())
    yield Place("the ready file", installation.ready_file.read_bytes())


def processes(installation: Installation) -> Iterator[Place]:
    """What `ps` shows of each process, and the environment that its owner can read."""
    for pid in (installation.pid, *children_of(installation.pid)):
        for file in ("cmdline", "environ", "comm"):
            yield Place(f"{file} of process {pid}", Path(f"/proc/{pid}/{file}").read_bytes())


ADMIN = ("/status", "/standing", "/limits", "/ledger", "/ledger/verify", "/top")
ENVOY = ("/config_dump", "/stats", "/clusters", "/listeners", "/certs", "/server_info")


def calls(installation: Installation) -> list[dict[str, Any]]:
    """What the ledger says of each."""
    found: list[dict[str, Any]] = json.loads(asked(installation.state / "run" / "admin.sock", "/ledger"))["calls"]
    return found


def answers(installation: Installation) -> Iterator[Place]:
    """What the administration sockets of the data plane and of every Envoy answer."""
    run = installation.state / "run"
    for target in (*ADMIN, *(f"/explain/{call['id']}" for call in calls(installation))):
        yield Place(f"admin {target}", asked(run / "admin.sock", target))
    for socket in run.glob("*.sock"):
        if socket.name.startswith(("gateway", "agent-")):
            for target in ENVOY:
                yield Place(f"{socket.name} {target}", asked(socket, target))
