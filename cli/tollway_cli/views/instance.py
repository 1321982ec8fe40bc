"""A running instance as the views ask it: its admin application, and who its agents and providers are.

Here is the one of this machine, found by its state directory and asked by the standard library's HTTP, which starts
fast. The one of a cluster is in `tollway_cli.cluster`.
"""

import http.client
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlencode

import msgspec

from tollway_cli.failures import AnswerIsNo, Broken, WrongUsage

TIMEOUT: Final = 30.0
"""Seconds; recomputing every counter of a big journal takes a while."""


class ReadyAgent(msgspec.Struct, frozen=True):
    """One agent of a ready file. `base_urls` by provider name; `env` points the SDKs at the sidecar."""

    spiffe_id: str
    base_urls: dict[str, str]
    env: dict[str, str]


class Ready(msgspec.Struct, frozen=True):
    """The ready file: written when everything serves, removed when the instance stops."""

    gateway: str
    admin: str
    agents: dict[str, ReadyAgent]


def find(state: Path) -> Ready:
    """The instance of `state`. Raises `Broken` when none is running."""
    path = state / "ready.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Ready)
    except FileNotFoundError:
        raise Broken(
            f"no instance is running with the state {state}: start one with `tollway up --config DIR`, "
            "or name the state of yours with --state; --cluster looks into a cluster"
        ) from None
    except OSError as error:
        raise Broken(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Broken(f"{path} is not a ready file ({error}); stop `tollway up` and start it again") from error


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back, whatever it was."""

    status: int
    reason: str
    content: bytes = field(repr=False)


class Road(Protocol):
    """How the admin application of an instance is reached."""

    def ask(self, method: str, target: str, body: bytes | None) -> Answer:
        """Raises `Broken` where no answer comes, with what to do about it."""
        ...


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class OwnSocket:
    """The admin socket of this machine's instance: a `Road`."""

    def __init__(self, address: str) -> None:
        self._path = address.removeprefix("unix://")

    def ask(self, method: str, target: str, body: bytes | None) -> Answer:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, body, {"content-type": "application/json"} if body else {})
            response = connection.getresponse()
            return Answer(response.status, response.reason, response.read())
        except (OSError, http.client.HTTPException) as error:
            raise Broken(
                f"the instance does not answer on {self._path} ({str(error) or type(error).__name__}): "
                "is `tollway up` still running? Its last messages say what happened"
            ) from error
        finally:
            connection.close()


class Admin:
    """The admin application of a running instance: at an address ("unix:///…"), or by any other road."""

    def __init__(self, at: str | Road) -> None:
        self._road = OwnSocket(at) if isinstance(at, str) else at

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body of a 200. Raises `AnswerIsNo` for a 404, `Broken` for anything else."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(self, path: str, body: object) -> bytes:
        return self._ask("POST", path, msgspec.json.encode(body))

    def _ask(self, method: str, target: str, body: bytes | None) -> bytes:
        answer = self._road.ask(method, target, body)
        if answer.status == 200:
            return answer.content
        message = _message(answer.content) or answer.reason
        raise AnswerIsNo(message) if answer.status in {400, 404} else Broken(f"the instance says: {message}")


class Instance(Protocol):
    """What views ask about. Names of agents are "namespace/name"."""

    @property
    def admin(self) -> Admin: ...

    def spiffe_id(self, agent: str) -> str:
        """Raises `WrongUsage` for an agent that is none of the instance's."""
        ...

    def agents(self) -> Sequence[str]: ...

    def providers(self) -> Sequence[str]: ...


class InstanceHere:
    """The running instance of this machine, by its ready file."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready
        self.admin = Admin(ready.admin)

    def spiffe_id(self, agent: str) -> str:
        if agent in self._ready.agents:
            return self._ready.agents[agent].spiffe_id
        known = ", ".join(self.agents()) or "none"
        raise WrongUsage(f"there is no agent {agent} in the running instance (its agents: {known}); name a SPIFFE ID")

    def agents(self) -> Sequence[str]:
        return sorted(self._ready.agents)

    def providers(self) -> Sequence[str]:
        return sorted({name for agent in self._ready.agents.values() for name in agent.base_urls})


def _message(content: bytes) -> str:
    """What an error answer says, as one line."""
    try:
        answer: object = json.loads(content)
    except ValueError:
        return content.decode("utf-8", "replace").strip()[:500]
    if isinstance(answer, dict):
        for key in ("message", "error", "detail"):
            if isinstance(found := answer.get(key), str):
                return found
    return ""
