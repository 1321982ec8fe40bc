"""Everything that a plan may look at."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509

from tollway.identity.root_change import Proof
from tollway.identity.root_standing import RootStanding
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain
from tollway.resources.models import ENFORCE_LABEL, ENFORCED, ROOT_NAMESPACE
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.certificates import certificate_pem
from tollway_operator.authority.root_changes import published
from tollway_operator.authority.svid_files import BUNDLE_FILE
from tollway_operator.cluster.kinds import NAMESPACE
from tollway_operator.names import EGRESS_LABEL, ROOTS_FILE, STRICT
from tollway_operator.reconciling.actions import Place
from tollway_operator.reconciling.reporting import Report
from tollway_operator.watching.facts import Fact, fingerprint
from tollway_operator.watching.store import Store

GATEWAY_PORT: Final = 15443


@dataclass(frozen=True, slots=True)
class Installation:
    """What whoever installed Tollway decided."""

    trust_domain: TrustDomain = DEFAULT_TRUST_DOMAIN
    root_namespace: str = ROOT_NAMESPACE
    secret_namespaces: frozenset[str] = frozenset()
    """Where SVIDs may be delivered as Secrets."""
    refuse_unselected: bool = False
    egress_extras: tuple[str, ...] = ()
    """Networks (CIDRs) that pods of namespaces with strict egress reach as well."""
    gateway_host: str = ""
    gateway_port: int = GATEWAY_PORT

    @property
    def gateway_address(self) -> str:
        return self.gateway_host or f"tollway-gateway.{self.root_namespace}.svc"


NOTHING_PROVED: Final = Proof("", "")


@dataclass(frozen=True, slots=True)
class Trust:
    """What others see of the authority."""

    roots: bytes
    """PEM."""
    bundle: bytes
    """The map of trust domains to bundles, JSON."""
    issuers: bytes
    """PEM: every signing CA whose leaves may be presented."""
    known: frozenset[str]
    """Fingerprints of the issuers."""
    published: Proof = NOTHING_PROVED
    """Digests of the bundle and the issuers."""
    tried: str | None = None
    """The digest of the bundle, while it is tried who trusts it."""

    @property
    def bundle_files(self) -> Mapping[str, bytes]:
        return {BUNDLE_FILE: self.bundle, ROOTS_FILE: self.roots}


def trust_of(authority: Authority) -> Trust:
    issuers = authority.issuers_pem()
    return Trust(
        roots=b"".join(map(certificate_pem, authority.bundle().roots)),
        bundle=authority.bundle_map(),
        issuers=issuers,
        known=frozenset(map(fingerprint, x509.load_pem_x509_certificates(issuers))),
        published=published(authority.state),
        tried=published(authority.state).bundle if authority.state.change.rule.trial is not None else None,
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`failures`: what the API server, or the authority, has against what was tried last, by object."""

    store: Store
    installation: Installation = Installation()
    trust: Trust | None = None
    pod_certificates: bool = True
    """Whether the cluster can deliver by PodCertificate."""
    report: Report = field(default_factory=Report)
    root: RootStanding | None = None
    """How a change of the root stands; None before that is known."""
    failures: Mapping[Place, str] = field(default_factory=dict)

    def is_enforced(self, namespace: str) -> bool:
        found = self.store.get(NAMESPACE, Fact, namespace)
        return (
            found is not None
            and found.me.labels.get(ENFORCE_LABEL) == ENFORCED
            and namespace != self.installation.root_namespace
        )

    def is_strict(self, namespace: str) -> bool:
        """Whether its pods reach nothing but what Tollway names."""
        found = self.store.get(NAMESPACE, Fact, namespace)
        return self.is_enforced(namespace) and found is not None and found.me.labels.get(EGRESS_LABEL) == STRICT

    def enforced_namespaces(self) -> list[str]:
        known = self.store.all(NAMESPACE, Fact)
        return [fact.me.name for fact in known if self.is_enforced(fact.me.name)]
