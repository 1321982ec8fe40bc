"""What Tollway is told to be for the bench: who calls, which providers there are, what limits everybody has.

A usual quota, but so large that no call is ever short: a refusal would be faster than a call.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from bench.calls import ANSWERING, STREAMING
from bench.roads import LIMITS

NAMESPACE: Final = "bench"
KEY: Final = "sk-the-key-of-the-bench"
BUDGET: Final = "budget"
"""The limit in money that everybody has."""

Limits = Sequence[Mapping[str, object]]

_BUDGET: Final = {"name": BUDGET, "cost": "9000000", "window": "Month"}
USUAL: Final[Limits] = (
    _BUDGET,
    {"name": "rpm", "requests": 100_000_000, "window": "1m"},
    {"name": "parallel", "concurrent": 10_000},
)
FOUR: Final[Limits] = (*USUAL, {"name": "tpm", "tokens": 1_000_000_000_000, "window": "1m"})
SIXTEEN: Final[Limits] = (
    *FOUR,
    {"name": "day", "cost": "9000000", "window": "Day", "timeZone": "Europe/Berlin"},
    {"name": "week", "cost": "9000000", "window": "Week"},
    {"name": "year", "cost": "9000000", "window": "Year"},
    {"name": "ever", "cost": "9000000", "window": "Lifetime"},
    {"name": "hour", "cost": "9000000", "window": "1h"},
    {"name": "requests-a-day", "requests": 100_000_000, "window": "Day"},
    {"name": "requests-ever", "requests": 100_000_000_000, "window": "Lifetime"},
    {"name": "input-a-minute", "inputTokens": 1_000_000_000_000, "window": "1m"},
    {"name": "input-a-day", "inputTokens": 1_000_000_000_000, "window": "Day"},
    {"name": "output-a-minute", "outputTokens": 1_000_000_000_000, "window": "1m"},
    {"name": "output-a-day", "outputTokens": 1_000_000_000_000, "window": "Day"},
    {"name": "tokens-a-day", "tokens": 1_000_000_000_000, "window": "Day"},
)
AGENTS: Final[Mapping[str, Limits]] = {
    "caller": USUAL,
    LIMITS[1]: (_BUDGET,),
    LIMITS[4]: FOUR,
    LIMITS[16]: SIXTEEN,
}
"""Agent -> the limits that match it. Its quota has its name."""

_API: Final = "tollway.dev/v1alpha1"


def agent_id(name: str) -> str:
    return f"{NAMESPACE}/{name}"


CALLER: Final = agent_id("caller")


def resources(endpoints: Mapping[str, str], agents: Mapping[str, Limits]) -> bytes:
    """The configuration, as YAML: providers by name at `endpoints`, agents and their limits."""
    return "\n---\n".join(map(json.dumps, _documents(endpoints, agents))).encode()


def endpoints(answering: str, streaming: str) -> Mapping[str, str]:
    return {ANSWERING: answering, STREAMING: streaming}


def _documents(endpoints: Mapping[str, str], agents: Mapping[str, Limits]) -> Iterator[Mapping[str, object]]:
    yield {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "the-key", "namespace": "tollway-system"},
        "stringData": {"api-key": KEY},
    }
    credential = {"secretRef": {"name": "the-key", "key": "api-key"}}
    for name, endpoint in endpoints.items():
        spec = {"type": "OpenAI", "endpoint": endpoint, "allowPlaintext": True, "credential": credential}
        yield _resource("AIProvider", {"name": name}, **spec, default=name == ANSWERING)
    for name, limits in agents.items():
        labels = {"agent": name}
        metadata = {"name": name, "namespace": NAMESPACE}
        yield _resource("AgentIdentity", {**metadata, "labels": labels}, selector={"matchLabels": {"app": name}})
        yield _resource("AIQuota", metadata, agents={"matchLabels": labels}, limits=limits)


def _resource(kind: str, metadata: Mapping[str, object], **spec: object) -> Mapping[str, object]:
    return {"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec}
