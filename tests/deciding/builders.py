"""Questions for the decision: `ask(...)` names only what differs from a call that is in order."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tollway.deciding.question import CallerProblem, Question
from tollway.deciding.rulebook import Caller, RuleBook
from tollway.ledger.units import LIFETIME, Unit
from tollway.pricing.data import default_book
from tollway.resources.models import (
    AgentIdentity,
    AIProvider,
    AIQuota,
    Endpoint,
    Limit,
    Meta,
    ProviderType,
    ResourceSet,
    Selector,
)

NOW = 1_800_000_000_000
RESEARCHER = Caller(
    "spiffe://cluster.local/ns/team-a/sa/researcher/agent/researcher", "team-a", "researcher", "researcher"
)
BUDGET = Limit("budget", Unit.COST, 1_000_000_000, LIFETIME)
BODY = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 100}


def agent(name: str = "researcher", namespace: str = "team-a", **spec: object) -> AgentIdentity:
    meta = Meta(name, namespace, {"team": "search"})
    return replace(AgentIdentity(meta, Selector({"app": name})), **spec)  # type: ignore[arg-type]


def provider(name: str = "openai", **spec: object) -> AIProvider:
    made = AIProvider(Meta(name), ProviderType.OPENAI, Endpoint(tls=True, host="api.openai.com", port=443))
    return replace(made, **spec)  # type: ignore[arg-type]


def quota(*limits: Limit, name: str = "q", namespace: str = "team-a", **spec: object) -> AIQuota:
    return replace(AIQuota(Meta(name, namespace), limits or (BUDGET,)), **spec)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Scene:
    agents: tuple[AgentIdentity, ...] = (agent(),)
    providers: tuple[AIProvider, ...] = (provider(),)
    quotas: tuple[AIQuota, ...] = (quota(),)
    resources: ResourceSet = field(default_factory=ResourceSet)

    def book(self) -> RuleBook:
        declared = replace(self.resources, agents=self.agents, providers=self.providers, quotas=self.quotas)
        return RuleBook(declared, default_book())


def ask(
    scene: Scene = Scene(),
    *,
    caller: Caller | CallerProblem = RESEARCHER,
    method: str = "POST",
    path: str = "/v1/chat/completions",
    provider_name: str = "openai",
    body: Mapping[str, object] | bytes = BODY,
    repeated: frozenset[str] = frozenset(),
    query: frozenset[str] = frozenset(),
    uncovered_allowed: bool = False,
    now: int = NOW,
) -> Question:
    return Question(
        call_id="call-1",
        caller=caller,
        provider_name=provider_name,
        method=method,
        path=path,
        headers={"content-type": "application/json"},
        repeated_headers=repeated,
        query_keys=query,
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
        rules=scene.book(),
        uncovered_allowed=uncovered_allowed,
        now=now,
    )
