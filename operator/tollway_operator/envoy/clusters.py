"""Where requests go: extauthz over Unix sockets, providers over TLS with their credential, the gateway over mTLS."""

from collections.abc import Iterable, Sequence

from envoy_data_plane.envoy.config.cluster import v3 as cluster
from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.endpoint import v3 as endpoint
from envoy_data_plane.envoy.extensions.filters.http.header_mutation import v3 as header_mutation
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec import v3 as upstream_codec
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.extensions.upstreams.http import v3 as upstreams
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.google.protobuf import Any as PackedAny

from tollway.identity.spiffe_id import SPIFFEID, TrustDomain, gateway_id, trial_id
from tollway.resources.models import AIProvider
from tollway_operator.envoy import tls
from tollway_operator.envoy.credentials import injector
from tollway_operator.envoy.hygiene import OURS, removals
from tollway_operator.envoy.messages import http_filter, packed, seconds
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings
from tollway_operator.envoy.vocabulary import (
    CHECK_CLUSTER,
    GATEWAY_CLUSTER,
    PROVIDER_REQUEST_ID,
    TRIAL_CLUSTER,
    TRIAL_PATH,
    TRIALS_CLUSTER,
)

_STREAM_WINDOW = 64 * 1024
"""Small: what a provider may have sent, and billed, beyond the point where a stream is cut."""
_STREAMS = 256
"""At once on one connection, at most."""
_CONNECTION_WINDOW = _STREAMS * _STREAM_WINDOW
"""All its streams': callers that do not read their answers fill their own windows, and nobody else's."""

_ABOUT_OUR_KEY = ("x-ratelimit-", "anthropic-ratelimit-", "x-tollway-", "x-envoy-")
_ABOUT_OUR_ACCOUNT = ("openai-organization", "openai-project", "anthropic-organization-id", "set-cookie", "alt-svc")


def check_cluster(sockets: Sequence[str]) -> cluster.Cluster:
    """Where there are several to ask, the idlest; and, with a health check, none that is gone."""
    found = _grpc_cluster(CHECK_CLUSTER, sockets)
    if len(sockets) > 1:
        found.lb_policy = cluster.ClusterLbPolicy.LEAST_REQUEST
        _watch(found)
    return found


def trials_cluster(socket: str) -> Sequence[cluster.Cluster]:
    """Where it is told who has tried."""
    if not socket:
        return ()
    found = cluster.Cluster(
        name=TRIALS_CLUSTER,
        type=cluster.ClusterDiscoveryType.STATIC,
        connect_timeout=seconds(1),
        load_assignment=_endpoints(TRIALS_CLUSTER, [core.Address(pipe=core.Pipe(path=socket))]),
    )
    return (found,)


def _watch(watched: cluster.Cluster) -> None:
    watched.health_checks = [
        core.HealthCheck(
            timeout=seconds(0.1),
            interval=seconds(0.1),
            no_traffic_interval=seconds(0.1),
            unhealthy_threshold=1,
            healthy_threshold=1,
            tcp_health_check=core.HealthCheckTcpHealthCheck(),
        )
    ]
    # Rather nobody than a peer known to be gone.
    watched.common_lb_config = cluster.ClusterCommonLbConfig(healthy_panic_threshold=_percent(0))


def provider_cluster(provider: AIProvider, settings: GatewaySettings) -> cluster.Cluster:
    place = provider.endpoint
    return cluster.Cluster(
        name=cluster_name(provider),
        type=_discovery(place.host),
        dns_lookup_family=cluster.ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(5),
        circuit_breakers=_no_breaker(),
        load_assignment=_endpoints(cluster_name(provider), [_tcp(place.host, place.port)]),
        transport_socket=tls.to_provider(place.host, settings.upstream_ca_file) if place.tls else None,
        typed_extension_protocol_options=_http(_provider_http(provider, settings)),
    )


def gateway_cluster(settings: SidecarSettings) -> cluster.Cluster:
    """Connections end before the gateway ends them, so that no call meets a closing one."""
    options = upstreams.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(
            max_connection_duration=seconds(240),
            idle_timeout=seconds(120),
            max_requests_per_connection=settings.calls_per_connection or None,
        ),
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=_http2()),
    )
    return cluster.Cluster(
        name=GATEWAY_CLUSTER,
        type=_discovery(settings.gateway_address, cluster.ClusterDiscoveryType.STRICT_DNS),
        dns_lookup_family=cluster.ClusterDnsLookupFamily.V4_PREFERRED,
        connect_timeout=seconds(2),
        per_connection_buffer_limit_bytes=256 * 1024,
        load_assignment=_endpoints(GATEWAY_CLUSTER, [_tcp(settings.gateway_address, settings.gateway_port)]),
        transport_socket=tls.to_gateway(settings.xds_dir, settings.identity_dir, str(_gateway(settings))),
        typed_extension_protocol_options=_http(options),
    )


def trial_cluster(settings: SidecarSettings, bundle: str) -> cluster.Cluster:
    """Tries again and again, each time with a new handshake, whether the gateway's trial certificate for the trust
    bundle of this digest is trusted here. No call ever takes this road: whether it is open matters to nobody else.
    """
    options = upstreams.HttpProtocolOptions(
        explicit_http_config=upstreams.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=_http2())
    )
    # By the digest: what was tried for another bundle counts for nothing.
    name = TRIAL_CLUSTER + bundle
    return cluster.Cluster(
        name=name,
        type=_discovery(settings.gateway_address, cluster.ClusterDiscoveryType.STRICT_DNS),
        dns_lookup_family=cluster.ClusterDnsLookupFamily.V4_PREFERRED,
        # A sidecar that starts does not wait for a gateway.
        wait_for_warm_on_init=False,
        connect_timeout=seconds(2),
        load_assignment=_endpoints(name, [_tcp(settings.gateway_address, settings.gateway_port)]),
        transport_socket=tls.to_gateway(
            settings.xds_dir, settings.identity_dir, str(trial_id(_gateway(settings), bundle)), tls.TRIAL_NAME
        ),
        typed_extension_protocol_options=_http(options),
        health_checks=[_trial(bundle, settings.trial_every_s)],
    )


def _trial(bundle: str, every_s: int) -> core.HealthCheck:
    return core.HealthCheck(
        timeout=seconds(2),
        interval=seconds(every_s),
        no_traffic_interval=seconds(every_s),
        # It may be told to another replica of the gateway, or to one that started since.
        no_traffic_healthy_interval=seconds(12 * every_s),
        interval_jitter_percent=20,
        unhealthy_threshold=1,
        healthy_threshold=1,
        reuse_connection=False,
        http_health_check=core.HealthCheckHttpHealthCheck(
            host=tls.TRIAL_NAME,
            path=TRIAL_PATH + bundle,
            codec_client_type=envoy_type.CodecClientType.HTTP2,
        ),
    )


def _gateway(settings: SidecarSettings) -> SPIFFEID:
    return gateway_id(TrustDomain(settings.trust_domain), settings.root_namespace)


def cluster_name(provider: AIProvider) -> str:
    return f"provider/{provider.meta.name}"


def _provider_http(provider: AIProvider, settings: GatewaySettings) -> upstreams.HttpProtocolOptions:
    options = upstreams.HttpProtocolOptions(
        common_http_protocol_options=core.HttpProtocolOptions(idle_timeout=seconds(60)),
        http_filters=[_headers_for_others(), *injector(provider, settings.xds_dir), _codec()],
    )
    http1 = core.Http1ProtocolOptions()
    if provider.endpoint.tls:
        options.auto_config = upstreams.HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=http1, http2_protocol_options=_http2()
        )
    else:
        options.explicit_http_config = upstreams.HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=http1)
    return options


def _headers_for_others() -> hcm.HttpFilter:
    """Drops what is none of the other side's business, in both directions.

    A provider learns nothing of the cluster's inside. An agent does not get the provider's own rate limits and ids,
    which are about the shared key and account.
    """
    answers = removals(_ABOUT_OUR_ACCOUNT, _ABOUT_OUR_KEY) + _moved("x-request-id", PROVIDER_REQUEST_ID)
    mutations = header_mutation.Mutations(request_mutations=removals((), OURS), response_mutations=answers)
    return http_filter(
        "envoy.filters.http.header_mutation",
        header_mutation.HeaderMutation(mutations=mutations),
    )


def _codec() -> hcm.HttpFilter:
    return http_filter("envoy.filters.http.upstream_codec", upstream_codec.UpstreamCodec())


def _grpc_cluster(name: str, sockets: Sequence[str]) -> cluster.Cluster:
    http2 = upstreams.HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=core.Http2ProtocolOptions())
    return cluster.Cluster(
        name=name,
        type=cluster.ClusterDiscoveryType.STATIC,
        connect_timeout=seconds(1),
        circuit_breakers=_no_breaker(),
        load_assignment=_endpoints(name, [core.Address(pipe=core.Pipe(path=socket)) for socket in sockets]),
        typed_extension_protocol_options=_http(upstreams.HttpProtocolOptions(explicit_http_config=http2)),
    )


def _moved(name: str, to: str) -> list[mutation.HeaderMutation]:
    append = core.HeaderValueOption(
        header=core.HeaderValue(key=to, value=f"%RESP({name})%"),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return [mutation.HeaderMutation(append=append), mutation.HeaderMutation(remove=name)]


def _http(options: upstreams.HttpProtocolOptions) -> dict[str, PackedAny]:
    return {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)}


def _http2() -> core.Http2ProtocolOptions:
    return core.Http2ProtocolOptions(
        initial_stream_window_size=_STREAM_WINDOW,
        initial_connection_window_size=_CONNECTION_WINDOW,
        max_concurrent_streams=_STREAMS,
        connection_keepalive=core.KeepaliveSettings(interval=seconds(30), timeout=seconds(10)),
    )


def _discovery(
    host: str, by_name: cluster.ClusterDiscoveryType = cluster.ClusterDiscoveryType.LOGICAL_DNS
) -> cluster.ClusterDiscoveryType:
    return cluster.ClusterDiscoveryType.STATIC if tls.is_address(host) else by_name


def _tcp(host: str, port: int) -> core.Address:
    return core.Address(socket_address=core.SocketAddress(address=host, port_value=port))


def _endpoints(name: str, addresses: Iterable[core.Address]) -> endpoint.ClusterLoadAssignment:
    found = [endpoint.LbEndpoint(endpoint=endpoint.Endpoint(address=address)) for address in addresses]
    return endpoint.ClusterLoadAssignment(
        cluster_name=name, endpoints=[endpoint.LocalityLbEndpoints(lb_endpoints=found)]
    )


def _no_breaker() -> cluster.CircuitBreakers:
    """Envoy's default is 1024 calls at once. What limits ours are connections, streams on each, and memory."""
    limit = 1_000_000
    thresholds = cluster.CircuitBreakersThresholds(
        max_connections=limit, max_pending_requests=limit, max_requests=limit
    )
    return cluster.CircuitBreakers(thresholds=[thresholds])


def _percent(value: float) -> envoy_type.Percent:
    return envoy_type.Percent(value=value)
