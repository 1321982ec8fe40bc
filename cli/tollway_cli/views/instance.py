"""Finds a running instance by its state directory, and asks its admin socket. Standard library HTTP: starts fast."""

import http.client
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import msgspec

from tollway_cli.failures import AnswerIsNo, Broken

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
            "or name the state of yours with --state"
        ) from None
    except OSError as error:
        raise Broken(f"{path} cannot be read: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise Broken(f"{path} is not a ready file ({error}); stop `tollway up` and start it again") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Admin:
    """The admin socket of a running instance."""

    def __init__(self, address: str) -> None:
        self._path = address.removeprefix("unix://")

    def get(self, path: str, query: Mapping[str, str] | None = None) -> bytes:
        """The body of a 200. Raises `AnswerIsNo` for a 404, `Broken` for anything else."""
        return self._ask("GET", f"{path}?{urlencode(query)}" if query else path, None)

    def post(self, path: str, body: object) -> bytes:
        return self._ask("POST", path, msgspec.json.encode(body))

    def _ask(self, method: str, target: str, body: bytes | None) -> bytes:
        connection = _UnixConnection(self._path)
        try:
            connection.request(method, target, body, {"content-type": "application/json"} if body else {})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Broken(
                f"the instance does not answer on {self._path} ({str(error) or type(error).__name__}): "
                "is `tollway up` still running? Its last messages say what happened"
            ) from error
        finally:
            connection.close()
        if response.status == 200:
            return content
        message = _message(content) or response.reason
        raise AnswerIsNo(message) if response.status in {400, 404} else Broken(f"the instance says: {message}")


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
