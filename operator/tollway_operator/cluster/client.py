"""One client for all writes and all reads of single objects. It obeys: what the server asks to wait, everybody waits.

It never repeats a request by itself. What fails is decided again from what the server has by then; that is the
reconciler's, with its back-off.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol
from urllib.parse import urlencode

import msgspec

from tollway_operator.cluster.errors import Conflict, NotFound, NotLeading, Refused, Unavailable
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.names import MANAGER

JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
MERGE: Final = "application/merge-patch+json"
PAGE: Final = 20
"""Objects of a listing that are in memory at once: each may be megabytes."""
_FIRST_PAUSE_S: Final = 0.2
_LONGEST_PAUSE_S: Final = 15.0
_LONGEST_OBEYED_S: Final = 120.0
_OVERLOADED: Final = frozenset({408, 429})


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes = field(repr=False)
    retry_after: float | None = None
    """Seconds, where the server named them."""


class Transport(Protocol):
    """Sends one request; `body` is JSON's value. Raises `Unavailable` where no answer came."""

    async def send(self, method: str, url: str, body: Object | None, content_type: str) -> Answer: ...


class Gate:
    """Holds back all requests for as long as the server asked, and ever longer while it does not answer."""

    def __init__(self, clock: Callable[[], float], jitter: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._jitter = jitter
        self._opens = 0.0
        self._failures = 0

    async def wait(self) -> None:
        # It may be closed for longer meanwhile.
        while (left := self._opens - self._clock()) > 0:  # noqa: ASYNC110 - it opens by the clock
            await asyncio.sleep(left)

    def close_for(self, seconds: float) -> float:
        obeyed = min(seconds, _LONGEST_OBEYED_S)
        self._opens = max(self._opens, self._clock() + obeyed)
        return obeyed

    def failed(self) -> float:
        """Nobody answers: how long everybody waits now."""
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._failures, 10))
        self._failures += 1
        return self.close_for(pause * (0.75 + self._jitter() / 2))

    def answered(self) -> None:
        self._failures = 0


class Client:
    """`may_write` is asked before each write that is not of the Lease itself."""

    def __init__(self, transport: Transport, gate: Gate, may_write: Callable[[], bool] = lambda: True) -> None:
        self._transport = transport
        self._gate = gate
        self._may_write = may_write

    def writing_if(self, may_write: Callable[[], bool]) -> "Client":
        """The same server by the same gate; writes only while `may_write`."""
        return Client(self._transport, self._gate, may_write)

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        try:
            return await self._ask("GET", kind.path(namespace, name))
        except NotFound:
            return None

    async def list(self, kind: Kind, namespace: str = "", **selectors: str) -> AsyncIterator[Object]:
        """All objects, page by page. Raises `NotFound` where the kind is not served."""
        query: dict[str, str] = {"limit": str(PAGE), **selectors}
        while True:
            page = await self._ask("GET", f"{kind.path(namespace)}?{urlencode(query)}")
            for item in page["items"]:
                yield item
            token = page["metadata"].get("continue")
            if not token:
                return
            query["continue"] = token

    async def serves(self, kind: Kind) -> bool:
        """Whether the server has this kind at all."""
        try:
            found = await self._ask("GET", f"/{'apis' if kind.group else 'api'}/{kind.api_version}")
        except NotFound:
            return False
        return any(each.get("name") == kind.plural for each in found.get("resources", ()))

    async def create(self, kind: Kind, content: Object) -> Object:
        """Raises `Conflict` where it exists."""
        return await self._write("POST", kind.path(_namespace(content)), content)

    async def replace(self, kind: Kind, content: Object, subresource: str = "") -> Object:
        """`metadata.resourceVersion` must be that of what was read: else `Conflict`."""
        if not content["metadata"].get("resourceVersion"):
            raise ValueError("a replacement without a resourceVersion would overwrite whatever is there")
        path = kind.path(_namespace(content), content["metadata"]["name"], subresource)
        return await self._write("PUT", path, content)

    async def merge(self, kind: Kind, content: Object) -> Object:
        """Change the fields of `content`; with its resourceVersion, if it has one, as the condition."""
        path = kind.path(_namespace(content), content["metadata"]["name"])
        return await self._write("PATCH", path, content, MERGE)

    async def apply(self, kind: Kind, content: Object, subresource: str = "") -> Object:
        """Server-side apply: ours are exactly the fields in `content`."""
        path = kind.path(_namespace(content), content["metadata"]["name"], subresource)
        query = urlencode({"fieldManager": MANAGER, "force": "true"})
        return await self._write("PATCH", f"{path}?{query}", content, APPLY)

    async def delete(self, kind: Kind, name: str, namespace: str, uid: str) -> None:
        """Exactly that one; nothing where it is gone."""
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}}
        try:
            await self._write("DELETE", kind.path(namespace, name), options)
        except NotFound:
            return

    async def _write(self, method: str, url: str, content: Object, content_type: str = JSON) -> Object:
        await self._gate.wait()
        if not self._may_write():
            raise NotLeading("another operator holds the Lease")
        return await self._ask(method, url, content, content_type)

    async def _ask(self, method: str, url: str, body: Object | None = None, content_type: str = JSON) -> dict[str, Any]:
        await self._gate.wait()
        try:
            answer = await self._transport.send(method, url, body, content_type)
        except Unavailable as error:
            raise Unavailable(str(error), self._gate.failed()) from error
        return self._read(answer)

    def _read(self, answer: Answer) -> dict[str, Any]:
        if answer.status in _OVERLOADED or answer.status >= 500:
            raise Unavailable(f"the API server answered {answer.status}", self._pause(answer))
        self._gate.answered()
        if answer.status < 300:
            return _decoded(answer)
        raise _error(answer)

    def _pause(self, answer: Answer) -> float:
        if answer.retry_after is not None:
            return self._gate.close_for(answer.retry_after)
        return self._gate.failed()


def _namespace(content: Object) -> str:
    return str(content["metadata"].get("namespace", ""))


def _decoded(answer: Answer) -> dict[str, Any]:
    try:
        return msgspec.json.decode(answer.body, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise Unavailable(f"the API server's answer is not whole: {error}") from error


def _error(answer: Answer) -> Exception:
    message = _message(answer)
    match answer.status:
        case 404:
            return NotFound(message)
        case 409 | 410:
            return Conflict(message)
        case status:
            return Refused(status, message)


def _message(answer: Answer) -> str:
    try:
        return str(msgspec.json.decode(answer.body, type=dict[str, Any]).get("message", ""))
    except msgspec.DecodeError:
        return answer.body[:200].decode(errors="replace")
