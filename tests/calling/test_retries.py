"""A limit that frees soon: the official SDKs wait as long as they are told, no longer and no less, and succeed."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest

from installations import KEY, Installation, agent, budget, provider, quota, running, secret
from tollway_cli.demo.provider import Behaviour, ProviderSettings

WINDOW_MS = 2_000
STEP_MS = 34
"""A rolling window is counted in sixty steps, on the safe side."""

ONCE = {"name": "pace", "requests": 1, "window": "2s"}
DOCUMENTS = [
    secret(),
    provider(),
    provider("anthropic", type="Anthropic"),
    agent("openai"),
    agent("anthropic"),
    quota("slow", ONCE, budget("5.00"), per=["Agent"]),
]
HELLO: list[Any] = [{"role": "user", "content": "Say hello."}]


def ask_openai(base_url: str, retries: int) -> str:
    """The call's id."""
    with openai.OpenAI(base_url=base_url, api_key="x", max_retries=retries) as client:
        raw = client.chat.completions.with_raw_response.create(model="gpt-4o-mini", messages=HELLO)
        assert raw.parse().choices[0].message.content
        return raw.headers["x-tollway-call"]


def ask_anthropic(base_url: str, retries: int) -> str:
    """The call's id."""
    with anthropic.Anthropic(base_url=base_url, api_key="x", max_retries=retries) as client:
        raw = client.messages.with_raw_response.create(model="claude-sonnet-5", max_tokens=100, messages=HELLO)
        assert raw.parse().content[0].text
        return raw.headers["x-tollway-call"]


ASK: Mapping[str, Callable[[str, int], str]] = {"openai": ask_openai, "anthropic": ask_anthropic}
USUAL_RETRIES = 2


@dataclass(frozen=True)
class Story:
    """What happened to one agent: a call, a second one that does not retry, and a third one that does."""

    first: str
    told: Mapping[str, str]
    """The headers of the refusal of the second call."""
    third: str
    ledger: list[dict[str, Any]]
    """All of this agent's attempts, in order."""

    def at(self, call: str) -> int:
        return next(int(each["at"]) for each in self.ledger if each["id"] == call)


@pytest.fixture(scope="module")
def stories() -> Iterator[Mapping[str, Story]]:
    settings = ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=5))
    with running(DOCUMENTS, settings=settings) as (installation, _), ThreadPoolExecutor() as both:
        told = {sdk: both.submit(experience, installation, sdk) for sdk in ASK}
        yield {sdk: future.result() for sdk, future in told.items()}


def experience(installation: Installation, sdk: str) -> Story:
    base_url = installation.base_url(f"team-a/{sdk}", sdk)
    first = ASK[sdk](base_url, 0)
    with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as refused:
        ASK[sdk](base_url, 0)
    third = ASK[sdk](base_url, USUAL_RETRIES)
    mine = [call for call in installation.calls() if call["agent"].endswith(f"/agent/{sdk}")]
    return Story(first, refused.value.response.headers, third, sorted(mine, key=lambda call: int(call["at"])))


@pytest.fixture(params=ASK)
def story(request: pytest.FixtureRequest, stories: Mapping[str, Story]) -> Story:
    return stories[request.param]


def test_a_refusal_that_time_mends_says_when(story: Story) -> None:
    assert story.told["x-tollway-reason"] == "quota.requests.held"
    assert "x-should-retry" not in story.told
    milliseconds = int(story.told["retry-after-ms"])
    assert int(story.told["retry-after"]) == -(-milliseconds // 1000)


def test_the_time_told_is_true(story: Story) -> None:
    refused = story.at(story.told["x-tollway-call"])
    free = refused + int(story.told["retry-after-ms"])
    assert WINDOW_MS <= free - story.at(story.first) <= WINDOW_MS + 2 * STEP_MS


def test_the_sdk_tries_again_once_after_that_time_and_succeeds(story: Story) -> None:
    assert [call["outcome"] == "refused" for call in story.ledger] == [False, True, True, False]
    assert story.ledger[-1]["id"] == story.third
    waited = story.at(story.third) - story.at(story.first)
    assert WINDOW_MS <= waited < 2 * WINDOW_MS
