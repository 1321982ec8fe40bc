"""The gateway's HTTP filters, in the order of the road. Which provider a request is for is said by its route."""

from importlib.resources import files

from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.content_parsers.json import v3 as json_parser
from envoy_data_plane.envoy.extensions.filters.http.ext_authz import v3 as ext_authz
from envoy_data_plane.envoy.extensions.filters.http.json_to_metadata import v3 as json_to_metadata
from envoy_data_plane.envoy.extensions.filters.http.lua import v3 as lua
from envoy_data_plane.envoy.extensions.filters.http.router import v3 as router
from envoy_data_plane.envoy.extensions.filters.http.set_metadata import v3 as set_metadata
from envoy_data_plane.envoy.extensions.filters.http.sse_to_metadata import v3 as sse_to_metadata
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.envoy.type.matcher import v3 as matcher

from tollway.resources.models import ProviderType
from tollway_operator.envoy.hygiene import malformed_refused
from tollway_operator.envoy.messages import extension, http_filter, seconds, struct
from tollway_operator.envoy.settings import MIB, GatewaySettings
from tollway_operator.envoy.vocabulary import (
    CHECK_CLUSTER,
    EXT_AUTHZ,
    ROUTE_METADATA,
    SET_METADATA,
    USAGE_METADATA,
    UsagePath,
    families,
    usage_paths,
)

# `application/json; charset=utf-8` is JSON, too.
_JSON_TYPE = r"application/json(\s*;.*)?"

_IN_EVENTS_ONLY = frozenset({"delta", "message", "response"})
"""Members that events of a stream have around what a whole answer says itself."""

_ROOM_FOR_EDITS = 4096
"""Edits make a body longer, in the same buffer. What declares its length may not use this room (`malformed_refused`);
what comes in chunks and does is refused by the decision."""


def gateway_filters(settings: GatewaySettings) -> list[hcm.HttpFilter]:
    return [
        route_facts(),
        malformed_refused(settings.max_body_bytes),
        _decision(settings),
        _lua("road.lua"),
        # Responses run from right to left: usage is read before the Lua takes its event away, and behind the other one.
        *(_usage_of_json(kind) for kind in families()),
        *(_usage_of_streams(kind) for kind in families()),
        _lua("events.lua"),
        the_router(),
    ]


def route_facts() -> hcm.HttpFilter:
    """Puts what a route says of itself (`facts_of_route`) where filters, local replies and logs can read it."""
    return http_filter(SET_METADATA, set_metadata.Config())


def facts_of_route(provider: str, family: ProviderType) -> set_metadata.Config:
    facts = struct({"provider": provider, "family": family.value})
    return set_metadata.Config(metadata=[set_metadata.Metadata(metadata_namespace=ROUTE_METADATA, value=facts)])


def question_of_route(provider: str, family: ProviderType) -> ext_authz.ExtAuthzPerRoute:
    extensions = {"provider": provider, "family": family.value}
    return ext_authz.ExtAuthzPerRoute(check_settings=ext_authz.CheckSettings(context_extensions=extensions))


def undecided() -> ext_authz.ExtAuthzPerRoute:
    """For a route that leads nowhere: there is nothing to decide."""
    return ext_authz.ExtAuthzPerRoute(disabled=True)


def the_router() -> hcm.HttpFilter:
    return http_filter("envoy.filters.http.router", router.Router(suppress_envoy_headers=True))


def _decision(settings: GatewaySettings) -> hcm.HttpFilter:
    timeout = seconds(settings.check_timeout_ms / 1000)
    authz = ext_authz.ExtAuthz(
        transport_api_version=core.ApiVersion.V3,
        grpc_service=core.GrpcService(
            envoy_grpc=core.GrpcServiceEnvoyGrpc(cluster_name=CHECK_CLUSTER, max_receive_message_length=4 * MIB),
            timeout=timeout,
        ),
        failure_mode_allow=False,
        status_on_error=envoy_type.HttpStatus(code=envoy_type.StatusCode.ServiceUnavailable),
        with_request_body=ext_authz.BufferSettings(
            max_request_bytes=settings.max_body_bytes + _ROOM_FOR_EDITS,
            allow_partial_message=False,
            pack_as_bytes=True,
        ),
        include_peer_certificate=True,
        include_tls_session=True,
        # Every header for itself and in raw bytes: joined ones could not be told from one with a comma.
        encode_raw_headers=True,
        validate_mutations=True,
    )
    return http_filter(EXT_AUTHZ, authz)


def _lua(name: str) -> hcm.HttpFilter:
    code = files("tollway_operator.envoy").joinpath(name).read_text(encoding="utf-8")
    return http_filter("envoy.filters.http.lua", lua.Lua(default_source_code=core.DataSource(inline_string=code)))


def others_usage_unread(family: ProviderType) -> dict[str, route.FilterConfig]:
    """By filter, for a route to a provider of this family. A field that is looked for in vain is not for nothing: each
    family has filters of its own, in every listener, whatever providers there are."""
    others = [kind for kind in families() if kind is not family]
    return {name(kind): route.FilterConfig(disabled=True) for kind in others for name in (_of_json, _of_streams)}


def _of_json(kind: ProviderType) -> str:
    return f"tollway.usage.json.{kind.value}"


def _of_streams(kind: ProviderType) -> str:
    return f"tollway.usage.streams.{kind.value}"


def _usage_of_json(kind: ProviderType) -> hcm.HttpFilter:
    rules = json_to_metadata.JsonToMetadataMatchRules(
        rules=[_usage_rule(key, path) for key, path in usage_paths(kind) if path[0] not in _IN_EVENTS_ONLY],
        allow_content_types_regex=matcher.RegexMatcher(regex=_JSON_TYPE),
    )
    return http_filter(_of_json(kind), json_to_metadata.JsonToMetadata(response_rules=rules))


def _usage_of_streams(kind: ProviderType) -> hcm.HttpFilter:
    parser = json_parser.JsonContentParser(
        rules=[json_parser.JsonContentParserRuleConfig(rule=_usage_rule(key, path)) for key, path in usage_paths(kind)]
    )
    rules = sse_to_metadata.SseToMetadataProcessingRules(
        content_parser=extension("envoy.content_parsers.json", parser),
        # The default of 8 KiB loses the usage of an event that carries, say, one long tool call beside it. `events.lua`
        # knows this number, too.
        max_event_size=MIB,
    )
    return http_filter(_of_streams(kind), sse_to_metadata.SseToMetadata(response_rules=rules))


def _usage_rule(key: str, path: UsagePath) -> json_to_metadata.JsonToMetadataRule:
    return json_to_metadata.JsonToMetadataRule(
        selectors=[json_to_metadata.JsonToMetadataSelector(key=step) for step in path],
        on_present=json_to_metadata.JsonToMetadataKeyValuePair(metadata_namespace=USAGE_METADATA, key=key),
    )
