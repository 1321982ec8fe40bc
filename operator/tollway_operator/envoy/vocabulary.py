"""Names that more than one part of the configuration, or extauthz, knows."""

from typing import TypeAlias

from tollway.providers.port import Family
from tollway.providers.registry import family_of
from tollway.resources.models import ProviderType

CHECK_CLUSTER = "check"
GATEWAY_CLUSTER = "gateway"
TRIALS_CLUSTER = "trials"
TRIAL_PATH = "/trial/"
"""Path: what a sidecar asks the gateway that it has just tried; after it comes the digest of the trust bundle."""
TRIAL_CLUSTER = "trial/"
"""A sidecar's cluster by which it tries; after it comes that digest."""
ROUTES = "tollway"

EXT_AUTHZ = "envoy.filters.http.ext_authz"
SET_METADATA = "envoy.filters.http.set_metadata"
ROUTE_METADATA = "tollway.route"
"""Dynamic metadata: `provider` and `family` of the matched route."""
USAGE_METADATA = "tollway.usage"
"""Dynamic metadata: what the provider said that the call consumed, by the keys of `Family.usage_fields`."""

PROVIDER_REQUEST_ID = "x-tollway-provider-request-id"
"""Response header: the provider's own id of the request. `x-request-id` is ours."""

FAMILY_HEADER = "x-tollway-family"
"""Request header: of what family the provider is, as a sidecar says it. Only what a gateway without room refuses before
it looks at anything takes its shape from it; then it is dropped like all that clients say in our name."""

UsagePath: TypeAlias = tuple[str, ...]


def families() -> dict[ProviderType, Family]:
    """The provider types that have a data path."""
    found = ((kind, family_of(kind.value)) for kind in ProviderType)
    return {kind: family for kind, family in found if family is not None}


def usage_paths(kind: ProviderType) -> list[tuple[str, UsagePath]]:
    """Where providers of this type say what a call consumed."""
    return sorted(families()[kind].usage_fields.items())
