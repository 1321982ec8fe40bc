"""The gateway's second face: who asks for it by name is shown the trial certificate, which comes from the root that
everybody is to trust.

A sidecar that completes this handshake has proved that the Envoy which carries its calls trusts that root: it is the
same program with the same files, and no word of anybody has to be believed. The certificate names the digest of the
trust bundle in its SPIFFE ID, so a success is about that bundle and no other.
"""

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway_operator.envoy import tls
from tollway_operator.envoy.connections import connection_manager, http_chain, http_limits
from tollway_operator.envoy.filters import the_router
from tollway_operator.envoy.messages import seconds
from tollway_operator.envoy.settings import GatewaySettings
from tollway_operator.envoy.vocabulary import TRIAL_PATH, TRIALS_CLUSTER

PEER = "x-tollway-peer"
PEER_POD = "x-tollway-peer-pod"
PEER_ADDRESS = "x-tollway-peer-address"
"""Request headers towards extauthz: what the peer's certificate says, and where it comes from. What a peer says itself
under these names is dropped before anything reads it."""
_SAID = {
    PEER: "%DOWNSTREAM_PEER_URI_SAN%",
    PEER_POD: "%DOWNSTREAM_PEER_DNS_SAN%",
    PEER_ADDRESS: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%",
}
_STREAMS = 1


def trial_chain(settings: GatewaySettings) -> listener.FilterChain:
    chain = http_chain(_manager(settings), tls.downstream(settings.xds_dir, settings.identity_dir, tls.TRIAL))
    chain.filter_chain_match = listener.FilterChainMatch(server_names=[tls.TRIAL_NAME])
    return chain


def _manager(settings: GatewaySettings) -> hcm.HttpConnectionManager:
    manager = connection_manager("trial", settings.xds_dir, [the_router()], _STREAMS)
    manager.rds = None
    manager.route_config = _routes(settings.trials_socket)
    limits = http_limits(max_headers=30, idle_s=30)
    limits.max_connection_duration = seconds(60)
    manager.common_http_protocol_options = limits
    manager.request_headers_timeout = seconds(settings.headers_s)
    manager.request_timeout = seconds(settings.headers_s)
    manager.generate_request_id = False
    return manager


def _routes(socket: str) -> route.RouteConfiguration:
    match = route.RouteMatch(prefix=TRIAL_PATH)
    told = [_header(name, value) for name, value in _SAID.items()]
    answer = (
        route.Route(match=match, route=route.RouteAction(cluster=TRIALS_CLUSTER), request_headers_to_add=told)
        if socket
        else route.Route(match=match, direct_response=route.DirectResponseAction(status=200))
    )
    host = route.VirtualHost(name="trial", domains=["*"], routes=[answer])
    return route.RouteConfiguration(name="trial", virtual_hosts=[host])


def _header(name: str, value: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=name, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
