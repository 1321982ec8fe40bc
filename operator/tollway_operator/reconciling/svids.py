"""SVIDs that lie in Secrets: when one is made anew, and when only the trust bundle beside it changes."""

from tollway.identity.rotation import renew_at
from tollway.identity.spiffe_id import parse_spiffe_id, trial_id
from tollway.resources.models import KeyType
from tollway_operator.authority.svid_files import CERTIFICATE_FILE, TRIAL_CERTIFICATE_FILE
from tollway_operator.reconciling.actions import Action, ShowBundle
from tollway_operator.reconciling.snapshot import Trust
from tollway_operator.watching.facts import HeldSVID, SecretFact, digest


def renewal_of(held: HeldSVID) -> int:
    """When it is renewed: between 30 and 40 % of its life, by something of the certificate itself."""
    return renew_at(held.validity.not_before, held.validity.not_after, held.spread)


def is_due(held: HeldSVID | None, spiffe_id: str, key_type: KeyType, trust: Trust, now: int) -> bool:
    """Whether another is needed: none there, another identity or key, an authority that nobody knows, or its time."""
    if held is None or (held.spiffe_id, held.key_type) != (spiffe_id, key_type):
        return True
    if held.issuer not in trust.known:
        return True
    return now >= renewal_of(held) or not held.validity.covers(now)


def is_trial_due(secret: SecretFact | None, gateway: str, trust: Trust, now: int) -> bool:
    """Whether the gateway's trial certificate is not the one for what is published; where nothing is tried, not its
    SVID. Both are made together: only who issues has a key to show."""
    if secret is None:
        return True
    if trust.tried is None:
        return secret.digests.get(TRIAL_CERTIFICATE_FILE) != secret.digests.get(CERTIFICATE_FILE)
    wanted = str(trial_id(parse_spiffe_id(gateway), trust.tried))
    return is_due(secret.trial, wanted, KeyType.ECDSA_P256, trust, now)


def bundle_actions(secret: SecretFact | None, trust: Trust) -> tuple[Action, ...]:
    """What brings the bundle beside an SVID up to date."""
    if secret is None:
        return ()
    stale = {name: data for name, data in trust.bundle_files.items() if secret.digests.get(name) != digest(data)}
    return (ShowBundle(secret.me, stale),) if stale else ()
