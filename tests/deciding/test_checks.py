"""The whole list of checks against whole questions: one row, one way of not being allowed."""

from dataclasses import replace

import pytest

from deciding.builders import BODY, BUDGET, RESEARCHER, Scene, agent, ask, provider, quota
from tollway.deciding.checks import CHECKS, first_refusal, trace
from tollway.deciding.question import CallerProblem, Question
from tollway.deciding.rulebook import Caller
from tollway.ledger.units import LIFETIME, Unit, Window, WindowKind
from tollway.providers.port import Kind
from tollway.resources.models import Limit, Meta, Mode, ModelFilter, ModelRule, Namespace, Per, ResourceSet, Selector

SPIFFE = "spiffe://cluster.local/ns/{}/sa/x"
WORKLOAD = Caller(SPIFFE.format("team-a"), "team-a", "researcher", None)
RPM = Limit("rpm", Unit.REQUESTS, 60, Window(WindowKind.ROLLING, 60_000))


def body(**changed: object) -> dict[str, object]:
    return {**BODY, **changed}


REFUSED = {
    "a certificate that proves nothing": (
        ask(caller=CallerProblem("identity.expired", "It expired.")),
        "identity.expired",
    ),
    "an identity of Tollway itself": (ask(caller=replace(RESEARCHER, namespace="tollway-system")), "identity.invalid"),
    "a suspended agent": (ask(Scene(agents=(agent(suspended=True),))), "identity.suspended"),
    "a workload whose account belongs to a suspended agent": (
        ask(Scene(agents=(agent(suspended=True),)), caller=WORKLOAD),
        "identity.suspended",
    ),
    "an agent that was deleted": (ask(Scene(agents=())), "identity.unknown"),
    "two authorization headers": (ask(repeated=frozenset({"authorization"})), "request.malformed"),
    "an unknown provider": (ask(provider_name="nobody"), "provider.unknown"),
    "a provider of another namespace": (
        ask(Scene(providers=(provider(namespaces=Selector({"kubernetes.io/metadata.name": "team-b"})),))),
        "provider.closed",
    ),
    "a query parameter": (ask(query=frozenset({"api_base"})), "request.malformed"),
    "an operation nobody described": (ask(path="/v1/files"), "operation.unknown"),
    "another method": (ask(method="GET"), "operation.unknown"),
    "a longer path": (ask(path="/v1/chat/completions/"), "operation.unknown"),
    "a body that is no JSON": (ask(body=b"{"), "request.unreadable"),
    "two models in one body": (ask(body=b'{"model":"a","model":"b","messages":[]}'), "request.unreadable"),
    "a model that is not listed": (ask(Scene(providers=(provider(models=(ModelRule("gpt-5*"),)),))), "model.forbidden"),
    "a model without a price": (ask(body=body(model="gpt-4o-mini-of-tomorrow")), "model.unpriced"),
    "no quota at all": (ask(Scene(quotas=())), "quota.none"),
    "a quota of requests only": (ask(Scene(quotas=(quota(RPM),))), "quota.none"),
    "a quota in shadow": (ask(Scene(quotas=(quota(mode=Mode.SHADOW),))), "quota.none"),
    "a quota of another namespace": (ask(Scene(quotas=(quota(namespace="team-b"),))), "quota.none"),
    "a quota of other agents": (ask(Scene(quotas=(quota(agents=Selector({"team": "sales"})),))), "quota.none"),
    "a quota of other models": (ask(Scene(quotas=(quota(models=(ModelFilter("openai", "gpt-5*"),)),))), "quota.none"),
    "a quota of another provider": (ask(Scene(quotas=(quota(models=(ModelFilter("azure", "*"),)),))), "quota.none"),
    "a quota by pod, for a certificate without one": (ask(Scene(quotas=(quota(per=(Per.POD,)),))), "quota.none"),
}


@pytest.mark.parametrize(("question", "reason"), REFUSED.values(), ids=REFUSED)
def test_it_is_refused_for_its_reason(question: Question, reason: str) -> None:
    refusal = first_refusal(question)
    assert refusal is not None
    assert refusal.reason == reason
    assert refusal.call_id == "call-1"


ALLOWED = {
    "a call in order": ask(),
    "a listed model": ask(Scene(providers=(provider(models=(ModelRule("gpt-4o*"),)),))),
    "an alias of a priced model": ask(
        Scene(providers=(provider(models=(ModelRule("mine", model="gpt-4o-mini"),)),)), body=body(model="mine")
    ),
    "a provider open by label": ask(
        Scene(
            providers=(provider(namespaces=Selector({"tier": "gold"})),),
            resources=ResourceSet(namespaces=(Namespace(Meta("team-a", labels={"tier": "gold"})),)),
        )
    ),
    "a quota of the root namespace": ask(Scene(quotas=(quota(namespace="tollway-system", namespaces=Selector({})),))),
    "an uncovered call where that is allowed": ask(Scene(quotas=()), uncovered_allowed=True),
    "a workload without an identity of its own": ask(caller=WORKLOAD),
}


@pytest.mark.parametrize("question", ALLOWED.values(), ids=ALLOWED)
def test_it_is_allowed(question: Question) -> None:
    assert first_refusal(question) is None


def test_a_model_without_any_known_cap_must_be_given_one() -> None:
    unlimited = {key: value for key, value in BODY.items() if key != "max_completion_tokens"}
    own = provider(models=(ModelRule("mine", model="in-house"),), prices=())
    priced = replace(own, prices=(_price("in-house"),))
    refusal = first_refusal(ask(Scene(providers=(priced,)), body={**unlimited, "model": "mine"}))
    assert refusal is not None
    assert refusal.reason == "request.unbounded"


def test_the_trace_names_every_check_up_to_the_one_that_refused() -> None:
    said = trace(ask(path="/v1/files"))
    assert [name for name, _ in said] == [name for name, _ in CHECKS][: len(said)]
    assert [word for _, word in said[:-1]] == ["passed"] * (len(said) - 1)
    assert said[-1][1].startswith("operation.unknown")


def test_the_body_of_a_caller_without_identity_is_never_parsed() -> None:
    question = ask(caller=CallerProblem("identity.missing", "No certificate."))
    first_refusal(question)
    assert question.understood is None


def test_identity_comes_before_everything_else() -> None:
    refusal = first_refusal(ask(caller=CallerProblem("identity.missing", "No."), provider_name="nobody", body=b"{"))
    assert refusal is not None
    assert refusal.kind is Kind.UNAUTHENTICATED


def test_two_agents_of_one_name_in_two_namespaces_have_counters_of_their_own() -> None:
    everywhere = quota(namespace="tollway-system", namespaces=Selector({}), per=(Per.AGENT,))
    book = Scene(agents=(agent(), agent(namespace="team-b")), quotas=(everywhere,)).book()
    other = replace(RESEARCHER, namespace="team-b")
    ours, theirs = (book.covers(caller, "openai", "gpt-4o-mini")[0].counter for caller in (RESEARCHER, other))
    assert ours != theirs


def test_a_shared_quota_has_one_counter_for_all_its_agents() -> None:
    book = Scene(agents=(agent(), agent("writer"))).book()
    writer = replace(RESEARCHER, agent="writer", service_account="writer")
    assert book.covers(RESEARCHER, "openai", "m")[0].counter == book.covers(writer, "openai", "n")[0].counter


def test_changing_the_amount_keeps_the_counter_and_changing_the_window_makes_another() -> None:
    def counter(limit: Limit) -> object:
        return Scene(quotas=(quota(limit),)).book().covers(RESEARCHER, "openai", "m")[0].counter

    assert counter(BUDGET) == counter(replace(BUDGET, amount=5))
    assert counter(BUDGET) != counter(replace(BUDGET, window=Window(WindowKind.DAY)))
    assert BUDGET.window == LIFETIME


def _price(model: str) -> object:
    from tollway.resources.models import PriceOverride

    return PriceOverride(model, input=100_000, output=400_000)
