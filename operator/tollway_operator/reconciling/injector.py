"""What the injector's webhook shows, and what the API server trusts it by.

A certificate of its own that signs itself, and not one of the authority's: what the trust bundle vouches for are SVIDs
alone, and no key of an authority is needed to renew it.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509

from tollway.identity.rotation import Validity, renew_at
from tollway_operator.authority.certificates import validity_of
from tollway_operator.authority.serving import Serving
from tollway_operator.authority.svid_files import CERTIFICATE_FILE, KEY_FILE
from tollway_operator.cluster.kinds import MUTATING_WEBHOOK, SECRET, Object
from tollway_operator.names import INJECTOR, INJECTOR_TLS, OUR_LABELS, ROOTS_FILE
from tollway_operator.reconciling.actions import Action, Apply, IssueServing, Plan
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import SecretFact, WebhookFact


@dataclass(frozen=True, slots=True)
class Shown:
    """The certificate in the Secret, and all that may be shown while it spreads, PEM."""

    certificate: bytes
    trusted: bytes
    validity: Validity
    dns_names: tuple[str, ...]

    @property
    def renew_at(self) -> int:
        return renew_at(self.validity.not_before, self.validity.not_after, 0.0)

    def is_due(self, dns_names: tuple[str, ...], now: int) -> bool:
        # Not valid yet: this machine's clock was set back since it was made.
        return self.dns_names != dns_names or now >= self.renew_at or not self.validity.covers(now)


def plan_injector(snapshot: Snapshot, now: int) -> Plan:
    where = snapshot.installation.root_namespace
    secret = snapshot.store.get(SECRET, SecretFact, INJECTOR_TLS, where)
    webhook = snapshot.store.get(MUTATING_WEBHOOK, WebhookFact, INJECTOR)
    shown = _shown(secret.data) if secret is not None else None
    dns_names = (f"{INJECTOR}.{where}.svc",)
    if shown is None or shown.is_due(dns_names, now):
        replaces = secret.me.resource_version if secret is not None else ""
        still = shown.certificate if shown is not None else b""
        return Plan(((IssueServing(INJECTOR_TLS, where, dns_names, replaces, still, webhook),),))
    return Plan(_trusting(webhook, shown.trusted), shown.renew_at)


def _trusting(webhook: WebhookFact | None, trusted: bytes) -> tuple[tuple[Action, ...], ...]:
    if webhook is None or all(bundle == trusted for bundle in webhook.bundles.values()):
        return ()
    return ((trust_webhook(webhook, trusted),),)


def trust_webhook(webhook: WebhookFact, trusted: bytes) -> Apply:
    """Everything else in the configuration is the chart's. By its uid: one that is removed is not made again."""
    encoded = base64.b64encode(trusted).decode()
    hooks = [{"name": name, "clientConfig": {"caBundle": encoded}} for name in webhook.bundles]
    return Apply(MUTATING_WEBHOOK, MUTATING_WEBHOOK.new(INJECTOR, metadata={"uid": webhook.me.uid}, webhooks=hooks))


def serving_secret(issue: IssueServing, made: Serving) -> Object:
    """Its trust is what the API server trusts, in one object with what is shown."""
    files = {CERTIFICATE_FILE: made.certificate, KEY_FILE: made.key, ROOTS_FILE: trusted_by(issue, made)}
    metadata = {"labels": OUR_LABELS, **({"resourceVersion": issue.replaces} if issue.replaces else {})}
    data = {name: base64.b64encode(content).decode() for name, content in files.items()}
    return SECRET.new(issue.name, issue.namespace, metadata=metadata, type="kubernetes.io/tls", data=data)


def trusted_by(issue: IssueServing, made: Serving) -> bytes:
    return made.certificate + issue.still


def _shown(files: Mapping[str, bytes]) -> Shown | None:
    """None where the Secret holds no such certificate."""
    try:
        certificate = x509.load_pem_x509_certificate(files[CERTIFICATE_FILE])
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (KeyError, ValueError, x509.ExtensionNotFound):
        return None
    dns_names = tuple(names.get_values_for_type(x509.DNSName))
    return Shown(files[CERTIFICATE_FILE], files.get(ROOTS_FILE, b""), validity_of(certificate), dns_names)
