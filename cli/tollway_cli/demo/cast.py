"""Who plays in the demo, and under which limits: two agents on two SDKs, a quota over both, and one for each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tollway.resources.models import ProviderType

API: Final = "tollway.dev/v1alpha1"
NAMESPACE: Final = "demo"
SHARED: Final = "team"
"""The quota that counts both agents."""
CONCURRENT: Final = 3


@dataclass(frozen=True, slots=True)
class Player:
    """One agent, the provider that it calls, and the limit of its own (field and amount, as an AIQuota has them)."""

    name: str
    provider: str
    type: ProviderType
    sdk: str
    model: str
    own_limit: tuple[str, str, object]
    workers: int
    """How many callers it has at a time."""

    @property
    def agent(self) -> str:
        return f"{NAMESPACE}/{self.name}"

    @property
    def key(self) -> str:
        """What its provider takes, and no agent ever has."""
        return f"sk-{self.provider}-key-of-the-demo"


RESEARCHER: Final = Player(
    "researcher", "openai", ProviderType.OPENAI, "openai", "gpt-4o", ("budget", "cost", "0.03"), 3
)
WRITER: Final = Player(
    "writer",
    "anthropic",
    ProviderType.ANTHROPIC,
    "anthropic",
    "claude-sonnet-5",
    ("output-tokens", "outputTokens", 10_000),
    2,
)
CAST: Final = (RESEARCHER, WRITER)
BUDGET: Final = "0.08"
"""Of both: the researcher comes to the end of its own long before, the writer does not."""
BUDGET_NANO: Final = 80_000_000


def agents_of(quota: str) -> tuple[str, ...]:
    """Whose calls a quota counts."""
    return tuple(player.agent for player in CAST if quota in {SHARED, player.name})


def resources(endpoints: Mapping[str, str]) -> Iterator[Mapping[str, object]]:
    """Everything that is declared. `endpoints` by provider name."""
    yield _quota(SHARED, None, {"name": "budget", "cost": BUDGET, "window": "Lifetime"})
    for player in CAST:
        name, unit, amount = player.own_limit
        own = {"name": name, unit: amount, "window": "Lifetime"}
        yield _quota(player.name, player, own, {"name": "parallel", "concurrent": CONCURRENT})
        yield _agent(player)
        yield _provider(player, endpoints[player.provider])
        yield _secret(player)


def _quota(name: str, player: Player | None, *limits: Mapping[str, object]) -> Mapping[str, object]:
    selector = {} if player is None else {"agents": {"matchLabels": {"agent": player.name}}}
    return _object("AIQuota", name, {**selector, "limits": list(limits)}, namespace=NAMESPACE)


def _agent(player: Player) -> Mapping[str, object]:
    spec = {"selector": {"matchLabels": {"app": player.name}}}
    return _object("AgentIdentity", player.name, spec, namespace=NAMESPACE, labels={"agent": player.name})


def _provider(player: Player, endpoint: str) -> Mapping[str, object]:
    spec = {
        "type": player.type.value,
        "endpoint": endpoint,
        "allowPlaintext": True,
        "credential": {"secretRef": {"name": f"{player.provider}-key", "key": "api-key"}},
    }
    return _object("AIProvider", player.provider, spec)


def _secret(player: Player) -> Mapping[str, object]:
    metadata = {"name": f"{player.provider}-key", "namespace": "tollway-system"}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"api-key": player.key}}


def _object(kind: str, name: str, spec: Mapping[str, object], **metadata: object) -> Mapping[str, object]:
    return {"apiVersion": API, "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}
