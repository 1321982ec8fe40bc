"""Where a kubelet asks whether a sidecar lives: on the pod's own address, which anybody in the cluster reaches.

It answers for this Envoy alone, as soon as Envoy has read its configuration and its certificate. Whether a gateway is
there is no part of it: an outage of the gateway makes no agent unready, and no pod starts anew for it.
"""

from collections.abc import Sequence
from typing import Final

from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.http.health_check import v3 as health_check
from envoy_data_plane.envoy.extensions.filters.network.connection_limit import v3 as connection_limit
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type.matcher import v3 as matcher

from tollway_operator.envoy.connections import http_chain, http_limits, tcp_listener
from tollway_operator.envoy.filters import the_router
from tollway_operator.envoy.messages import http_filter, packed, seconds
from tollway_operator.envoy.settings import SidecarSettings
from tollway_operator.names import HEALTH_PATH

_AT_ONCE: Final = 64
"""Connections: a kubelet needs one."""
_PATIENCE_S: Final = 5


def health_listeners(settings: SidecarSettings) -> Sequence[listener.Listener]:
    """None where no kubelet asks."""
    if not settings.health_port:
        return ()
    chain = http_chain(_manager())
    chain.filters.insert(0, _few())
    found = tcp_listener("health", settings.health_address, settings.health_port, chain)
    # Strangers who take all of these take none of the agent's, nor the other way round.
    found.ignore_global_conn_limit = True
    return (found,)


def _few() -> listener.Filter:
    limit = connection_limit.ConnectionLimit(stat_prefix="health", max_connections=_AT_ONCE)
    return listener.Filter(name="envoy.filters.network.connection_limit", typed_config=packed(limit))


def _manager() -> hcm.HttpConnectionManager:
    return hcm.HttpConnectionManager(
        stat_prefix="health",
        codec_type=hcm.HttpConnectionManagerCodecType.HTTP1,
        route_config=_nothing_else(),
        http_filters=[_answer(), the_router()],
        common_http_protocol_options=http_limits(max_headers=20, idle_s=_PATIENCE_S),
        max_request_headers_kb=8,
        request_headers_timeout=seconds(_PATIENCE_S),
        stream_idle_timeout=seconds(_PATIENCE_S),
        generate_request_id=False,
        server_name="tollway",
    )


def _answer() -> hcm.HttpFilter:
    asked = route.HeaderMatcher(name=":path", string_match=matcher.StringMatcher(exact=HEALTH_PATH))
    return http_filter(
        "envoy.filters.http.health_check", health_check.HealthCheck(pass_through_mode=False, headers=[asked])
    )


def _nothing_else() -> route.RouteConfiguration:
    nowhere = route.Route(
        name="nowhere", match=route.RouteMatch(prefix="/"), direct_response=route.DirectResponseAction(status=404)
    )
    everything = route.VirtualHost(name="everything", domains=["*"], routes=[nowhere])
    return route.RouteConfiguration(name="health", virtual_hosts=[everything])
