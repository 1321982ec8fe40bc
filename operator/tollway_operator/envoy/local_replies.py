"""Envoy's own failures in the provider's shape, so that every SDK understands them.

A denial of extauthz is a local reply, too, but brings its own body: it says so in the metadata (`answered`), and
nothing here touches it. Shapes are not written here: they come from each family's `refusal`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from envoy_data_plane.envoy.config.accesslog import v3 as accesslog
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.type.matcher import v3 as matcher

from tollway.providers.port import Answer, Family, Kind, Refusal
from tollway.resources.models import ProviderType
from tollway_operator.envoy.hygiene import encoded, says_more_than
from tollway_operator.envoy.messages import struct
from tollway_operator.envoy.vocabulary import EXT_AUTHZ, FAMILY_HEADER, ROUTE_METADATA, families

_ANY_FAMILY = ProviderType.OPENAI
"""Whose shape a caller gets that named no provider: most SDKs and tools speak it."""

CALL = "%REQ(x-request-id)%"
_CALL_TOKEN = "tollway-call-id"  # noqa: S105 - stands for the id until Envoy knows it


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed, as Envoy tells it: a status and, where that is not enough, response flags or the request's header.

    `status` is what the caller gets instead; None: Envoy's (`same_status`) or the family's own for this `kind`.
    `may_be_billed`: the provider may have served the call, so nobody shall send it again without being asked.
    `unrouted`: it may happen before there is a route that says of what family the provider is; the sidecar said it.
    """

    code: int
    reason: str
    message: str
    kind: Kind = Kind.UNAVAILABLE
    flags: tuple[str, ...] = ()
    header: route.HeaderMatcher | None = None
    status: int | None = None
    same_status: bool = False
    may_be_billed: bool = False
    unrouted: bool = False


_UNREACHABLE = ("UF", "UH", "UC", "UR", "LR", "UPE", "DF", "NC", "URX")
_LATER = "Try again; if it persists, ask the operator of this cluster to run `tollway doctor`."
_TOO_LARGE = "The request's body is larger than Tollway accepts."
_ENCODED = "The request's body is compressed, and Tollway does not unpack it: send it without a content-encoding."
_FAILED = (
    "Tollway's gateway failed with this call, or its answer is larger than Tollway passes on. The provider may have "
    "served and billed it: look at `tollway explain` before it is sent again."
)
_NO_ROOM = "Tollway's gateway has no room for this call. Try again in a moment."

_NO_HTTP = Failure(502, "provider.unreachable", "The model provider did not answer in HTTP.", flags=_UNREACHABLE)

GATEWAY_FAILURES: Sequence[Failure] = (
    Failure(503, "tollway.unavailable", f"Tollway could not decide on this call. {_LATER}", flags=("UAEX",)),
    Failure(503, "provider.unreachable", "The model provider could not be reached.", flags=_UNREACHABLE),
    _NO_HTTP,
    Failure(503, "tollway.overloaded", _NO_ROOM, unrouted=True),
    Failure(504, "provider.timeout", "The model provider did not answer in time.", status=504),
    Failure(413, "request.too_large", _TOO_LARGE, Kind.TOO_LARGE),
    Failure(
        404, "provider.unknown", "There is no provider at this path. A base URL is …/PROVIDER NAME/….", Kind.NOT_FOUND
    ),
    Failure(403, "request.malformed", "The request's path or headers are ambiguous.", Kind.INVALID, status=400),
    Failure(408, "request.timeout", "The request did not arrive in time.", Kind.INVALID, same_status=True),
    Failure(426, "request.protocol", "Tollway speaks HTTP/1.1 and HTTP/2.", Kind.INVALID, same_status=True),
    Failure(431, "request.headers_too_large", "The request's headers are too large.", Kind.INVALID, same_status=True),
    Failure(400, "request.malformed", "This is not a valid HTTP request.", Kind.INVALID),
    Failure(501, "request.malformed", "Bodies come with a length or in chunks, and not encoded.", Kind.INVALID),
    Failure(500, "tollway.failed", _FAILED, may_be_billed=True),
)

SIDECAR_FAILURES: Sequence[Failure] = (
    # It reset the call alone, before it answered: it does so with the largest when memory runs out.
    Failure(503, "tollway.overloaded", _NO_ROOM, flags=("UR",)),
    Failure(503, "tollway.unreachable", f"Tollway's gateway could not be reached. {_LATER}"),
    # An answer that the gateway could pass on and HTTP/2 cannot carry, such as a change of protocols.
    _NO_HTTP,
    Failure(504, "tollway.timeout", f"Tollway's gateway did not answer in time. {_LATER}", status=504),
    Failure(421, "request.host", "A sidecar answers to 127.0.0.1 and localhost only.", Kind.INVALID, same_status=True),
    *(failure for failure in GATEWAY_FAILURES if failure.kind is not Kind.UNAVAILABLE),
)


def gateway_replies(max_body_bytes: int) -> hcm.LocalReplyConfig:
    return _replies([*_bad_bodies(max_body_bytes), *GATEWAY_FAILURES], CALL)


def sidecar_replies() -> hcm.LocalReplyConfig:
    """Without an id: what never reached the gateway is no call."""
    return _replies(SIDECAR_FAILURES, "")


def _bad_bodies(max_body_bytes: int) -> Sequence[Failure]:
    """What `malformed_refused` has against a body before it comes."""
    return (
        Failure(403, "request.too_large", _TOO_LARGE, Kind.TOO_LARGE, header=says_more_than(max_body_bytes)),
        Failure(403, "request.unreadable", _ENCODED, Kind.INVALID, status=400, header=encoded()),
    )


def _replies(failures: Iterable[Failure], call: str) -> hcm.LocalReplyConfig:
    by_type = families()
    usual = by_type[_ANY_FAMILY]
    mappers = []
    for failure in failures:
        expected = _answer(usual, failure, call)
        answers = {kind: _answer(family, failure, call) for kind, family in by_type.items()}
        own = [(kind, answer) for kind, answer in answers.items() if answer != expected]
        mappers += [_mapper(failure, answer, call, kind) for kind, answer in [*own, (None, expected)]]
    return hcm.LocalReplyConfig(mappers=mappers)


def _answer(family: Family, failure: Failure, call: str) -> Answer:
    call_id = _CALL_TOKEN if call else ""
    return family.refusal(Refusal(failure.kind, failure.reason, failure.message, call_id))


def _mapper(failure: Failure, answer: Answer, call: str, kind: ProviderType | None) -> hcm.ResponseMapper:
    """For providers of the type `kind`; None: for all that no mapper before it was for."""
    return hcm.ResponseMapper(
        filter=_all([*_when(failure), *_for_family(kind, failure)]),
        status_code=failure.code if failure.same_status else failure.status or answer.status,
        body_format_override=_body(answer, call),
        headers_to_add=_headers(answer, failure, call),
    )


def _body(answer: Answer, call: str) -> core.SubstitutionFormatString:
    # As JSON and not as text: Envoy escapes what it puts in for the id.
    shape = json.loads(_for_format(answer.body.decode(), call))
    return core.SubstitutionFormatString(json_format=struct(shape), content_type=_content_type(answer))


def _for_format(text: str, call: str) -> str:
    """`text` as a format string of Envoy's, in which a per cent sign begins a command."""
    return text.replace("%", "%%").replace(_CALL_TOKEN, call)


def _content_type(answer: Answer) -> str:
    return next((value for name, value in answer.headers if name.lower() == "content-type"), "application/json")


def _headers(answer: Answer, failure: Failure, call: str) -> list[core.HeaderValueOption]:
    headers = {name.lower(): _for_format(value, call) for name, value in answer.headers}
    headers |= {"x-tollway-reason": failure.reason} | ({"x-tollway-call": call} if call else {})
    if failure.may_be_billed:
        headers |= {"x-should-retry": "false", "retry-after": "", "retry-after-ms": ""}
    return [
        _header(name, value) for name, value in sorted(headers.items()) if value and not name.startswith("content-")
    ]


def _header(name: str, value: str) -> core.HeaderValueOption:
    return core.HeaderValueOption(
        header=core.HeaderValue(key=name, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _when(failure: Failure) -> list[accesslog.AccessLogFilter]:
    flags = [accesslog.AccessLogFilter(response_flag_filter=accesslog.ResponseFlagFilter(flags=list(failure.flags)))]
    return [_unanswered(), _status_is(failure.code), *(flags if failure.flags else []), *_with_header(failure.header)]


def _with_header(header: route.HeaderMatcher | None) -> list[accesslog.AccessLogFilter]:
    return [accesslog.AccessLogFilter(header_filter=accesslog.HeaderFilter(header=header))] if header else []


def _for_family(kind: ProviderType | None, failure: Failure) -> list[accesslog.AccessLogFilter]:
    if kind is None:
        return []
    is_kind = matcher.StringMatcher(exact=kind.value)
    routed = _metadata_is(ROUTE_METADATA, "family", matcher.ValueMatcher(string_match=is_kind), otherwise=False)
    return [_any([routed, _header_is(FAMILY_HEADER, is_kind)]) if failure.unrouted else routed]


def _unanswered() -> accesslog.AccessLogFilter:
    return _metadata_is(EXT_AUTHZ, "answered", matcher.ValueMatcher(bool_match=False), otherwise=True)


def _metadata_is(
    namespace: str, key: str, value: matcher.ValueMatcher, *, otherwise: bool
) -> accesslog.AccessLogFilter:
    path = [matcher.MetadataMatcherPathSegment(key=key)]
    of_key = matcher.MetadataMatcher(filter=namespace, path=path, value=value)
    return accesslog.AccessLogFilter(
        metadata_filter=accesslog.MetadataFilter(matcher=of_key, match_if_key_not_found=otherwise)
    )


def _header_is(name: str, value: matcher.StringMatcher) -> accesslog.AccessLogFilter:
    header = route.HeaderMatcher(name=name, string_match=value)
    return accesslog.AccessLogFilter(header_filter=accesslog.HeaderFilter(header=header))


def _status_is(code: int) -> accesslog.AccessLogFilter:
    equal = accesslog.ComparisonFilter(
        op=accesslog.ComparisonFilterOp.EQ,
        # Envoy wants a key for changing the value at run time; nothing here sets it.
        value=core.RuntimeUInt32(default_value=code, runtime_key="tollway.unused"),
    )
    return accesslog.AccessLogFilter(status_code_filter=accesslog.StatusCodeFilter(comparison=equal))


def _all(filters: list[accesslog.AccessLogFilter]) -> accesslog.AccessLogFilter:
    return accesslog.AccessLogFilter(and_filter=accesslog.AndFilter(filters=filters))


def _any(filters: list[accesslog.AccessLogFilter]) -> accesslog.AccessLogFilter:
    return accesslog.AccessLogFilter(or_filter=accesslog.OrFilter(filters=filters))
