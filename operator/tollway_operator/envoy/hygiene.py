"""What a request must not be, before anything reads it.

A doubtful request is refused and not repaired: what the decision reads is then, byte for byte, what the provider gets.
So paths are not normalised; one that would change by normalising is refused. Headers that only we may set are dropped
before any part of Envoy looks at them. extauthz refuses more (`tollway.deciding`); these checks come before a body is
buffered for it.
"""

from collections.abc import Sequence

from envoy_data_plane.envoy.config.common.mutation_rules import v3 as mutation
from envoy_data_plane.envoy.config.core import v3 as core
from envoy_data_plane.envoy.config.rbac import v3 as rbac
from envoy_data_plane.envoy.config.route import v3 as route
from envoy_data_plane.envoy.extensions.filters.http.rbac import v3 as rbac_filter
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager import v3 as hcm
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation import v3 as early
from envoy_data_plane.envoy.type import v3 as envoy_type
from envoy_data_plane.envoy.type.matcher import v3 as matcher

from tollway_operator.envoy.messages import extension, http_filter
from tollway_operator.envoy.vocabulary import families

OURS = ("x-tollway-", "x-envoy-", "x-forwarded-")
"""Prefixes of headers that a client has no business to send."""
CALL_ID = "x-request-id"
OURS_EXACTLY = ("forwarded", "via", "x-real-ip", "x-original-url", "x-rewrite-url", CALL_ID)
_RANDOM_PART = 22
"""Characters at the beginning of a random UUID."""

SINGLE = (":authority", "authorization", "content-type", "x-api-key", "api-key", "x-goog-api-key")
"""Headers of which two are a contradiction. Envoy refuses two content-lengths itself."""

# A segment starts with anything but a dot, so that no `.` or `..` is one. Of the escapes only `:` and `@` may come
# (model names carry them): every other one spells something that has a plain form, or that is forbidden.
_SEGMENT = r"(?:[A-Za-z0-9_~!$&'()*+,=:@-]|%3[Aa]|%40)(?:[A-Za-z0-9._~!$&'()*+,=:@-]|%3[Aa]|%40)*"
PLAIN_PATH = rf"/|(?:/{_SEGMENT})+"

PLAIN_TEXT = r"[\t -~]*"
"""ASCII: what every reader of a header takes for the same text. Bytes beyond are a decision's guess."""

CREDENTIAL_HEADERS = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie")
"""Wherever a client could put a key of its own (or the placeholder its SDK insists on)."""


def early_mutations(
    names: Sequence[str] = OURS_EXACTLY,
    prefixes: Sequence[str] = OURS,
    then: Sequence[mutation.HeaderMutation] = (),
) -> core.TypedExtensionConfig:
    """Drop what only we may set, before Envoy itself reads it; `then` what we set."""
    return extension("tollway.ours", early.HeaderMutation(mutations=[*removals(names, prefixes), *then]))


def numbered() -> list[mutation.HeaderMutation]:
    """Gives the call its id: the millisecond in which it began, and 70 random bits.

    Ids that follow one another stand beside each other in the ledger's index. Envoy's own are random from their first
    digit on: each would change another page, and one of them cost more the more calls there are.
    """
    return [_overwritten("%UNIQUE_ID%"), _overwritten(f"%START_TIME(%s%3f)%-%REQ({CALL_ID}):{_RANDOM_PART}%")]


def _overwritten(value: str) -> mutation.HeaderMutation:
    append = core.HeaderValueOption(
        header=core.HeaderValue(key=CALL_ID, value=value),
        append_action=core.HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return mutation.HeaderMutation(append=append)


def nobody_internal() -> hcm.HttpConnectionManagerInternalAddressConfig:
    """No peer is trusted for its address: unset, Envoy would believe all private networks. No peer has this one."""
    nobody = core.CidrRange(address_prefix="255.255.255.255", prefix_len=32)
    return hcm.HttpConnectionManagerInternalAddressConfig(cidr_ranges=[nobody])


def removals(names: Sequence[str], prefixes: Sequence[str]) -> list[mutation.HeaderMutation]:
    by_name = [mutation.HeaderMutation(remove=name) for name in names]
    by_prefix = [
        mutation.HeaderMutation(
            remove_on_match=mutation.HeaderMutationRemoveOnMatch(
                key_matcher=matcher.StringMatcher(prefix=prefix, ignore_case=True)
            )
        )
        for prefix in prefixes
    ]
    return by_name + by_prefix


def malformed_refused(max_body_bytes: int) -> hcm.HttpFilter:
    """Refuses by 403; `local_replies` makes it the 400, or 413, that it is."""
    policies = {"path": _whoever(_unless_plain_path())}
    policies |= {"length": _whoever(rbac.Permission(header=says_more_than(max_body_bytes)))}
    policies |= {"encoding": _whoever(rbac.Permission(header=encoded()))}
    policies |= {f"repeated {name}": _whoever(_joined(name)) for name in SINGLE}
    policies |= {f"unreadable {name}": _whoever(_unless_plain_text(name)) for name in _travelling()}
    rules = rbac.Rbac(action=rbac.RbacAction.DENY, policies=policies)
    return http_filter("envoy.filters.http.rbac", rbac_filter.Rbac(rules=rules))


def says_more_than(most: int) -> route.HeaderMatcher:
    """A body declared longer is refused before any of it is read. One that declares nothing is counted as it comes."""
    within = envoy_type.Int64Range(start=0, end=most + 1)
    return route.HeaderMatcher(name="content-length", range_match=within, invert_match=True)


def encoded() -> route.HeaderMatcher:
    """A compressed body: a small one may be a huge one, and nobody here unpacks it."""
    return route.HeaderMatcher(name="content-encoding", present_match=True)


def _whoever(permission: rbac.Permission) -> rbac.Policy:
    return rbac.Policy(permissions=[permission], principals=[rbac.Principal(any=True)])


def _unless_plain_path() -> rbac.Permission:
    plain = matcher.StringMatcher(safe_regex=matcher.RegexMatcher(regex=PLAIN_PATH))
    return rbac.Permission(not_rule=rbac.Permission(url_path=matcher.PathMatcher(path=plain)))


def _travelling() -> Sequence[str]:
    """The headers that may reach some provider: the decision removes all others."""
    return sorted(frozenset[str]().union(*(family.allowed_headers for family in families().values())))


def _unless_plain_text(name: str) -> rbac.Permission:
    # Asked for what is good, and never for what is bad: bytes that an expression does not understand do not match it.
    text = matcher.StringMatcher(safe_regex=matcher.RegexMatcher(regex=PLAIN_TEXT))
    present = rbac.Permission(header=route.HeaderMatcher(name=name, present_match=True))
    good = rbac.Permission(header=route.HeaderMatcher(name=name, string_match=text))
    return rbac.Permission(and_rules=rbac.PermissionSet(rules=[present, rbac.Permission(not_rule=good)]))


def _joined(name: str) -> rbac.Permission:
    # Envoy joins repeated headers by a comma before it matches.
    comma = matcher.StringMatcher(contains=",")
    return rbac.Permission(header=route.HeaderMatcher(name=name, string_match=comma))
