"""What is kept of the objects that are watched: read once when they change, small, and without private keys."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from tollway.identity.rotation import Validity
from tollway.resources.models import AgentIdentity, AIProvider, AIQuota, KeyType
from tollway.resources.parse import read_object
from tollway.resources.problems import Problem
from tollway.resources.selection import Declared
from tollway_operator import names
from tollway_operator.authority.certificates import validity_of
from tollway_operator.authority.svid_files import (
    BUNDLE_FILE,
    CERTIFICATE_FILE,
    KEY_FILE,
    TRIAL_CERTIFICATE_FILE,
    TRIAL_KEY_FILE,
)
from tollway_operator.cluster import kinds
from tollway_operator.cluster.kinds import Kind, Object
from tollway_operator.signing.evaluator import Pod
from tollway_operator.signing.objects import read_pod

_NO_CERTIFICATE: Final = (
    *(KeyError, ValueError, UnsupportedAlgorithm, x509.InvalidVersion),
    *(x509.ExtensionNotFound, x509.DuplicateExtension, x509.UnsupportedGeneralNameType),
)
"""What reading a certificate raises, whatever it holds: in a namespace its people write Secrets, too."""
_KEY_TYPES: Final[Mapping[str, KeyType]] = {"secp256r1": KeyType.ECDSA_P256, "secp384r1": KeyType.ECDSA_P384}


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells an object from every other, and its version from others."""

    name: str
    namespace: str
    uid: str
    resource_version: str
    generation: int = 0
    created: int = 0
    """Milliseconds since the epoch, in whole seconds."""
    being_deleted: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fact:
    """An object of which only its existence and its labels matter, and the beginning of all others."""

    me: Identity


@dataclass(frozen=True, slots=True)
class AgentFact(Fact):
    """`declared` is None exactly where there are `problems`. `status` is what was written last."""

    declared: Declared | None
    problems: tuple[Problem, ...]
    status: Object


@dataclass(frozen=True, slots=True)
class ProviderFact(Fact):
    provider: AIProvider | None
    problems: tuple[Problem, ...]
    status: Object


@dataclass(frozen=True, slots=True)
class QuotaFact(Fact):
    quota: AIQuota | None
    problems: tuple[Problem, ...]
    status: Object


@dataclass(frozen=True, slots=True)
class PodFact(Fact):
    pod: Pod
    ready: bool
    has_sidecar: bool = False
    address: str = ""


@dataclass(frozen=True, slots=True)
class RequestFact(Fact):
    """A PodCertificateRequest. `content` is kept until it is answered."""

    pod_uid: str
    validity: Validity | None
    renew_at: int | None
    answered: bool
    content: Object = field(repr=False)


@dataclass(frozen=True, slots=True)
class HeldSVID:
    """The certificate in a Secret."""

    spiffe_id: str
    key_type: KeyType
    validity: Validity
    issuer: str
    """SHA-256 of the certificate that signed it, as the chain has it."""
    spread: float
    """In [0, 1), made of the certificate, so that everybody spreads its renewal alike."""


@dataclass(frozen=True, slots=True)
class SecretFact(Fact):
    """`data` only of those that users make, for providers' keys; of ours `digests` by name, and the certificate."""

    owner_uid: str
    svid: HeldSVID | None
    digests: Mapping[str, str]
    data: Mapping[str, bytes] = field(repr=False)
    trial: HeldSVID | None = None
    """Of the gateway's."""


@dataclass(frozen=True, slots=True)
class ConfigFact(Fact):
    digests: Mapping[str, str]
    command: str = ""
    """What a person wrote under it, in `names.COMMAND`."""
    text: str = ""
    """What of it the operator reads itself: `names.STANDING_FILE`."""


@dataclass(frozen=True, slots=True)
class BundleFact(Fact):
    signer: str
    roots: str


@dataclass(frozen=True, slots=True)
class WebhookFact(Fact):
    """A MutatingWebhookConfiguration: for each webhook by name the certificates that it is trusted by, PEM."""

    bundles: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class PolicyFact(Fact):
    """A NetworkPolicy."""

    spec: Object


Reader: TypeAlias = Callable[[Object], Fact]


def read(kind: Kind, content: Object) -> Fact:
    """What to keep of an object. Raises `msgspec.ValidationError` for what no API server would send."""
    return _READERS[kind](content)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digests(files: Mapping[str, bytes]) -> Mapping[str, str]:
    return {name: digest(content) for name, content in files.items()}


# --- reading -------------------------------------------------------------------------------------------------------


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: datetime | None = None
    deletion_timestamp: datetime | None = None
    labels: dict[str, str] | None = None
    owner_references: list[dict[str, Any]] = []


def _metadata(content: Object) -> _Metadata:
    return msgspec.convert(content["metadata"], _Metadata)


def identity_of(content: Object) -> Identity:
    meta = _metadata(content)
    return Identity(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        resource_version=meta.resource_version,
        generation=meta.generation,
        created=_ms(meta.creation_timestamp),
        being_deleted=meta.deletion_timestamp is not None,
        labels=meta.labels or {},
    )


def _ms(moment: datetime | None) -> int:
    return int(moment.timestamp()) * 1_000 if moment is not None else 0


def moment(text: object) -> int | None:
    """RFC 3339 as milliseconds; None for what is none."""
    try:
        return _ms(datetime.fromisoformat(str(text)))
    except ValueError:
        return None


def _read_agent(content: Object) -> Fact:
    me = identity_of(content)
    resource, problems = read_object(_declaration(content))
    declared = Declared(resource, me.created, me.being_deleted) if isinstance(resource, AgentIdentity) else None
    return AgentFact(me, declared, problems, content.get("status") or {})


def _read_provider(content: Object) -> Fact:
    resource, problems = read_object(_declaration(content))
    provider = resource if isinstance(resource, AIProvider) else None
    return ProviderFact(identity_of(content), provider, problems, content.get("status") or {})


def _read_quota(content: Object) -> Fact:
    resource, problems = read_object(_declaration(content))
    quota = resource if isinstance(resource, AIQuota) else None
    return QuotaFact(identity_of(content), quota, problems, content.get("status") or {})


def _declaration(content: Object) -> Mapping[str, object]:
    """What the user said, without what the server added."""
    return {key: content[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in content}


def _read_pod_fact(content: Object) -> Fact:
    status, spec = content.get("status") or {}, content.get("spec") or {}
    conditions = status.get("conditions") or ()
    has_sidecar = any(each.get("name") == names.SIDECAR_CONTAINER for each in spec.get("initContainers") or ())
    address = str(status.get("podIP") or "")
    return PodFact(identity_of(content), read_pod(content), _is_true(conditions, "Ready"), has_sidecar, address)


def _is_true(conditions: Iterable[Object], kind: str) -> bool:
    return any(each.get("type") == kind and each.get("status") == "True" for each in conditions)


def _read_request_fact(content: Object) -> Fact:
    status = content.get("status") or {}
    start, end = moment(status.get("notBefore")), moment(status.get("notAfter"))
    return RequestFact(
        me=identity_of(content),
        pod_uid=str(content["spec"].get("podUID", "")),
        validity=Validity(start, end) if start is not None and end is not None else None,
        renew_at=moment(status.get("beginRefreshAt")),
        answered=bool(status.get("conditions")),
        content={} if status.get("conditions") else content,
    )


def _read_secret_fact(content: Object) -> Fact:
    me = identity_of(content)
    ours = me.labels.get(names.MANAGED_BY) == names.TOLLWAY
    if me.name == names.AUTHORITY:
        return SecretFact(me, "", None, {}, {})
    data = _decoded(content.get("data") or {})
    if me.name == names.INJECTOR_TLS:
        return SecretFact(me, "", None, digests({**data, KEY_FILE: b""}), {**data, KEY_FILE: b""})
    if not ours:
        return SecretFact(me, _owner(content), None, {}, data)
    svid = held_svid(data) if names.is_svid_secret(me.name) else None
    shown = {**data, KEY_FILE: b"", TRIAL_KEY_FILE: b""} if svid else data
    trial = held_svid({**data, CERTIFICATE_FILE: data.get(TRIAL_CERTIFICATE_FILE, b"")}) if svid else None
    return SecretFact(me, _owner(content), svid, digests(shown), {}, trial)


def _owner(content: Object) -> str:
    owners = _metadata(content).owner_references
    return next((str(owner.get("uid", "")) for owner in owners if owner.get("controller")), "")


def _decoded(data: Mapping[str, str]) -> Mapping[str, bytes]:
    try:
        return {name: base64.b64decode(value, validate=True) for name, value in data.items()}
    except (binascii.Error, ValueError):
        return {}


def held_svid(data: Mapping[str, bytes]) -> HeldSVID | None:
    """What the files of a Secret hold; None where that is no SVID with a key and a bundle."""
    if not data.get(KEY_FILE) or BUNDLE_FILE not in data:
        return None
    try:
        leaf, issuer = x509.load_pem_x509_certificates(data[CERTIFICATE_FILE])
        names_ = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        [spiffe_id] = names_.get_values_for_type(x509.UniformResourceIdentifier)
        key_type = _KEY_TYPES[getattr(getattr(leaf.public_key(), "curve", None), "name", "")]
        validity, signed_by = validity_of(leaf), fingerprint(issuer)
    except _NO_CERTIFICATE:
        return None
    spread = int.from_bytes(hashlib.sha256(data[CERTIFICATE_FILE]).digest()[:4], "big") / 2**32
    return HeldSVID(spiffe_id, key_type, validity, signed_by, spread)


def fingerprint(certificate: x509.Certificate) -> str:
    return digest(certificate.tbs_certificate_bytes)


def _read_config_fact(content: Object) -> Fact:
    me, texts = identity_of(content), content.get("data") or {}
    files = {name: str(text).encode() for name, text in texts.items()}
    if me.name != names.ROOT_CHANGE:
        return ConfigFact(me, digests(files))
    command = (content["metadata"].get("annotations") or {}).get(names.COMMAND, "")
    return ConfigFact(me, digests(files), str(command), str(texts.get(names.STANDING_FILE, "")))


def _read_bundle_fact(content: Object) -> Fact:
    spec = content["spec"]
    return BundleFact(identity_of(content), str(spec.get("signerName", "")), str(spec.get("trustBundle", "")))


def _read_webhook_fact(content: Object) -> Fact:
    hooks = {str(hook["name"]): hook.get("clientConfig") or {} for hook in content.get("webhooks") or ()}
    return WebhookFact(
        identity_of(content),
        {name: _decoded({"": config.get("caBundle") or ""}).get("", b"") for name, config in hooks.items()},
    )


def _read_policy_fact(content: Object) -> Fact:
    return PolicyFact(identity_of(content), content.get("spec") or {})


def _read_existence(content: Object) -> Fact:
    return Fact(identity_of(content))


_READERS: Final[Mapping[Kind, Reader]] = {
    kinds.AGENT_IDENTITY: _read_agent,
    kinds.AI_PROVIDER: _read_provider,
    kinds.AI_QUOTA: _read_quota,
    kinds.NAMESPACE: _read_existence,
    kinds.POD: _read_pod_fact,
    kinds.POD_CERTIFICATE_REQUEST: _read_request_fact,
    kinds.SECRET: _read_secret_fact,
    kinds.CONFIG_MAP: _read_config_fact,
    kinds.CLUSTER_TRUST_BUNDLE: _read_bundle_fact,
    kinds.MUTATING_WEBHOOK: _read_webhook_fact,
    kinds.NETWORK_POLICY: _read_policy_fact,
}
