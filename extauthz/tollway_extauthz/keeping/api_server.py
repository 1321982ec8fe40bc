"""Talks to the API server as the pod's service account: one page of a list, or the lines of a watch.

The token is read for every request, as the kubelet renews it, and the authority whenever its file is another.
"""

import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp

from tollway_extauthz.keeping.messages import read_status

_LONGEST_LINE: Final = 16 << 20
_USER_AGENT: Final = "tollway-gateway"


class Failed(Exception):  # noqa: N818 - named for what happened
    """Nothing came of it; to be tried again, not before `retry_after` seconds have passed."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Gone(Failed):
    """The server does not know the version, or the page, any more: begin with a new list."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for how long a request may take, and a watch may be silent."""

    request: float = 30.0
    silence: float = 75.0


class APIServer:
    """`account` is a directory with the service account's `token` and `ca.crt`. Made inside the event loop."""

    def __init__(self, url: str, account: Path, patience: Patience) -> None:
        self._url = url
        self._account = account
        self._patience = patience
        # Never by a proxy that the environment names for others.
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=False)
        self._tls: tuple[bytes, ssl.SSLContext] | None = None

    async def close(self) -> None:
        await self._session.close()

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """Raises `Failed`."""
        patience = aiohttp.ClientTimeout(total=self._patience.request)
        async with self._asked(path, query, patience) as response:
            return await response.read()

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """The lines, until the server ends them. Raises `Failed`, also where it is silent for too long."""
        patience = aiohttp.ClientTimeout(
            total=None, sock_connect=self._patience.request, sock_read=self._patience.silence
        )
        async with self._asked(path, query, patience) as response, _ending(response):
            rest = bytearray()
            async for piece in response.content.iter_any():
                rest += piece
                *lines, last = rest.split(b"\n") if b"\n" in piece else (rest,)
                for line in lines:
                    yield bytes(line)
                rest = last
                if len(rest) > _LONGEST_LINE:
                    raise Failed("the API server sends a line without end")

    @contextlib.asynccontextmanager
    async def _asked(
        self, path: str, query: Mapping[str, str], patience: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.get(
                self._url + path, params=query, headers=self._headers(), ssl=self._trusting(), timeout=patience
            ) as response:
                if response.status != 200:
                    raise _failure(response, await response.read())
                yield response
        except TimeoutError:
            raise Failed("the API server does not answer in time") from None
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise Failed(f"the API server is not reached: {error!r}") from None

    def _headers(self) -> Mapping[str, str]:
        token = (self._account / "token").read_text().strip()
        return {"Authorization": f"Bearer {token}", "Accept": "application/json", "User-Agent": _USER_AGENT}

    def _trusting(self) -> ssl.SSLContext:
        authorities = (self._account / "ca.crt").read_bytes()
        if self._tls is None or self._tls[0] != authorities:
            self._tls = authorities, ssl.create_default_context(cadata=authorities.decode())
        return self._tls[1]


@contextlib.asynccontextmanager
async def _ending(response: aiohttp.ClientResponse) -> AsyncIterator[None]:
    """A watch that is given up in the middle: nobody waits for the other side to agree, which may be gone."""
    try:
        yield
    finally:
        if response.connection is not None and response.connection.transport is not None:
            response.connection.transport.abort()


def _failure(response: aiohttp.ClientResponse, body: bytes) -> Failed:
    said = f"the API server answers {response.status}: {read_status(body)}"
    if response.status == 410:
        return Gone(said)
    wanted = response.headers.get("Retry-After", "")
    return Failed(said, float(wanted) if wanted.isdigit() else 0.0)
