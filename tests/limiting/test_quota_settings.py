"""What a quota's other settings do to a call on the real road: onShortfall, defaultMaxOutputTokens, mode."""

import json
from collections.abc import Iterator

import openai
import pytest

from installations import KEY, DemoProvider, Installation, agent, budget, provider, quota, running, secret
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings

OUTPUT = {"name": "written", "outputTokens": 400, "window": "Lifetime"}
DOCUMENTS = [
    secret(),
    provider(),
    agent("shrinking"),
    agent("refusing"),
    agent("silent"),
    agent("shadowed"),
    agent("tried"),
    quota("shrinking", OUTPUT, only="shrinking", onShortfall="Shrink"),
    quota("refusing", OUTPUT, only="refusing", onShortfall="Refuse"),
    quota("silent", budget("10.00"), only="silent", defaultMaxOutputTokens=77),
    quota("silent-too", {"name": "calls", "requests": 100, "window": "Day"}, only="silent", defaultMaxOutputTokens=99),
    quota("shadowed", OUTPUT, only="shadowed", mode="Shadow"),
    quota("tried", OUTPUT, only="tried", mode="Shadow"),
    quota("tried-for-real", budget("10.00"), only="tried"),
]
# Longer answers than any cap here, so that what is served is the cap that arrived.
SETTINGS = ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=5_000, chunk_tokens=500))


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Installation, DemoProvider]]:
    with running(DOCUMENTS, settings=SETTINGS) as made:
        yield made


def written(place: tuple[Installation, DemoProvider], name: str, **cap: int) -> int:
    """How many tokens the provider wrote for one call of an agent."""
    installation, served = place
    with openai.OpenAI(base_url=installation.base_url(f"team-a/{name}"), api_key="x", max_retries=0) as client:
        client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "go"}], **cap)
    return served.app[CALL_LOG][-1].usage.completion_tokens


def test_a_cap_is_lowered_to_a_quarter_of_what_is_left(place: tuple[Installation, DemoProvider]) -> None:
    assert written(place, "shrinking", max_completion_tokens=1_000) == 100


def test_a_call_that_must_not_shrink_is_refused_and_made_whole_where_it_fits(
    place: tuple[Installation, DemoProvider],
) -> None:
    with pytest.raises(openai.RateLimitError, match="Limit 'written' of AIQuota team-a/refusing is spent"):
        written(place, "refusing", max_completion_tokens=401)
    assert written(place, "refusing", max_completion_tokens=400) == 400


def test_the_least_default_cap_of_all_quotas_is_written_into_a_request_that_names_none(
    place: tuple[Installation, DemoProvider],
) -> None:
    assert written(place, "silent") == 77
    assert written(place, "silent", max_completion_tokens=88) == 88


def test_a_shadow_limit_lowers_no_cap_and_is_counted(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    assert written(place, "tried", max_completion_tokens=1_000) == 1_000
    counters = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    assert [each["used"] for each in counters if each["quota"] == "tried"] in ([1_000], [0])
    installation.settled_calls(1)
    counters = json.loads(installation.tollway("limits", "-o", "json"))["counters"]
    assert [(each["used"], each["amount"]) for each in counters if each["quota"] == "tried"] == [(1_000, 400)]


def test_a_shadow_limit_alone_covers_no_call(place: tuple[Installation, DemoProvider]) -> None:
    with pytest.raises(openai.APIStatusError) as refused:
        written(place, "shadowed", max_completion_tokens=10)
    assert refused.value.response.headers["x-tollway-reason"] == "quota.none"
