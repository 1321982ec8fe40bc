"""What the status of AIProviders says."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from tollway.pricing.table import PriceBook
from tollway.resources.models import AIProvider, ModelRule
from tollway.resources.status import Condition, Truth
from tollway_operator.cluster.kinds import AI_PROVIDER
from tollway_operator.envoy.vocabulary import families
from tollway_operator.reconciling.actions import Action, Plan
from tollway_operator.reconciling.gateway import keys_of, sound_providers
from tollway_operator.reconciling.rendering import unusable
from tollway_operator.reconciling.reporting import Report
from tollway_operator.reconciling.saying import kept_or, silence, status_actions
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.watching.facts import ProviderFact


def plan_providers(snapshot: Snapshot, prices: PriceBook, now: int) -> Plan:
    facts = [fact for fact in snapshot.store.all(AI_PROVIDER, ProviderFact) if not fact.me.being_deleted]
    keys = keys_of(snapshot.store, snapshot.installation.root_namespace, sound_providers(snapshot.store))
    chains = (_about(snapshot, fact, keys, prices, now) for fact in facts)
    return Plan(tuple(chain for chain in chains if chain))


def _about(
    snapshot: Snapshot, fact: ProviderFact, keys: Mapping[str, bytes], prices: PriceBook, now: int
) -> tuple[Action, ...]:
    if fact.provider is None:
        said = "; ".join(f"{problem.path}: {problem.message}" for problem in fact.problems)
        conditions = [Condition("Accepted", Truth.FALSE, "Invalid", said)]
        return status_actions(AI_PROVIDER, fact, {}, conditions, now)
    provider = fact.provider
    programmed = _programmed(snapshot.report, fact, provider, keys)
    conditions = [_accepted(provider), _credential_ready(provider, keys), programmed]
    return status_actions(AI_PROVIDER, fact, {"models": _models(provider, prices, now)}, conditions, now)


def _accepted(provider: AIProvider) -> Condition:
    if provider.type not in families():
        sentence = f"type {provider.type} has no data path in this version: it is not served"
        return Condition("Accepted", Truth.FALSE, "TypeNotServed", sentence)
    if provider.namespaces is None:
        sentence = "spec.namespaces is absent: agents of every enforced namespace may use it"
        return Condition("Accepted", Truth.TRUE, "OpenToAll", sentence)
    return Condition("Accepted", Truth.TRUE, "Accepted", "it is sound")


def _credential_ready(provider: AIProvider, keys: Mapping[str, bytes]) -> Condition:
    if provider.credential is None:
        return Condition("CredentialReady", Truth.TRUE, "NoCredential", "its calls travel without a key")
    if provider.type in families() and (problem := unusable(provider, keys)):
        reason = "CredentialUnusable" if provider.meta.name in keys else "CredentialMissing"
        return Condition("CredentialReady", Truth.FALSE, reason, problem)
    return Condition("CredentialReady", Truth.TRUE, "Ready", "its Secret is there, and a header can carry the key")


def _programmed(report: Report, fact: ProviderFact, provider: AIProvider, keys: Mapping[str, bytes]) -> Condition:
    if problem := unusable(provider, keys):
        return Condition("Programmed", Truth.FALSE, "NotServed", problem)
    if not report.was_asked:
        unknown = Condition("Programmed", Truth.UNKNOWN, "NotReported", "no gateway has said yet what it runs")
        before = kept_or(unknown, fact)
        # That was not the gateway's to say, and is over.
        return unknown if before.reason == "NotServed" else before
    if report.providers is not None and provider.meta.name not in report.providers:
        sentence = "the gateway does not run it yet, or not in every replica"
        return Condition("Programmed", Truth.FALSE, "Pending", sentence)
    if report.silent:
        return Condition("Programmed", Truth.UNKNOWN, "GatewaySilent", silence(report))
    return Condition("Programmed", Truth.TRUE, "Programmed", "every replica of the gateway serves it")


def _models(provider: AIProvider, prices: PriceBook, now: int) -> Mapping[str, int]:
    """How many entries of the allow-list have a price."""
    priced = sum(_is_priced(provider, rule, prices, now) for rule in provider.models)
    return {"priced": priced, "unpriced": len(provider.models) - priced}


def _is_priced(provider: AIProvider, rule: ModelRule, prices: PriceBook, now: int) -> bool:
    wanted = rule.model or rule.name
    own = [price.model for price in provider.prices]
    if rule.name in own or prices.find(provider.type.value, wanted, now) is not None:
        return True
    return _any_matches(wanted, own) or _any_matches(wanted, prices.names(provider.type.value))


def _any_matches(pattern: str, names: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)
