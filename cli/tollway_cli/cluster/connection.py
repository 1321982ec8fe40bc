"""The way to a cluster as its users have it: a kubeconfig, a context, their own credentials and proxy."""

import asyncio
import contextlib
import ipaddress
import time
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
from kubernetes.aio import client as kubernetes
from kubernetes.aio import config

from tollway_cli.failures import Broken
from tollway_cli.place import InCluster
from tollway_operator.cluster.client import JSON, Answer, Client, Gate
from tollway_operator.cluster.connection import Connection
from tollway_operator.cluster.errors import ClusterError, NotFound, Refused, Unavailable

REQUEST_S: Final = 15.0
T = TypeVar("T")


class Way:
    """An open way to one API server. Made inside the event loop, by `opened`."""

    def __init__(self, api: Any, context: str) -> None:  # noqa: ANN401 - the library has no types
        self._api = api
        self._connection = Connection(api, REQUEST_S)
        self.context = context
        """The context that is used: the current one, where none was named."""
        self.client = Client(self._connection, Gate(time.monotonic))

    async def read(self, path: str) -> Answer:
        """What is no JSON: a log. Raises `Unavailable`."""
        return await self._connection.send("GET", path, None, JSON)

    @contextlib.asynccontextmanager
    async def socket(self, path: str, protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        """A WebSocket to the API server, which is cut at the end: whoever forwards for a pod says goodbye only when the
        pod does. Raises `Refused` and `Unavailable`."""
        connector = aiohttp.TCPConnector(ssl=self._api.rest_client.ssl_context)
        kept = self._api.configuration.client_session_kwargs
        async with aiohttp.ClientSession(connector=connector, **kept) as session:
            socket = await self._upgraded(session, path, protocol)
            try:
                yield socket
            finally:
                await session.close()
                await socket.close()

    async def _upgraded(
        self, session: aiohttp.ClientSession, path: str, protocol: str
    ) -> aiohttp.ClientWebSocketResponse:
        headers: dict[str, str] = {}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        settings = self._api.configuration
        try:
            return await session.ws_connect(
                settings.host + path,
                protocols=(protocol,),
                headers=headers,
                proxy=settings.proxy,
                server_hostname=settings.tls_server_name or None,
            )
        except aiohttp.WSServerHandshakeError as error:
            raise Refused(error.status, error.message) from error
        except TimeoutError as error:
            raise Unavailable("the API server did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the API server is not reached: {error}") from error

    async def close(self) -> None:
        await self._connection.close()


async def opened(where: InCluster) -> Way:
    """Raises `Broken` for a kubeconfig that leads nowhere."""
    settings: Any = kubernetes.Configuration()
    try:
        loader: Any = await config.load_kube_config(  # type: ignore[no-untyped-call]
            config_file=where.kubeconfig, context=where.context or None, client_configuration=settings
        )
        # As kubectl: the environment's proxy, but not for an address of this machine or a private network.
        settings.client_session_kwargs = {"trust_env": not _is_near(settings.host)}
        return Way(kubernetes.ApiClient(settings), str(loader.current_context["name"]))
    except (config.ConfigException, OSError, ValueError, TypeError, KeyError) as error:
        raise Broken(
            f"the kubeconfig {where.kubeconfig} leads to no cluster ({error}): see `kubectl config get-contexts`, "
            "and name one with --context"
        ) from error


def _is_near(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_private
    except ValueError:
        return host == "localhost"


class Session:
    """One person at one cluster, for code that waits: a loop of its own, and a way that is opened when it is needed."""

    def __init__(self, where: InCluster) -> None:
        self.where = where
        self._runner = asyncio.Runner()
        self._way: Way | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._way is not None:
                self._runner.run(self._way.close())
        finally:
            self._runner.close()

    @property
    def way(self) -> Way:
        if self._way is None:
            self._way = self._runner.run(opened(self.where))
        return self._way

    def run(self, doing: Coroutine[Any, Any, T], what: str) -> T:
        """`what` is done, as an infinitive with its object: "list pods". Raises `Broken` where the cluster refuses."""
        try:
            return self._runner.run(doing)
        except ClusterError as error:
            raise Broken(explained(error, self.where, what)) from error


def explained(error: ClusterError, where: InCluster, what: str) -> str:
    """What went wrong, and what to do about it."""
    match error:
        case Refused(status=401):
            return f"the cluster does not know you (401): log in again, as for `{where.kubectl} get pods`"
        case Refused(status=403):
            return f"you may not {what}: {rights(where)}"
        case NotFound():
            return f"nothing is there to {what} ({error}): is Tollway installed? {where.kubectl} get crds"
        case Unavailable():
            return f"{error}: see whether `{where.kubectl} get --raw /readyz` answers"
        case _:
            return f"it failed to {what}: {error}"


def rights(where: InCluster) -> str:
    """Who may give the rights that the commands need."""
    role = f"{where.kubectl} -n {where.namespace} create rolebinding NAME --role=tollway-viewer --user=YOU"
    return f"have yourself bound to the Role tollway-viewer ({role}), and to the ClusterRole of that name"
