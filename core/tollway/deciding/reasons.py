"""The stable reason codes, as data: what class of refusal each is. Callers and dashboards match on these codes.

`quota.<unit>.spent` and `quota.<unit>.held` are made from the unit of the limit that was short (see `shortfall`);
`request.*` codes of a provider's parser travel in `RequestRefused`.
"""

from typing import Final

from tollway.providers.port import Kind

IDENTITY_MISSING: Final = "identity.missing"
IDENTITY_INVALID: Final = "identity.invalid"
IDENTITY_UNTRUSTED: Final = "identity.untrusted"
IDENTITY_FOREIGN: Final = "identity.foreign"
IDENTITY_EXPIRED: Final = "identity.expired"
IDENTITY_NOT_YET_VALID: Final = "identity.not_yet_valid"
IDENTITY_UNKNOWN: Final = "identity.unknown"
IDENTITY_SUSPENDED: Final = "identity.suspended"
IDENTITY_UNENFORCED: Final = "identity.unenforced"
REQUEST_MALFORMED: Final = "request.malformed"
REQUEST_UNBOUNDED: Final = "request.unbounded"
PROVIDER_UNKNOWN: Final = "provider.unknown"
PROVIDER_CLOSED: Final = "provider.closed"
OPERATION_UNKNOWN: Final = "operation.unknown"
MODEL_FORBIDDEN: Final = "model.forbidden"
MODEL_UNPRICED: Final = "model.unpriced"
QUOTA_NONE: Final = "quota.none"
INTERNAL: Final = "tollway.internal"

KINDS: Final = {
    IDENTITY_MISSING: Kind.UNAUTHENTICATED,
    IDENTITY_INVALID: Kind.UNAUTHENTICATED,
    IDENTITY_UNTRUSTED: Kind.UNAUTHENTICATED,
    IDENTITY_FOREIGN: Kind.UNAUTHENTICATED,
    IDENTITY_EXPIRED: Kind.UNAUTHENTICATED,
    IDENTITY_NOT_YET_VALID: Kind.UNAUTHENTICATED,
    IDENTITY_UNKNOWN: Kind.FORBIDDEN,
    IDENTITY_SUSPENDED: Kind.FORBIDDEN,
    IDENTITY_UNENFORCED: Kind.FORBIDDEN,
    REQUEST_MALFORMED: Kind.INVALID,
    REQUEST_UNBOUNDED: Kind.INVALID,
    PROVIDER_UNKNOWN: Kind.NOT_FOUND,
    PROVIDER_CLOSED: Kind.FORBIDDEN,
    OPERATION_UNKNOWN: Kind.NOT_FOUND,
    MODEL_FORBIDDEN: Kind.FORBIDDEN,
    MODEL_UNPRICED: Kind.FORBIDDEN,
    QUOTA_NONE: Kind.FORBIDDEN,
    INTERNAL: Kind.UNAVAILABLE,
}
