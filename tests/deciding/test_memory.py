"""What a rule book remembers changes no decision, has a bound, and goes with the rule book."""

import gc
import json
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deciding.builders import BODY, BUDGET, NOW, RESEARCHER, Scene, agent, ask, provider, quota
from deciding.straight import Outcome, decided
from tollway.deciding.admission import decide
from tollway.deciding.question import Question
from tollway.deciding.rulebook import Caller, RuleBook
from tollway.ledger.units import LIFETIME, Unit, Window, WindowKind
from tollway.pricing.data import default_book
from tollway.pricing.table import PriceRow, Rates, Step
from tollway.pricing.usage import CacheWrites
from tollway.providers.port import Refusal
from tollway.resources.models import (
    AIQuota,
    Limit,
    Meta,
    Mode,
    ModelFilter,
    ModelRule,
    Namespace,
    OnShortfall,
    Per,
    PriceOverride,
    ProviderType,
    ResourceSet,
    Selector,
)

DAY_MS = 86_400_000
MODELS = ("gpt-4o-mini", "gpt-5", "gpt-5-pro", "in-house", "nothing-known")
MINUTE = Window(WindowKind.ROLLING, 60_000)

limits = st.lists(
    st.builds(
        lambda unit, amount: Limit(f"{unit}-{amount}", unit, amount, None if unit is Unit.CONCURRENT else MINUTE),
        st.sampled_from(Unit),
        st.integers(0, 3),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda limit: limit.name,
)
teams = st.none() | st.sampled_from(["search", "sales"]).map(lambda team: Selector({"team": team}))
filters = st.lists(
    st.builds(ModelFilter, st.sampled_from([None, "openai", "servers"]), st.sampled_from(["gpt-5*", "*", "in-house"])),
    max_size=2,
)


@st.composite
def quotas(draw: st.DrawFn, name: str) -> AIQuota:
    root = draw(st.booleans())
    return quota(
        *draw(limits),
        name=name,
        namespace="tollway-system" if root else draw(st.sampled_from(["team-a", "team-b"])),
        namespaces=draw(teams) or Selector({}) if root else None,
        agents=draw(teams),
        models=tuple(draw(filters)),
        per=tuple(draw(st.lists(st.sampled_from(Per), unique=True, max_size=3))),
        mode=draw(st.sampled_from(Mode)),
        on_shortfall=draw(st.sampled_from(OnShortfall)),
        default_max_output_tokens=draw(st.none() | st.integers(10, 500)),
    )


@st.composite
def resources(draw: st.DrawFn) -> ResourceSet:
    rules = st.sampled_from([ModelRule("gpt-5*"), ModelRule("*", max_output_tokens=77), ModelRule("in-house", "gpt-5")])
    listed = st.lists(rules, max_size=2).map(tuple)
    own = (PriceOverride("in-house", 100_000, 400_000),)
    return ResourceSet(
        agents=tuple(
            agent(
                name,
                namespace,
                suspended=draw(st.integers(0, 9)) == 0,
                service_account=draw(st.sampled_from([None, "x"])),
            )
            for name, namespace in (("researcher", "team-a"), ("writer", "team-a"), ("researcher", "team-b"))
        ),
        providers=(
            provider("openai", models=draw(listed), namespaces=draw(teams)),
            provider("servers", type=ProviderType.OPENAI_COMPATIBLE, models=draw(listed), prices=own),
            provider("others", type=ProviderType.GEMINI),
        ),
        quotas=tuple(draw(quotas(f"q{number}")) for number in range(draw(st.integers(0, 4)))),
        namespaces=(Namespace(Meta("team-a", labels={"team": "search"})),),
    )


callers = st.builds(
    lambda namespace, account, name, pod: Caller(
        f"spiffe://cluster.local/ns/{namespace}/sa/{account}/agent/{name}", namespace, account, name, pod
    ),
    st.sampled_from(["team-a", "team-b", "tollway-system"]),
    st.sampled_from(["researcher", "x"]),
    st.sampled_from(["researcher", "writer", "nobody", None]),
    st.sampled_from(["", "pod-1", "pod-2"]),
)
bodies = st.builds(
    lambda model, more: json.dumps({**BODY, "max_completion_tokens": None, "model": model, **more}).encode(),
    st.sampled_from(MODELS),
    st.sampled_from(
        [
            {},
            {"max_completion_tokens": 50},
            {"n": 3},
            {"service_tier": "flex"},
            {"service_tier": "auto"},
            {"nonsense": 1},
        ]
    ),
)
calls = st.tuples(
    callers,
    st.sampled_from(["openai", "servers", "others", "nobody"]),
    st.sampled_from(["/v1/chat/completions"] * 5 + ["/v1/files"]),
    bodies,
    st.sampled_from([NOW, NOW + DAY_MS, NOW - 400 * DAY_MS]),
)


def question(book: RuleBook, caller: Caller, provider_name: str, path: str, body: bytes, now: int) -> Question:
    headers = {"content-type": "application/json"}
    nothing: frozenset[str] = frozenset()
    return Question("c", caller, provider_name, "POST", path, headers, nothing, nothing, body, book, False, now)


def said(q: Question) -> Outcome:
    """What was decided, in the words of `straight`."""
    outcome = decide(q, lambda _agent, _model: None)
    if isinstance(outcome, Refusal):
        return outcome.reason
    asked = []
    for demand in outcome.demands:
        counter = demand.counter
        name = (counter.namespace, counter.quota, counter.limit, counter.unit)
        asked.append((name, counter.per, demand.limit, demand.base, demand.rate, demand.rigid, demand.shadow))
    return outcome.facts.price, outcome.sizes.most, tuple(asked)


@settings(max_examples=150)
@given(resources(), st.lists(calls, min_size=1, max_size=6), st.randoms())
def test_a_decision_is_the_same_with_and_without_the_memory(
    declared: ResourceSet, asked: Sequence[tuple[Caller, str, str, bytes, int]], order: object
) -> None:
    book = RuleBook(declared, default_book())
    for call in (*asked, *reversed(asked)):
        assert said(question(book, *call)) == decided(declared, *call)


def test_the_generated_cases_reach_grants_and_most_refusals() -> None:
    reached: set[str] = set()

    @settings(max_examples=200, database=None, derandomize=True)
    @given(resources(), calls)
    def note(declared: ResourceSet, call: tuple[Caller, str, str, bytes, int]) -> None:
        outcome = decided(declared, *call)
        reached.add(outcome if isinstance(outcome, str) else "granted")

    note()
    assert reached >= {
        "granted", "identity.invalid", "identity.suspended", "identity.unknown", "model.forbidden", "model.unpriced",
        "operation.unknown", "provider.closed", "provider.unknown", "quota.none",
    }  # fmt: skip


def test_counters_are_the_same_objects_from_call_to_call() -> None:
    book = Scene(quotas=(quota(BUDGET, per=(Per.AGENT,)),)).book()
    first, second = (decide(replace(ask(), rules=book, call_id=each), lambda *_: None) for each in "ab")
    assert not isinstance(first, Refusal)
    assert not isinstance(second, Refusal)
    assert first.demands[0].counter is second.demands[0].counter


def test_models_that_callers_invent_fill_no_more_than_the_bound() -> None:
    book = Scene().book()
    for number in range(5000):
        body = json.dumps({**BODY, "model": f"gpt-4o-mini-{number}"}).encode()
        decide(replace(ask(), rules=book, body=body), lambda *_: None)
    assert book._listing_of_day.cache_info().currsize == 4096
    assert book.terms.cache_info().currsize == 0, "a model without a price takes no memory of the caller's terms"


def test_every_memory_of_a_rule_book_is_bounded() -> None:
    book = Scene().book()
    memories = (book.standing, book.covers, book.terms, book._listing_of_day)
    assert all((each.cache_info().maxsize or 0) <= 4096 for each in memories)


@contextmanager
def without_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_what_is_remembered_goes_with_its_rule_book_at_once() -> None:
    with without_collector():
        book = Scene().book()
        decide(replace(ask(), rules=book), lambda *_: None)
        memories = [weakref.ref(each) for each in (book, book.standing, book.covers, book.terms, book._listing_of_day)]
        del book
        assert [memory() for memory in memories] == [None] * len(memories)


RATES = st.builds(Rates, *[st.integers(0, 100)] * 7)
LADDERS = st.lists(st.tuples(st.integers(1, 50), RATES), max_size=3, unique_by=lambda step: step[0]).flatmap(
    lambda steps: RATES.map(
        lambda first: (Step(0, first), *(Step(*step) for step in sorted(steps, key=lambda s: s[0])))
    )
)


@given(
    LADDERS,
    LADDERS,
    st.integers(0, 60),
    st.sampled_from(["", "flex", "auto"]),
    st.booleans(),
    st.sampled_from(CacheWrites),
)
def test_the_remembered_dearest_price_is_that_of_the_row(
    usual: tuple[Step, ...], flex: tuple[Step, ...], length: int, tier: str, audio: bool, writes: CacheWrites
) -> None:
    row = PriceRow("m", "test", "", usual, {"flex": flex})
    (offer,) = [replace(o, row=row, _stairs={}) for o in [Scene().book().listing("openai", "gpt-5", NOW).offer] if o]
    for _ in range(2):
        assert offer.dearest(length, tier, audio, writes) == row.dearest(length, tier, audio, writes)


@pytest.mark.parametrize("zone", [LIFETIME, MINUTE], ids=["lifetime", "rolling"])
def test_a_new_rule_book_decides_by_its_own_resources(zone: Window) -> None:
    old, new = (Scene(quotas=(quota(Limit("b", Unit.COST, amount, zone)),)).book() for amount in (1, 2))
    for book, amount in ((old, 1), (new, 2), (old, 1)):
        outcome = decide(replace(ask(), rules=book, caller=RESEARCHER), lambda *_: None)
        assert not isinstance(outcome, Refusal)
        assert outcome.demands[0].limit == amount
