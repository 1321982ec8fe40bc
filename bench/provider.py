"""The provider: an Envoy that gives every call the same answer, so that it is never what a call waits for."""

from pathlib import Path
from typing import Final

from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.http.buffer import v3 as buffer
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from bench.envoys import EnvoyPlan
from tollway_operator.envoy.connections import admin, http_chain, node, tcp_listener
from tollway_operator.envoy.filters import the_router
from tollway_operator.envoy.messages import http_filter, render
from tollway_operator.envoy.settings import MIB

_LARGEST_BODY: Final = 64 * MIB


def provider(directory: Path, address: str, port: int, answer: bytes) -> EnvoyPlan:
    """Answers every path with 200 and `answer`, as JSON."""
    socket = directory / "admin.sock"
    listener = tcp_listener("provider", address, port, http_chain(_manager(answer)))
    configuration = bootstrap.Bootstrap(
        node=node("provider", "provider"),
        admin=admin(str(socket)),
        static_resources=bootstrap.BootstrapStaticResources(listeners=[listener]),
    )
    return EnvoyPlan("the provider's Envoy", directory, render(configuration), socket, concurrency=1)


def _manager(answer: bytes) -> hcm.HttpConnectionManager:
    everything = route.VirtualHost(name="everything", domains=["*"], routes=[_answering(answer)])
    # Without the buffer an answer would leave before the request's body is in, and Envoy then closes the connection.
    whole = http_filter("envoy.filters.http.buffer", buffer.Buffer(max_request_bytes=_LARGEST_BODY))
    return hcm.HttpConnectionManager(
        stat_prefix="provider",
        codec_type=hcm.HttpConnectionManagerCodecType.AUTO,
        http_filters=[whole, the_router()],
        route_config=route.RouteConfiguration(
            name="answers",
            virtual_hosts=[everything],
            max_direct_response_body_size_bytes=max(len(answer), 4096),
        ),
    )


def _answering(answer: bytes) -> route.Route:
    return route.Route(
        match=route.RouteMatch(prefix="/"),
        direct_response=route.DirectResponseAction(status=200, body=core.DataSource(inline_string=answer.decode())),
        response_headers_to_add=[
            core.HeaderValueOption(
                header=core.HeaderValue(key="content-type", value="application/json"),
                append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
            )
        ],
    )
