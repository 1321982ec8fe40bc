"""The resources in force, compiled for questions that come thousands of times a second.

A rule book is made once per change and never altered. `Declared` answers from the resources alone; what it works out
per agent, provider and model `RuleBook` remembers, so that a decision costs the limits that match and not the number of
quotas, agents or models that exist. The memory is bounded, and goes with the rule book.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from functools import lru_cache, partial
from typing import Final

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain, agent_id
from tollway.ledger.port import Counter
from tollway.ledger.seeding import separated
from tollway.ledger.units import LIFETIME, Unit
from tollway.pricing.table import Dearest, ModelLimits, PriceBook, PriceRow, override_row
from tollway.pricing.usage import CacheWrites
from tollway.providers.port import Family
from tollway.providers.registry import family_of
from tollway.resources.models import (
    ROOT_NAMESPACE,
    AgentIdentity,
    AIProvider,
    AIQuota,
    Limit,
    Mode,
    ModelRule,
    OnShortfall,
    Per,
    ResourceSet,
    Selector,
)
from tollway.values import value

# What is worked out per agent, provider and model is kept for this many combinations. Model names come from callers, so
# the bound is a defence as well.
_REMEMBERED: Final = 4096
_WAYS: Final = 64
_DAY_MS: Final = 86_400_000
_NAME_LABEL: Final = "kubernetes.io/metadata.name"
_USUAL_ACCOUNT: Final = "default"
"""The service account of pods that name none."""
_COVERING_UNITS: Final = frozenset({Unit.INPUT_TOKENS, Unit.OUTPUT_TOKENS, Unit.TOKENS, Unit.COST})


@value(frozen=True, slots=True)
class Caller:
    """Who calls, as its certificate proves it. `agent` is None for a workload that no AgentIdentity names."""

    spiffe_id: str
    namespace: str
    service_account: str
    agent: str | None
    pod: str = ""
    on_behalf_of: tuple[str, ...] = ()
    """Seam: an identity is a chain."""

    def __hash__(self) -> int:
        # Every call looks up what is known of its caller several times; what else may differ follows from these.
        return hash((self.spiffe_id, self.pod))


@value(frozen=True, slots=True)
class Offer:
    """A model as one provider offers it: its price row in force and how large its texts can get."""

    row: PriceRow
    row_json: str
    limits: ModelLimits
    _stairs: dict[tuple[str, bool, CacheWrites], tuple[tuple[int, Dearest], ...]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def dearest(self, input_bound: int, tier: str, audio: bool, writes: CacheWrites) -> Dearest:
        """As `PriceRow.dearest`, remembered: there are a dozen ways to ask for it (parsers let no other tier pass)."""
        stairs = self._stairs.get((tier, audio, writes))
        if stairs is None:
            stairs = self.row.stairs(tier, audio, writes)
            if len(self._stairs) < _WAYS:
                self._stairs[tier, audio, writes] = stairs
        for above, dearest in reversed(stairs):
            if input_bound > above:
                return dearest
        return stairs[0][1]


@value(frozen=True, slots=True)
class Cover:
    """One limit that applies to a call, and the counter that it is counted on for this caller."""

    quota: AIQuota
    limit: Limit
    counter: Counter

    @property
    def bounds_spend(self) -> bool:
        """Whether an unlimited number of tokens is impossible under this limit."""
        return self.quota.mode is Mode.ENFORCE and self.limit.unit in _COVERING_UNITS


@value(frozen=True, slots=True)
class Standing:
    """What follows from who calls whom, whatever the call is."""

    suspended: bool
    known: bool
    """The agent that the certificate names is declared, or it names none."""
    enforced: bool
    """The caller's namespace is one whose identities may call."""
    open: bool
    """The provider is there, and open to the caller's namespace."""


@value(frozen=True, slots=True)
class Listing:
    """What a provider says of a model: whether agents may use it, and at what price. None: it is not known."""

    allowed: bool
    offer: Offer | None


@value(frozen=True, slots=True)
class Line:
    """A limit as a demand is made of it; `place` is that of its unit in `UNITS`."""

    counter: Counter
    limit: Limit
    place: int
    rigid: bool
    shadow: bool


@value(frozen=True, slots=True)
class Terms:
    """What the quotas say of one caller and model."""

    covers: tuple[Cover, ...]
    lines: tuple[Line, ...]
    bounded: bool
    """An enforced limit in tokens or cost covers the calls."""
    default_size: int | None
    """The output cap of a request that names none, if a quota says it."""


UNITS: Final = (
    Unit.REQUESTS,
    Unit.INPUT_TOKENS,
    Unit.OUTPUT_TOKENS,
    Unit.TOKENS,
    Unit.COST,
    Unit.CONCURRENT,
)


def amount_in_force(limit: Limit, now: int) -> int:  # noqa: ARG001 - the seam of grants: an amount is a function of now
    """The amount of `limit` at `now`."""
    return limit.amount


class RuleBook:
    """Answers of the resources, remembered. Equal resources and prices give equal answers.

    What is remembered refers to what is declared and never back to the book: it is freed as soon as the book is.
    """

    def __init__(self, resources: ResourceSet, prices: PriceBook) -> None:
        declared = Declared(resources, prices)
        # With as many agents as may call, looking all of it up anew would be the dearer part of a call.
        callers = max(_REMEMBERED, 2 * len(resources.agents))
        self.agent = declared.agent
        self.provider = declared.provider
        self.family = declared.family
        self.is_open = declared.is_open
        self.declared_counters = declared.declared_counters
        self.caller_of = declared.caller_of
        self.standing = lru_cache(callers)(declared.standing)
        self.covers = lru_cache(callers)(declared.covers)
        self.terms = lru_cache(callers)(partial(_terms, self.covers))
        self._listing_of_day = lru_cache(_REMEMBERED)(declared.listing)

    def listing(self, provider: str, model: str, now: int) -> Listing:
        """The model at `now`. Announced prices come into force at midnight UTC."""
        return self._listing_of_day(provider, model, now // _DAY_MS)


def _terms(
    covers_of: Callable[[Caller, str, str], tuple[Cover, ...]], caller: Caller, provider: str, model: str
) -> Terms:
    covers = covers_of(caller, provider, model)
    defaults = [cover.quota.default_max_output_tokens for cover in covers]
    return Terms(
        covers=covers,
        lines=tuple(_line(cover) for cover in covers),
        bounded=any(cover.bounds_spend for cover in covers),
        default_size=min((default for default in defaults if default is not None), default=None),
    )


def _line(cover: Cover) -> Line:
    return Line(
        counter=cover.counter,
        limit=cover.limit,
        place=UNITS.index(cover.limit.unit),
        rigid=cover.quota.on_shortfall is OnShortfall.REFUSE,
        shadow=cover.quota.mode is Mode.SHADOW,
    )


class Declared:
    """Answers worked out of the resources each time. Pure."""

    def __init__(self, resources: ResourceSet, prices: PriceBook) -> None:
        self._agents = {(agent.meta.namespace, agent.meta.name): agent for agent in resources.agents}
        self._enforced = frozenset(resources.enforced) if resources.enforced is not None else None
        self._suspended_accounts = frozenset(
            (agent.meta.namespace, self._account_of(agent)) for agent in resources.agents if agent.suspended
        )
        self._providers = {provider.meta.name: provider for provider in resources.providers}
        self._families = {provider.meta.name: family_of(provider.type.value) for provider in resources.providers}
        self._quotas = _by_namespace(resources.quotas)
        self._root_quotas = _Shelf(tuple(q for q in resources.quotas if q.namespaces is not None), _namespaces_of)
        self._labels = {n.meta.name: {**n.meta.labels, _NAME_LABEL: n.meta.name} for n in resources.namespaces}
        self._prices = prices

    def agent(self, namespace: str, name: str) -> AgentIdentity | None:
        return self._agents.get((namespace, name))

    def provider(self, name: str) -> AIProvider | None:
        return self._providers.get(name)

    def family(self, provider: str) -> Family | None:
        """The family that speaks for a provider; None where there is no such provider, or nobody has described it."""
        return self._families.get(provider)

    def is_open(self, provider: AIProvider, namespace: str) -> bool:
        return provider.namespaces is None or provider.namespaces.matches(self._namespace_labels(namespace))

    def standing(self, caller: Caller, provider_name: str) -> Standing:
        provider = self._providers.get(provider_name)
        return Standing(
            suspended=self._suspends(caller),
            known=self._is_known(caller),
            enforced=self._enforced is None or caller.namespace in self._enforced,
            open=provider is not None and self.is_open(provider, caller.namespace),
        )

    def listing(self, provider_name: str, model: str, day: int) -> Listing:
        provider = self._providers[provider_name]
        rule = model_rule(provider, model)
        if rule is None and provider.models:
            return Listing(allowed=False, offer=None)
        return Listing(allowed=True, offer=self._offer(provider, rule, model, day))

    def covers(self, caller: Caller, provider: str, model: str) -> tuple[Cover, ...]:
        """Every limit that applies, in order."""
        return tuple(
            Cover(quota, limit, _counter(quota, limit, per))
            for quota in self._matching(caller, provider, model)
            for per in [_per(quota, caller, provider, model)]
            for limit in quota.limits
        )

    def declared_counters(self) -> Mapping[Counter, int]:
        """Every counter that is known before any call, and its amount. Those by pod, provider or model are not."""
        return {
            _counter(quota, limit, _per(quota, caller, "", "")): limit.amount
            for quota in (*(q for shelf in self._quotas.values() for q in shelf.quotas), *self._root_quotas.quotas)
            if not {Per.POD, Per.PROVIDER, Per.MODEL}.intersection(quota.per)
            for caller in self._declared_callers(quota)
            for limit in quota.limits
        }

    def _declared_callers(self, quota: AIQuota) -> Iterable[Caller]:
        if not quota.per:
            return (Caller("", quota.meta.namespace, "", None),)
        counted_by_account = Per.SERVICE_ACCOUNT in quota.per
        callers = (
            self.caller_of(agent)
            for agent in self._agents.values()
            if not counted_by_account or self._account_of(agent) is not None
        )
        return tuple(
            caller
            for caller in callers
            if self._selects_namespace(quota, caller.namespace) and self._selects_agent(quota, caller)
        )

    def caller_of(self, agent: AgentIdentity, trust_domain: TrustDomain = DEFAULT_TRUST_DOMAIN) -> Caller:
        """The caller that a declared identity would be; with the usual service account where it may have any."""
        account = self._account_of(agent) or _USUAL_ACCOUNT
        spiffe_id = agent_id(trust_domain, agent.meta.namespace, account, agent.meta.name)
        return Caller(str(spiffe_id), agent.meta.namespace, account, agent.meta.name)

    def _account_of(self, agent: AgentIdentity) -> str | None:
        """None where pods of any service account may be this agent."""
        return service_account_of(agent) if self._enforced is None else agent.service_account

    def _is_known(self, caller: Caller) -> bool:
        """An identity that was deleted, and made anew for another service account, is another one."""
        if caller.agent is None:
            return True
        agent = self.agent(caller.namespace, caller.agent)
        return agent is not None and (self._enforced is None or agent.service_account in {None, caller.service_account})

    def _suspends(self, caller: Caller) -> bool:
        """A workload without an identity of its own is suspended with any identity that names its service account."""
        if caller.agent is None:
            return (caller.namespace, caller.service_account) in self._suspended_accounts
        agent = self.agent(caller.namespace, caller.agent)
        return agent is not None and agent.suspended

    def _offer(self, provider: AIProvider, rule: ModelRule | None, model: str, day: int) -> Offer | None:
        priced_as = rule.model if rule is not None and rule.model is not None else model
        booked = self._prices.find(provider.type.value, priced_as, day * _DAY_MS)
        row = _overridden(provider, model, priced_as) or (booked.row if booked else None)
        if row is None:
            return None
        limits = _limits(rule, booked.limits if booked else ModelLimits(None, None, hidden_output=True))
        return Offer(row, row.to_json(), limits)

    def _matching(self, caller: Caller, provider: str, model: str) -> Iterable[AIQuota]:
        for quota in self._near(caller):
            if (
                self._selects_namespace(quota, caller.namespace)
                and self._selects_agent(quota, caller)
                and _selects_model(quota, provider, model)
                and (Per.POD not in quota.per or caller.pod)
            ):
                yield quota

    def _near(self, caller: Caller) -> Iterable[AIQuota]:
        """The quotas that may match `caller`: few, however many there are."""
        agent = self.agent(caller.namespace, caller.agent) if caller.agent is not None else None
        own = self._quotas.get(caller.namespace)
        if own is not None:
            yield from own.near(agent.meta.labels if agent is not None else {})
        yield from self._root_quotas.near(self._namespace_labels(caller.namespace))

    def _selects_namespace(self, quota: AIQuota, namespace: str) -> bool:
        if quota.namespaces is None:
            return quota.meta.namespace == namespace
        return quota.meta.namespace == ROOT_NAMESPACE and quota.namespaces.matches(self._namespace_labels(namespace))

    def _selects_agent(self, quota: AIQuota, caller: Caller) -> bool:
        if quota.agents is None:
            return True
        agent = self.agent(caller.namespace, caller.agent) if caller.agent is not None else None
        return agent is not None and quota.agents.matches(agent.meta.labels)

    def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        return self._labels.get(namespace) or {_NAME_LABEL: namespace}


def service_account_of(agent: AgentIdentity) -> str:
    """Without a cluster to ask, an identity's service account is the one it names, or its own name."""
    return agent.service_account or agent.meta.name


def model_rule(provider: AIProvider, model: str) -> ModelRule | None:
    """The first line of the provider's `models` that matches."""
    return next((rule for rule in provider.models if fnmatchcase(model, rule.name)), None)


class _Shelf:
    """Quotas by one of the labels that each asks for, so that finding those of a caller does not look at all."""

    def __init__(self, quotas: tuple[AIQuota, ...], selector: Callable[[AIQuota], Selector | None]) -> None:
        self.quotas = quotas
        self._places: defaultdict[tuple[str, str] | None, list[int]] = defaultdict(list)
        for place, quota in enumerate(quotas):
            asked = selector(quota)
            self._places[next(iter(asked.match_labels.items()), None) if asked is not None else None].append(place)

    def near(self, labels: Mapping[str, str]) -> Iterable[AIQuota]:
        """Those that ask for one of `labels`, or for none, in order."""
        found = [place for label in (None, *labels.items()) for place in self._places.get(label, ())]
        return (self.quotas[place] for place in sorted(found))


def _agents_of(quota: AIQuota) -> Selector | None:
    return quota.agents


def _namespaces_of(quota: AIQuota) -> Selector | None:
    return quota.namespaces


def _by_namespace(quotas: Iterable[AIQuota]) -> Mapping[str, _Shelf]:
    found: defaultdict[str, list[AIQuota]] = defaultdict(list)
    for quota in quotas:
        if quota.namespaces is None:
            found[quota.meta.namespace].append(quota)
    return {namespace: _Shelf(tuple(listed), _agents_of) for namespace, listed in found.items()}


def _selects_model(quota: AIQuota, provider: str, model: str) -> bool:
    return not quota.models or any(
        (line.provider is None or line.provider == provider) and fnmatchcase(model, line.name) for line in quota.models
    )


def _per(quota: AIQuota, caller: Caller, provider: str, model: str) -> tuple[tuple[str, str], ...]:
    if not quota.per:
        return ()
    values = separated(
        caller.namespace, caller.service_account, caller.agent, pod=caller.pod, provider=provider, model=model
    )
    return tuple([(key, values[key]) for key in _keys(quota.per)])


@lru_cache
def _keys(per: tuple[Per, ...]) -> tuple[str, ...]:
    keys = {each.value for each in per}
    if Per.AGENT in per or Per.SERVICE_ACCOUNT in per:
        # Names are unique within a namespace only, and a quota of the root namespace may span several.
        keys.add(Per.NAMESPACE.value)
    return tuple(sorted(keys))


def _counter(quota: AIQuota, limit: Limit, per: tuple[tuple[str, str], ...]) -> Counter:
    return Counter(quota.meta.namespace, quota.meta.name, limit.name, limit.unit, limit.window or LIFETIME, per)


def _overridden(provider: AIProvider, model: str, priced_as: str) -> PriceRow | None:
    for name in (model, priced_as):
        for price in provider.prices:
            if price.model == name:
                return override_row(
                    price.model,
                    price.input,
                    price.output,
                    cache_read=price.cache_read,
                    cache_write_5m=price.cache_write_5m,
                    cache_write_1h=price.cache_write_1h,
                    audio_input=price.audio_input,
                    audio_output=price.audio_output,
                    source=f"AIProvider {provider.meta.name}",
                )
    return None


def _limits(rule: ModelRule | None, booked: ModelLimits) -> ModelLimits:
    if rule is None:
        return booked
    return ModelLimits(
        context_tokens=rule.context_tokens if rule.context_tokens is not None else booked.context_tokens,
        max_output_tokens=rule.max_output_tokens if rule.max_output_tokens is not None else booked.max_output_tokens,
        hidden_output=rule.hidden_output if rule.hidden_output is not None else booked.hidden_output,
    )
