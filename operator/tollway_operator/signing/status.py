"""The answer to a PodCertificateRequest, as its `status`. Written in one PUT; afterwards it cannot be changed.

Source: certificates.k8s.io/v1 PodCertificateRequestStatus. `beginRefreshAt` has to keep ten minutes from both ends of
the validity, which 30 to 40 % of at least an hour does.
"""

from collections.abc import Mapping
from datetime import UTC, datetime

from tollway.identity.rotation import renew_at
from tollway_operator.authority.authority import Signed
from tollway_operator.signing.evaluator import Deny

Status = Mapping[str, object]


def issued(signed: Signed, now: int, jitter: float) -> Status:
    """`jitter` in [0, 1) spreads the renewals."""
    return {
        "conditions": [_condition("Issued", "Signed", f"certified as {signed.spiffe_id}", now)],
        "certificateChain": signed.chain_pem.decode("ascii"),
        "notBefore": rfc3339(signed.not_before),
        "notAfter": rfc3339(signed.not_after),
        "beginRefreshAt": rfc3339(renew_at(signed.not_before, signed.not_after, jitter)),
    }


def denied(deny: Deny, now: int) -> Status:
    return {"conditions": [_condition("Denied", deny.reason, deny.message, now)]}


def _condition(kind: str, reason: str, message: str, now: int) -> Mapping[str, str]:
    return {
        "type": kind,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": rfc3339(now),
    }


def rfc3339(ms: int) -> str:
    """A moment as Kubernetes writes it, in whole seconds."""
    return datetime.fromtimestamp(ms // 1_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
