"""A sequential caller under `concurrent: 1` is never refused by its own last call."""

import openai

from installations import KEY, agent, budget, provider, quota, running, secret
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings

CALLS = 1000


def test_a_thousand_sequential_calls_under_concurrent_one_are_all_made() -> None:
    documents = [
        secret(),
        provider(),
        agent("steady"),
        quota("one", budget("100.00"), {"name": "parallel", "concurrent": 1}),
    ]
    settings = ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=4))
    with (
        running(documents, settings=settings) as (installation, served),
        openai.OpenAI(base_url=installation.base_url("team-a/steady"), api_key="x", max_retries=0) as client,
    ):
        for _ in range(CALLS):
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "go"}], max_completion_tokens=8
            )
        assert len(served.app[CALL_LOG]) == CALLS
