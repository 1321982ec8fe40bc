"""A decision worked out in a straight line from the resources: no rule book, nothing found, nothing remembered."""

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase

from tollway.deciding.rulebook import Caller
from tollway.ledger.units import Unit
from tollway.pricing.data import default_book
from tollway.pricing.table import ModelLimits, PriceRow, override_row
from tollway.providers.port import ParsedCall, RequestRefused
from tollway.providers.registry import family_of
from tollway.resources.models import (
    AgentIdentity,
    AIProvider,
    AIQuota,
    Mode,
    ModelRule,
    OnShortfall,
    Per,
    ResourceSet,
    Selector,
)

Outcome = str | tuple[object, ...]
"""The reason of a refusal, or price row, sizes and demands."""
SPENDING = {Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.TOKENS, Unit.COST}


def decided(declared: ResourceSet, caller: Caller, provider_name: str, path: str, body: bytes, now: int) -> Outcome:
    problem = identity_problem(declared, caller)
    if problem:
        return problem
    provider = next((each for each in declared.providers if each.meta.name == provider_name), None)
    family = family_of(provider.type) if provider is not None else None
    if provider is None or family is None:
        return "provider.unknown"
    if not selects(provider.namespaces, namespace_labels(declared, caller.namespace)):
        return "provider.closed"
    operation = family.operation("POST", path)
    if operation is None:
        return "operation.unknown"
    try:
        call = family.parse(operation, body, "application/json")
    except RequestRefused as refused:
        return refused.reason
    return admitted(declared, caller, provider, call, now)


def identity_problem(declared: ResourceSet, caller: Caller) -> str:
    if caller.namespace == "tollway-system":
        return "identity.invalid"
    own = agents_of(declared, caller)
    of_account = [
        each
        for each in declared.agents
        if (each.meta.namespace, each.service_account or each.meta.name) == (caller.namespace, caller.service_account)
    ]
    if any(each.suspended for each in (of_account if caller.agent is None else own)):
        return "identity.suspended"
    return "identity.unknown" if caller.agent is not None and not own else ""


def agents_of(declared: ResourceSet, caller: Caller) -> list[AgentIdentity]:
    return [
        each for each in declared.agents if (each.meta.namespace, each.meta.name) == (caller.namespace, caller.agent)
    ]


def admitted(declared: ResourceSet, caller: Caller, provider: AIProvider, call: ParsedCall, now: int) -> Outcome:
    rule = next((each for each in provider.models if fnmatchcase(call.model, each.name)), None)
    if rule is None and provider.models:
        return "model.forbidden"
    row, limits = price(provider, rule, call.model, now)
    if row is None:
        return "model.unpriced"
    quotas = list(matching(declared, caller, provider.meta.name, call.model))
    if not any(q.mode is Mode.ENFORCE and limit.unit in SPENDING for q in quotas for limit in q.limits):
        return "quota.none"
    size = asked_size(call, quotas, limits)
    if size is None:
        return "request.unbounded"
    return row.to_json(), size, tuple(demands(quotas, caller, provider.meta.name, call, row, limits))


def selects(selector: Selector | None, labels: Mapping[str, str]) -> bool:
    return selector is None or selector.matches(labels)


def namespace_labels(declared: ResourceSet, namespace: str) -> Mapping[str, str]:
    said = next((each.meta.labels for each in declared.namespaces if each.meta.name == namespace), {})
    return {**said, "kubernetes.io/metadata.name": namespace}


def price(provider: AIProvider, rule: ModelRule | None, model: str, now: int) -> tuple[PriceRow | None, ModelLimits]:
    alias = rule.model if rule is not None and rule.model is not None else model
    booked = default_book().find(provider.type, alias, now)
    known = booked.limits if booked else ModelLimits(None, None, hidden_output=True)
    most = rule.max_output_tokens if rule is not None and rule.max_output_tokens else known.max_output_tokens
    limits = ModelLimits(known.context_tokens, most, known.hidden_output)
    for name in (model, alias):
        for own in provider.prices:
            if own.model == name:
                return override_row(name, own.input, own.output, source=f"AIProvider {provider.meta.name}"), limits
    return (booked.row if booked else None), limits


def matching(declared: ResourceSet, caller: Caller, provider: str, model: str) -> Iterator[AIQuota]:
    labels = namespace_labels(declared, caller.namespace)
    agent_labels = next((each.meta.labels for each in agents_of(declared, caller)), {})
    for wide in (False, True):
        for quota in declared.quotas:
            near = quota.namespaces.matches(labels) if quota.namespaces else quota.meta.namespace == caller.namespace
            agents = quota.agents is None or (caller.agent is not None and quota.agents.matches(agent_labels))
            models = not quota.models or any(
                each.provider in (None, provider) and fnmatchcase(model, each.name) for each in quota.models
            )
            seen = Per.POD not in quota.per or caller.pod
            if (quota.namespaces is not None) == wide and near and agents and models and seen:
                yield quota


def asked_size(call: ParsedCall, quotas: list[AIQuota], limits: ModelLimits) -> int | None:
    if call.output_cap is not None:
        return call.output_cap
    said = [quota.default_max_output_tokens for quota in quotas if quota.default_max_output_tokens]
    size = min(said) if said else limits.max_output_tokens
    return None if size is None else max(size, call.least_output)


def demands(
    quotas: list[AIQuota], caller: Caller, provider: str, call: ParsedCall, row: PriceRow, limits: ModelLimits
) -> Iterator[tuple[object, ...]]:
    read = min(call.input_bound, (limits.context_tokens or call.input_bound) * call.prompts)
    dearest = row.dearest(read, call.tier, call.audio, call.cache_writes)
    sums = {
        Unit.REQUESTS: (1000, 0),
        Unit.CONCURRENT: (1000, 0),
        Unit.INPUT_TOKENS: (1000 * read, 0),
        Unit.OUTPUT_TOKENS: (0, 1000 * call.answers),
        Unit.TOKENS: (1000 * read, 1000 * call.answers),
        Unit.COST: (read * dearest.input, call.answers * dearest.output),
    }
    for quota in quotas:
        rigid, shadow = quota.on_shortfall is OnShortfall.REFUSE, quota.mode is Mode.SHADOW
        for limit in quota.limits:
            name = (quota.meta.namespace, quota.meta.name, limit.name, limit.unit)
            yield name, separated(quota, caller, provider, call.model), limit.amount, *sums[limit.unit], rigid, shadow


def separated(quota: AIQuota, caller: Caller, provider: str, model: str) -> tuple[tuple[str, str], ...]:
    values = {
        Per.AGENT: caller.agent or f"sa/{caller.service_account}",
        Per.POD: caller.pod,
        Per.SERVICE_ACCOUNT: caller.service_account,
        Per.NAMESPACE: caller.namespace,
        Per.PROVIDER: provider,
        Per.MODEL: model,
    }
    named = {Per.AGENT, Per.SERVICE_ACCOUNT} & set(quota.per)
    return tuple(sorted((per.value, values[per]) for per in {*quota.per, *([Per.NAMESPACE] if named else [])}))
