"""The way to the API server by `kubernetes.aio`: its configuration (a kubeconfig, or the pod's service account), TLS,
and the token, read anew for every request, as the kubelet renews it. The only module that knows that library.
"""

from pathlib import Path
from typing import Any, Final

import aiohttp
from kubernetes.aio import client as kubernetes
from kubernetes.aio import config

from tollway_operator.cluster.client import Answer
from tollway_operator.cluster.errors import Unavailable
from tollway_operator.cluster.kinds import Object
from tollway_operator.cluster.service_account import ServiceAccount

USER_AGENT: Final = "tollway-operator"
AT_ONCE: Final = 32
"""Connections."""


class Connection:
    """A `Transport`; made inside the event loop, by `connect`."""

    def __init__(self, api: Any, timeout_s: float) -> None:  # noqa: ANN401 - the library has no types
        self._api = api
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)

    async def send(self, method: str, url: str, body: Object | None, content_type: str) -> Answer:
        headers = {"Accept": "application/json", "Content-Type": content_type, "User-Agent": USER_AGENT}
        try:
            await self._api.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
            answer = await self._api.rest_client.request(
                method, self._api.configuration.host + url, headers, body, _request_timeout=self._timeout
            )
            return Answer(answer.status, await answer.read(), _seconds(answer.getheader("Retry-After")))
        except TimeoutError as error:
            raise Unavailable("the API server did not answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise Unavailable(f"the API server is not reached: {error}") from error

    async def close(self) -> None:
        await self._api.close()


async def connect(way: Path | ServiceAccount, timeout_s: float) -> Connection:
    """By a kubeconfig, or as a pod. Raises `config.ConfigException` and `OSError`."""
    configuration: Any = kubernetes.Configuration()
    if isinstance(way, ServiceAccount):
        _use(configuration, way)
    else:
        await config.load_kube_config(config_file=str(way), client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = AT_ONCE
    # The API server is never behind a proxy that the environment names for others.
    configuration.client_session_kwargs = {"trust_env": False}
    return Connection(kubernetes.ApiClient(configuration), timeout_s)


def _use(configuration: Any, account: ServiceAccount) -> None:  # noqa: ANN401 - the library has no types
    def refresh(_: object) -> None:
        configuration.api_key["BearerToken"] = f"Bearer {account.token()}"

    configuration.host = account.server
    configuration.ssl_ca_cert = str(account.ca_file)
    configuration.refresh_api_key_hook = refresh
    refresh(None)


def _seconds(header: str | None) -> float | None:
    """`Retry-After` in seconds; Kubernetes does not send dates."""
    return float(header) if header is not None and header.isdigit() else None
