"""A sidecar Envoy: plain HTTP from its own pod, mTLS with the pod's SVID to the gateway.

It holds no key and takes no decision, because a pod can go around it; so it is thin: nothing is buffered or changed.
"""

from collections.abc import Iterable, Mapping

from envoy_data_plane.envoy.config.bootstrap import v3 as bootstrap
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm

from tollway.resources.models import AIProvider
from tollway_operator.envoy import tls
from tollway_operator.envoy.clusters import gateway_cluster, trial_cluster
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
from tollway_operator.envoy.filters import route_facts, the_router
from tollway_operator.envoy.health import health_listeners
from tollway_operator.envoy.local_replies import sidecar_replies
from tollway_operator.envoy.messages import file_source, render, render_resources, seconds
from tollway_operator.envoy.overload import sidecar_limits
from tollway_operator.envoy.routes import sidecar_routes
from tollway_operator.envoy.settings import SidecarSettings
from tollway_operator.envoy.vocabulary import families


def sidecar_bootstrap(settings: SidecarSettings) -> bytes:
    """What Envoy is started with (`--config-path`): it never changes while it runs."""
    listener = tcp_listener("agent", settings.address, settings.port, http_chain(_manager(settings)))
    return render(
        bootstrap.Bootstrap(
            node=node("tollway-sidecar", settings.agent),
            admin=admin(settings.admin_socket),
            static_resources=bootstrap.BootstrapStaticResources(
                listeners=[listener, *health_listeners(settings)], clusters=[gateway_cluster(settings)]
            ),
            dynamic_resources=bootstrap.BootstrapDynamicResources(
                cds_config=file_source(settings.xds_dir, CLUSTERS_FILE)
            ),
            layered_runtime=stream_limits(),
            overload_manager=sidecar_limits(settings.max_connections),
        )
    )


def sidecar_files(
    settings: SidecarSettings, providers: Iterable[AIProvider], trial: str | None = None
) -> Mapping[str, bytes]:
    """The files of `xds_dir`, to be swapped into it all at once.

    `trial`: the digest of the trust bundle for which the gateway shows a trial certificate, while it does.
    """
    tried = [trial_cluster(settings, trial)] if trial is not None else []
    served = sorted((each for each in providers if each.type in families()), key=lambda each: each.meta.name)
    return {
        ROUTES_FILE: render_resources([sidecar_routes(settings, served)]),
        CLUSTERS_FILE: render_resources(tried),
        tls.IDENTITY_FILE: render_resources([tls.identity_secret(settings.identity_dir)]),
    }


def _manager(settings: SidecarSettings) -> hcm.HttpConnectionManager:
    manager = connection_manager(
        "agent", settings.xds_dir, [route_facts(), the_router()], settings.max_streams_per_connection
    )
    # Less than the gateway takes, because some are added on the way, and it would only reset the stream.
    manager.common_http_protocol_options = http_limits(max_headers=90, idle_s=3600)
    manager.max_request_headers_kb = 60
    manager.request_headers_timeout = seconds(settings.headers_s)
    manager.stream_idle_timeout = seconds(settings.silence_s)
    manager.generate_request_id = False
    manager.skip_xff_append = True
    manager.local_reply_config = sidecar_replies()
    return manager
