"""What both Envoys share as programs: how connections are handled, the administration socket, the node."""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway_operator.envoy.messages import file_source, packed, seconds
from tollway_operator.envoy.vocabulary import ROUTES

ROUTES_FILE = "rds.json"
CLUSTERS_FILE = "cds.json"


def connection_manager(name: str, xds_dir: str, filters: Sequence[hcm.HttpFilter]) -> hcm.HttpConnectionManager:
    """HTTP/1 and 2, routes from a file; no upgrades, no CONNECT, no rewriting of paths."""
    return hcm.HttpConnectionManager(
        stat_prefix=name,
        codec_type=hcm.HttpConnectionManagerCodecType.AUTO,
        rds=hcm.Rds(route_config_name=ROUTES, config_source=file_source(xds_dir, ROUTES_FILE)),
        http_filters=list(filters),
        normalize_path=False,
        merge_slashes=False,
        server_name="tollway",
        server_header_transformation=hcm.HttpConnectionManagerServerHeaderTransformation.PASS_THROUGH,
        forward_client_cert_details=hcm.HttpConnectionManagerForwardClientCertDetails.SANITIZE,
        request_headers_timeout=seconds(10),
        delayed_close_timeout=seconds(5),
        max_request_headers_kb=64,
    )


def tcp_listener(name: str, address: str, port: int, chain: listener.FilterChain) -> listener.Listener:
    return listener.Listener(
        name=name,
        address=core.Address(socket_address=core.SocketAddress(address=address, port_value=port)),
        filter_chains=[chain],
        # Small: a body that must be whole for the decision has a limit of its own.
        per_connection_buffer_limit_bytes=256 * 1024,
        # A second Envoy on a used port shall fail, and not share it in silence.
        enable_reuse_port=False,
    )


def http_chain(manager: hcm.HttpConnectionManager, socket: core.TransportSocket | None = None) -> listener.FilterChain:
    return listener.FilterChain(
        filters=[listener.Filter(name="envoy.filters.network.http_connection_manager", typed_config=packed(manager))],
        transport_socket=socket,
        transport_socket_connect_timeout=seconds(10),
    )


def node(cluster: str, name: str) -> core.Node:
    """Envoy wants one wherever it reads secrets from files."""
    return core.Node(id=name, cluster=cluster)


def admin(socket: str) -> bootstrap.Admin:
    """For the owner of the process only: it can stop Envoy and show its configuration."""
    return bootstrap.Admin(address=core.Address(pipe=core.Pipe(path=socket, mode=0o600)))
