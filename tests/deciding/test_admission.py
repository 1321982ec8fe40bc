"""What an admitted call asks of the ledger: never less than it could cost."""

from dataclasses import replace

from deciding.builders import BODY, BUDGET, Scene, ask, quota
from tollway.deciding.admission import Admission, decide
from tollway.deciding.question import Question
from tollway.ledger.units import LIFETIME, Unit, Window, WindowKind
from tollway.pricing.table import PriceRow
from tollway.pricing.usage import Usage
from tollway.resources.models import Limit, OnShortfall

ALL_UNITS = (
    BUDGET,
    Limit("rpm", Unit.REQUESTS, 60, Window(WindowKind.ROLLING, 60_000)),
    Limit("in", Unit.INPUT_TOKENS, 10_000, LIFETIME),
    Limit("out", Unit.OUTPUT_TOKENS, 10_000, LIFETIME),
    Limit("all", Unit.TOKENS, 10_000, LIFETIME),
    Limit("parallel", Unit.CONCURRENT, 4, None),
)


def admit(question: Question, learned: int | None = None) -> Admission:
    admission = decide(question, lambda _agent, _model: learned)
    assert isinstance(admission, Admission)
    return admission


def test_there_is_one_demand_for_every_limit_that_matches() -> None:
    admission = admit(ask(Scene(quotas=(quota(*ALL_UNITS), quota(BUDGET, name="second")))))
    assert [demand.counter.limit for demand in admission.demands] == [*(each.name for each in ALL_UNITS), "budget"]


def test_the_demand_in_cost_is_the_dearest_that_the_call_can_become() -> None:
    admission = admit(ask())
    row = PriceRow.from_json(admission.facts.price)
    worst = Usage(cache_write_1h=admission.facts.input_ceiling, output=100)
    assert admission.demands[0].at(100) >= row.cost(worst) > 0


def test_several_answers_multiply_the_output() -> None:
    output = Scene(quotas=(quota(Limit("out", Unit.OUTPUT_TOKENS, 10_000, LIFETIME), BUDGET),))
    one, three = admit(ask(output)), admit(ask(output, body={**BODY, "n": 3}))
    assert three.demands[0].at(100) == 3 * one.demands[0].at(100) == 300
    assert three.demands[1].rate == 3 * one.demands[1].rate


def test_the_most_is_the_requests_own_cap() -> None:
    assert admit(ask()).sizes.most == 100


def test_without_a_cap_of_its_own_the_smallest_default_of_the_quotas_counts() -> None:
    uncapped = {key: value for key, value in BODY.items() if key != "max_completion_tokens"}
    quotas = (quota(default_max_output_tokens=500), quota(name="r", default_max_output_tokens=300), quota(name="s"))
    assert admit(ask(Scene(quotas=quotas), body=uncapped)).sizes.most == 300


def test_without_any_default_the_models_maximum_counts() -> None:
    uncapped = {key: value for key, value in BODY.items() if key != "max_completion_tokens"}
    assert admit(ask(body=uncapped)).sizes.most == 16_384


def test_the_useful_size_is_the_learned_median_but_never_more_than_was_asked() -> None:
    assert admit(ask(), learned=40).sizes.useful == 40
    assert admit(ask(), learned=4000).sizes.useful == 100


def test_input_is_never_taken_for_more_than_the_model_can_read() -> None:
    long = {**BODY, "messages": [{"role": "user", "content": "x" * 200_000}]}
    assert admit(ask(body=long)).facts.input_ceiling == 128_000


def test_a_quota_that_refuses_at_shortfall_asks_for_the_whole() -> None:
    (demand,) = admit(ask(Scene(quotas=(quota(on_shortfall=OnShortfall.REFUSE),)))).demands
    assert demand.rigid
    assert replace(demand, rigid=False) == admit(ask()).demands[0]


RESPONSE = {"model": "gpt-5-mini", "input": "hello"}
USUAL = Scene()


def respond(scene: Scene = USUAL, **members: object) -> Question:
    return ask(scene, path="/v1/responses", body={**RESPONSE, **members})


def test_a_size_that_the_provider_would_not_take_as_a_cap_is_never_granted() -> None:
    assert admit(respond(), learned=3).sizes.useful == 16


def test_a_default_below_the_providers_least_cap_is_raised_to_it() -> None:
    assert admit(respond(Scene(quotas=(quota(default_max_output_tokens=5),)))).sizes.most == 16


def test_a_request_that_names_too_small_a_cap_itself_is_between_it_and_the_provider() -> None:
    sizes = admit(respond(max_output_tokens=5)).sizes
    assert (sizes.useful, sizes.most) == (5, 5)


def embed(given: object, scene: Scene = USUAL) -> Question:
    return ask(scene, path="/v1/embeddings", body={"model": "text-embedding-3-small", "input": given})


def test_an_embedding_takes_input_and_no_output() -> None:
    admission = admit(embed("hello", Scene(quotas=(quota(*ALL_UNITS),))))
    assert (admission.sizes.useful, admission.sizes.most) == (0, 0)
    taken = {demand.counter.limit: demand.at(0) for demand in admission.demands}
    bound = admission.facts.input_ceiling
    assert (taken["in"], taken["out"], taken["all"], taken["rpm"]) == (bound, 0, bound, 1)
    assert taken["budget"] >= PriceRow.from_json(admission.facts.price).cost(Usage(input=bound)) > 0


def test_a_models_context_bounds_each_text_that_is_embedded_and_not_their_sum() -> None:
    assert admit(embed("x" * 50_000)).facts.input_ceiling == 8192
    assert admit(embed(["x" * 50_000] * 3)).facts.input_ceiling == 3 * 8192
