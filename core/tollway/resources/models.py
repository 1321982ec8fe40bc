"""The resources of `tollway.dev/v1alpha1` as frozen values, after parsing: nothing in them is unchecked input.

Field names follow `crds/`; amounts are integers (money in nano-USD, prices in pico-USD per token, times in ms).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from tollway.ledger.units import Unit, Window

ROOT_NAMESPACE = "tollway-system"
ENFORCE_LABEL = "tollway.dev/enforce"
"""The label of a namespace, and its value, by which its workloads are Tollway's to answer for."""
ENFORCED = "enabled"


@dataclass(frozen=True, slots=True)
class Meta:
    name: str
    namespace: str = ""
    """Empty for cluster-scoped kinds."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Selector:
    """All of `match_labels` must be there. An empty selector matches everything."""

    match_labels: Mapping[str, str]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(labels.get(key) == value for key, value in self.match_labels.items())


class Delivery(StrEnum):
    AUTO = "Auto"
    POD_CERTIFICATE = "PodCertificate"
    SECRET = "Secret"  # noqa: S105 - a kind of object


class KeyType(StrEnum):
    ECDSA_P256 = "ECDSAP256"
    ECDSA_P384 = "ECDSAP384"


class Capture(StrEnum):
    ENV = "Env"
    NONE = "None"


@dataclass(frozen=True, slots=True)
class SVIDSpec:
    ttl_ms: int = 3_600_000
    delivery: Delivery = Delivery.AUTO
    key_type: KeyType = KeyType.ECDSA_P256


@dataclass(frozen=True, slots=True)
class AgentIdentity:
    meta: Meta
    selector: Selector
    service_account: str | None = None
    svid: SVIDSpec = SVIDSpec()
    capture: Capture = Capture.ENV
    suspended: bool = False


class ProviderType(StrEnum):
    OPENAI = "OpenAI"
    ANTHROPIC = "Anthropic"
    GEMINI = "Gemini"
    VERTEX = "Vertex"
    AZURE_OPENAI = "AzureOpenAI"
    BEDROCK = "Bedrock"
    OPENAI_COMPATIBLE = "OpenAICompatible"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a provider listens. `path` is a prefix without a trailing slash, mostly empty."""

    tls: bool
    host: str
    port: int
    path: str = ""


@dataclass(frozen=True, slots=True)
class SecretKeyRef:
    name: str
    key: str


@dataclass(frozen=True, slots=True)
class ModelRule:
    """A line of `models`: a glob of allowed names, and what an alias or deployment really is."""

    name: str
    model: str | None = None
    max_output_tokens: int | None = None
    context_tokens: int | None = None
    hidden_output: bool | None = None


@dataclass(frozen=True, slots=True)
class PriceOverride:
    """Prices in integer pico-USD per token (`"0.10"` USD per million tokens is 100_000). None: not stated."""

    model: str
    input: int
    output: int
    cache_read: int | None = None
    cache_write_5m: int | None = None
    cache_write_1h: int | None = None
    audio_input: int | None = None
    audio_output: int | None = None


@dataclass(frozen=True, slots=True)
class AIProvider:
    meta: Meta
    type: ProviderType
    endpoint: Endpoint
    default: bool = False
    namespaces: Selector | None = None
    region: str | None = None
    credential: SecretKeyRef | None = None
    models: tuple[ModelRule, ...] = ()
    prices: tuple[PriceOverride, ...] = ()


class Per(StrEnum):
    AGENT = "Agent"
    POD = "Pod"
    SERVICE_ACCOUNT = "ServiceAccount"
    NAMESPACE = "Namespace"
    PROVIDER = "Provider"
    MODEL = "Model"


class Mode(StrEnum):
    ENFORCE = "Enforce"
    SHADOW = "Shadow"


class OnShortfall(StrEnum):
    SHRINK = "Shrink"
    REFUSE = "Refuse"


class Bound(StrEnum):
    LEARNED = "Learned"
    PROVABLE = "Provable"


class OnLedgerUnavailable(StrEnum):
    DENY = "Deny"
    LEASE = "Lease"
    ALLOW = "Allow"


@dataclass(frozen=True, slots=True)
class ModelFilter:
    """A line of a quota's `models`: which provider (None: any), which models (a glob)."""

    provider: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Limit:
    """One line of `limits`. `window` is None exactly for `concurrent`."""

    name: str
    unit: Unit
    amount: int
    window: Window | None


@dataclass(frozen=True, slots=True)
class AIQuota:
    meta: Meta
    limits: tuple[Limit, ...]
    agents: Selector | None = None
    namespaces: Selector | None = None
    models: tuple[ModelFilter, ...] = ()
    per: tuple[Per, ...] = ()
    mode: Mode = Mode.ENFORCE
    on_shortfall: OnShortfall = OnShortfall.SHRINK
    bound: Bound = Bound.LEARNED
    default_max_output_tokens: int | None = None
    on_ledger_unavailable: OnLedgerUnavailable = OnLedgerUnavailable.DENY


@dataclass(frozen=True, slots=True)
class Secret:
    """`repr` never shows the data: it ends up in logs and tracebacks."""

    meta: Meta
    data: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Namespace:
    """`v1/Namespace`: only its labels matter, for selectors."""

    meta: Meta


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Everything that is declared, each tuple ordered by namespace and name. Names are unique within a kind."""

    agents: tuple[AgentIdentity, ...] = ()
    providers: tuple[AIProvider, ...] = ()
    quotas: tuple[AIQuota, ...] = ()
    secrets: tuple[Secret, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    enforced: tuple[str, ...] | None = None
    """In a cluster: the namespaces that are enforced; SVIDs of others are refused. There an identity that names no
    service account leaves it to its pods. None, on one machine: every namespace is enforced, and an identity that
    names no service account has one of its own name."""


@dataclass(frozen=True, slots=True)
class RuleFile:
    """What the supervisor publishes to the data plane: the resources in force, without any Secret."""

    generation: int
    resources: ResourceSet
