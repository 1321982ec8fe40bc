"""`/<provider>/…` to the provider or, in a sidecar, to the gateway; everything else is a 404 of our own.

What a request is for stands in the route and nowhere else: the filters and local replies read it from there, so that a
new provider changes this file and no listener.
"""

from collections.abc import Iterable, Sequence

import betterproto2
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.google.protobuf import Any as PackedAny

from tollway.resources.models import AIProvider, Endpoint
from tollway_operator.envoy.clusters import cluster_name
from tollway_operator.envoy.filters import facts_of_route, others_usage_unread, question_of_route, undecided
from tollway_operator.envoy.hygiene import CREDENTIAL_HEADERS
from tollway_operator.envoy.messages import packed, seconds
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings
from tollway_operator.envoy.vocabulary import EXT_AUTHZ, FAMILY_HEADER, GATEWAY_CLUSTER, ROUTES, SET_METADATA

_KEPT_FOR_RETRY = 64 * 1024

_LARGE = 128 * 1024
"""Bytes of a body."""

_NEVER_LEFT = "connect-failure,refused-stream,reset-before-request"
"""The failures after which a call is certain not to have reached the gateway."""


_OF_THIS_MACHINE = [f"{name}{port}" for name in ("127.0.0.1", "localhost", "[::1]") for port in ("", ":*")]


def gateway_routes(settings: GatewaySettings, providers: Iterable[AIProvider]) -> route.RouteConfiguration:
    return _configuration([*(_to_provider(settings, each) for each in providers), _nowhere()])


def sidecar_routes(settings: SidecarSettings, providers: Iterable[AIProvider]) -> route.RouteConfiguration:
    """For callers who know that they speak to this machine. A web page whose name was made to resolve to it says that
    name, and a browser would let it read the answer."""
    here = [each for provider in providers for each in _to_gateway(settings, provider)]
    found = _configuration([*here, _nothing_here()], _OF_THIS_MACHINE)
    found.virtual_hosts.append(route.VirtualHost(name="elsewhere", domains=["*"], routes=[_refused(421, "elsewhere")]))
    return found


def _to_provider(settings: GatewaySettings, provider: AIProvider) -> route.Route:
    place = provider.endpoint
    return route.Route(
        name=provider.meta.name,
        match=route.RouteMatch(prefix=_prefix(provider)),
        route=route.RouteAction(
            cluster=cluster_name(provider),
            prefix_rewrite=f"{place.path}/",
            host_rewrite_literal=_authority(place),
            # No time-out for the whole answer: a stream may be long. No retry: what left may have been billed.
            timeout=seconds(0),
            idle_timeout=seconds(settings.silence_s),
            max_stream_duration=route.RouteActionMaxStreamDuration(
                max_stream_duration=seconds(settings.longest_stream_s)
            ),
        ),
        request_headers_to_remove=list(CREDENTIAL_HEADERS),
        # Usage in a compressed answer could not be read.
        request_headers_to_add=[_set("accept-encoding", "identity")],
        typed_per_filter_config=_filters(
            {
                SET_METADATA: facts_of_route(provider.meta.name, provider.type),
                EXT_AUTHZ: question_of_route(provider.meta.name, provider.type),
                **others_usage_unread(provider.type),
            }
        ),
    )


def _to_gateway(settings: SidecarSettings, provider: AIProvider) -> Sequence[route.Route]:
    """Large bodies travel on a connection of their own, and with it mostly on another thread of the gateway: there, a
    body is copied several times in one go, and small calls of the same agent would stand behind it."""
    large = route.RouteMatch(prefix=_prefix(provider), headers=[_says_at_least(_LARGE)])
    other = route.RouteMatch(prefix=_prefix(provider))
    return (
        _matching(settings, provider, large, core.RoutingPriority.DEFAULT),
        _matching(settings, provider, other, core.RoutingPriority.HIGH),
    )


def _matching(
    settings: SidecarSettings, provider: AIProvider, match: route.RouteMatch, priority: core.RoutingPriority
) -> route.Route:
    """`priority`: each has connections of its own."""
    return route.Route(
        name=provider.meta.name,
        match=match,
        route=route.RouteAction(
            cluster=GATEWAY_CLUSTER,
            priority=priority,
            host_rewrite_literal="tollway-gateway",
            timeout=seconds(0),
            idle_timeout=seconds(settings.silence_s),
            retry_policy=route.RetryPolicy(retry_on=_NEVER_LEFT, num_retries=2),
        ),
        # Bodies are not kept for a retry: these failures come before any of it is sent.
        request_body_buffer_limit=_KEPT_FOR_RETRY,
        request_headers_to_add=[_set(FAMILY_HEADER, provider.type.value)],
        typed_per_filter_config=_filters({SET_METADATA: facts_of_route(provider.meta.name, provider.type)}),
    )


def _says_at_least(size: int) -> route.HeaderMatcher:
    """Of its body. What comes in chunks says nothing."""
    return route.HeaderMatcher(name="content-length", range_match=envoy_type.Int64Range(start=size, end=2**63 - 1))


def _nowhere() -> route.Route:
    missing = _nothing_here()
    missing.typed_per_filter_config = _filters({EXT_AUTHZ: undecided()})
    return missing


def _nothing_here() -> route.Route:
    return _refused(404, "nowhere")


def _refused(status: int, name: str) -> route.Route:
    return route.Route(
        name=name, match=route.RouteMatch(prefix="/"), direct_response=route.DirectResponseAction(status=status)
    )


def _configuration(routes: list[route.Route], domains: Sequence[str] = ("*",)) -> route.RouteConfiguration:
    everything = route.VirtualHost(name="everything", domains=list(domains), routes=routes)
    # Clusters come by a file of their own, at about the same time: a route may be there first.
    return route.RouteConfiguration(name=ROUTES, virtual_hosts=[everything], validate_clusters=False)


def _prefix(provider: AIProvider) -> str:
    return f"/{provider.meta.name}/"


def _authority(place: Endpoint) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return host if place.port == (443 if place.tls else 80) else f"{host}:{place.port}"


def _set(name: str, value: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=name, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _filters(configs: dict[str, betterproto2.Message]) -> dict[str, PackedAny]:
    return {name: packed(message) for name, message in configs.items()}
