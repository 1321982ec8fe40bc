"""What both Envoys share as programs: how connections are handled, the administration socket, the node."""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway_operator.envoy.hygiene import early_mutations, nobody_internal
from tollway_operator.envoy.messages import file_source, packed, seconds, struct
from tollway_operator.envoy.vocabulary import ROUTES

ROUTES_FILE = "rds.json"
CLUSTERS_FILE = "cds.json"

_KIB = 1024


def connection_manager(
    name: str, xds_dir: str, filters: Sequence[hcm.HttpFilter], streams: int
) -> hcm.HttpConnectionManager:
    """HTTP/1 and 2 (`streams` at once on a connection), routes from a file; no upgrades, no CONNECT, no rewriting of
    paths.

    Nothing that a peer says of itself, or of others, is believed, by a sidecar as little as by the gateway.
    """
    return hcm.HttpConnectionManager(
        stat_prefix=name,
        codec_type=hcm.HttpConnectionManagerCodecType.AUTO,
        rds=hcm.Rds(route_config_name=ROUTES, config_source=file_source(xds_dir, ROUTES_FILE)),
        http_filters=list(filters),
        http2_protocol_options=http2(streams),
        normalize_path=False,
        merge_slashes=False,
        server_name="tollway",
        server_header_transformation=hcm.HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        # An absolute address would overrule the Host header. As a path it is refused.
        http_protocol_options=core.Http1ProtocolOptions(allow_absolute_url=False),
        early_header_mutation_extensions=[early_mutations()],
        use_remote_address=True,
        internal_address_config=nobody_internal(),
        forward_client_cert_details=hcm.HttpConnectionManagerForwardClientCertDetails.SANITIZE,
        # Who still writes when the answer is there reads it only when the connection ends.
        delayed_close_timeout=seconds(1),
        max_request_headers_kb=64,
    )


def http_limits(max_headers: int, idle_s: int) -> core.HttpProtocolOptions:
    """`idle_s`: for how long a connection may be open without a request."""
    return core.HttpProtocolOptions(
        idle_timeout=seconds(idle_s),
        max_headers_count=max_headers,
        headers_with_underscores_action=core.HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
    )


def http2(streams: int) -> core.Http2ProtocolOptions:
    """How many calls a peer may have open on one connection, how much it may send unread, and where a flood of frames
    that carry nothing ends the connection."""
    return core.Http2ProtocolOptions(
        max_concurrent_streams=streams,
        initial_stream_window_size=256 * _KIB,
        initial_connection_window_size=4 * 1024 * _KIB,
        max_outbound_frames=10_000,
        max_outbound_control_frames=1_000,
        max_consecutive_inbound_frames_with_empty_payload=1,
        max_inbound_priority_frames_per_stream=100,
        max_inbound_window_update_frames_per_data_frame_sent=10,
    )


def stream_limits() -> bootstrap.LayeredRuntime:
    """A peer that opens calls and takes most of them back within a second loses its connection after 500."""
    values = {
        "overload.premature_reset_total_stream_count": 500,
        "overload.premature_reset_min_stream_lifetime_seconds": 1,
    }
    return bootstrap.LayeredRuntime(layers=[bootstrap.RuntimeLayer(name="tollway", static_layer=struct(values))])


def tcp_listener(name: str, address: str, port: int, *chains: listener.FilterChain) -> listener.Listener:
    return listener.Listener(
        name=name,
        address=core.Address(socket_address=core.SocketAddress(address=address, port_value=port)),
        filter_chains=list(chains),
        # Small: a body that must be whole for the decision has a limit of its own.
        per_connection_buffer_limit_bytes=256 * _KIB,
        # A second Envoy on a used port shall fail, and not share it in silence.
        enable_reuse_port=False,
    )


def http_chain(manager: hcm.HttpConnectionManager, socket: core.TransportSocket | None = None) -> listener.FilterChain:
    return listener.FilterChain(
        filters=[listener.Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))],
        transport_socket=socket,
        # A handshake has as long as the headers after it.
        transport_socket_connect_timeout=manager.request_headers_timeout,
    )


def node(cluster: str, name: str) -> core.Node:
    """Envoy wants one wherever it reads secrets from files."""
    return core.Node(id=name, cluster=cluster)


def admin(socket: str) -> bootstrap.Admin:
    """For the owner of the process only: it can stop Envoy and show its configuration."""
    return bootstrap.Admin(address=core.Address(pipe=core.Pipe(path=socket, mode=0o600)))
