"""The gateway Envoy: mTLS in, a decision by extauthz, the provider's credential, TLS out.

The road of a request is the list in `filters.gateway_filters`.
"""

from collections.abc import Iterable, Mapping, Sequence

from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.config.listener import v3 as listener
from envoy_data_plane.envoy.extensions.filters.listener.tls_inspector import v3 as tls_inspector
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway.resources.models import AIProvider
from tollway_operator.envoy import tls
from tollway_operator.envoy.clusters import check_cluster, provider_cluster, trials_cluster
from tollway_operator.envoy.connections import (
    CLUSTERS_FILE,
    ROUTES_FILE,
    admin,
    connection_manager,
    http_chain,
    http_limits,
    node,
    stream_limits,
    tcp_listener,
)
from tollway_operator.envoy.credentials import credential_file, render_credential
from tollway_operator.envoy.filters import gateway_filters
from tollway_operator.envoy.hygiene import early_mutations, numbered
from tollway_operator.envoy.local_replies import gateway_replies
from tollway_operator.envoy.logs import access_log, while_open
from tollway_operator.envoy.messages import file_source, packed, render, render_resources, seconds
from tollway_operator.envoy.overload import gateway_limits
from tollway_operator.envoy.routes import gateway_routes
from tollway_operator.envoy.settings import GatewaySettings
from tollway_operator.envoy.trials import trial_chain
from tollway_operator.envoy.vocabulary import families


def gateway_bootstrap(settings: GatewaySettings) -> bytes:
    """What Envoy is started with (`--config-path`): it never changes while it runs."""
    return render(
        bootstrap.Bootstrap(
            node=node("tollway-gateway", "tollway-gateway"),
            admin=admin(settings.admin_socket),
            static_resources=bootstrap.BootstrapStaticResources(
                listeners=[_listener(settings)],
                clusters=[
                    check_cluster(settings.check_sockets),
                    *trials_cluster(settings.trials_socket),
                ],
            ),
            dynamic_resources=bootstrap.BootstrapDynamicResources(
                cds_config=file_source(settings.xds_dir, CLUSTERS_FILE)
            ),
            layered_runtime=stream_limits(),
            overload_manager=gateway_limits(settings.max_heap_bytes, settings.max_connections),
        )
    )


def gateway_files(
    settings: GatewaySettings, providers: Iterable[AIProvider], credentials: Mapping[str, bytes]
) -> Mapping[str, bytes]:
    """The files of `xds_dir`, to be swapped into it all at once. `credentials`: provider name -> its key.

    A provider of a type without a data path, or one whose credential is missing, is not served: its path is a 404.
    Raises `CredentialError`.
    """
    served = [each for each in _by_name(providers) if _is_served(each, credentials)]
    with_key = [each for each in served if each.credential is not None]
    return {
        ROUTES_FILE: render_resources([gateway_routes(settings, served)]),
        CLUSTERS_FILE: render_resources([provider_cluster(each, settings) for each in served]),
        tls.IDENTITY_FILE: render_resources([tls.identity_secret(settings.identity_dir)]),
        tls.TRIAL_FILE: render_resources([tls.trial_secret(settings.identity_dir)]),
    } | {credential_file(each): render_credential(each, credentials[each.meta.name]) for each in with_key}


def _is_served(provider: AIProvider, credentials: Mapping[str, bytes]) -> bool:
    has_key = provider.credential is None or provider.meta.name in credentials
    return provider.type in families() and has_key


def _by_name(providers: Iterable[AIProvider]) -> Sequence[AIProvider]:
    return sorted(providers, key=lambda provider: provider.meta.name)


def _listener(settings: GatewaySettings) -> listener.Listener:
    socket = tls.downstream(settings.xds_dir, settings.identity_dir)
    road = http_chain(_manager(settings), socket)
    found = tcp_listener("road", settings.address, settings.port, road, trial_chain(settings))
    found.connection_balance_config = _evenly()
    found.listener_filters = [_server_name()]
    found.listener_filters_timeout = seconds(settings.headers_s)
    return found


def _evenly() -> listener.ListenerConnectionBalanceConfig:
    """Each thread gets as many connections as the others: they are few, last for minutes, and carry many calls."""
    exact = listener.ListenerConnectionBalanceConfigExactBalance()
    return listener.ListenerConnectionBalanceConfig(exact_balance=exact)


def _server_name() -> listener.ListenerFilter:
    """Reads by what name a peer asks: only who tries names one."""
    config = packed(tls_inspector.TlsInspector())
    return listener.ListenerFilter(name="envoy.filters.listener.tls_inspector", typed_config=config)


def _manager(settings: GatewaySettings) -> hcm.HttpConnectionManager:
    manager = connection_manager(
        "road", settings.xds_dir, gateway_filters(settings), settings.max_streams_per_connection
    )
    manager.local_reply_config = gateway_replies(settings.max_body_bytes)
    manager.access_log = [access_log(settings.access_log)]
    manager.access_log_options = while_open(settings.still_open_ms)
    _limit(manager, settings)
    # Here and not in the sidecar, so that the refusal is of a call that has a number.
    manager.path_with_escaped_slashes_action = hcm.HttpConnectionManagerPathWithEscapedSlashesAction.REJECT_REQUEST
    _number_calls(manager)
    return manager


def _limit(manager: hcm.HttpConnectionManager, settings: GatewaySettings) -> None:
    limits = http_limits(max_headers=100, idle_s=180)
    # A connection proves its certificate only when it is made.
    limits.max_connection_duration = seconds(300)
    manager.common_http_protocol_options = limits
    manager.http1_safe_max_connection_duration = True
    manager.request_headers_timeout = seconds(settings.headers_s)
    # A body that trickles in would hold memory for as long as it likes.
    manager.request_timeout = seconds(settings.arrival_s)
    manager.stream_idle_timeout = seconds(settings.silence_s)


def _number_calls(manager: hcm.HttpConnectionManager) -> None:
    """`x-request-id` is the id of the call: ours, whatever the client sent, and told to the client."""
    manager.early_header_mutation_extensions = [early_mutations(then=numbered())]
    manager.generate_request_id = True
    # By then it is the one that was just given.
    manager.preserve_external_request_id = True
    manager.always_set_request_id_in_response = True
