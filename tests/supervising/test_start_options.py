"""`--secret` and `--uncovered`, from the command line to the provider and back."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from installations import DemoProvider, Installation, agent, budget, children_of, provider, quota, running, wait_until
from tollway_cli.demo.provider import CALL_LOG
from tollway_cli.demo.settings import ProviderSettings

VARIABLE = "TOLLWAY_TEST_PROVIDER_KEY"
GIVEN = "sk-given-in-the-environment"
SECOND = provider("second")
SECOND["spec"]["credential"]["secretRef"]["name"] = "second-key"
DOCUMENTS = [
    agent("researcher"),
    agent("loose", "team-b"),
    provider(),
    SECOND,
    quota("budget", budget("1.00"), only="researcher"),
]


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Installation, DemoProvider]]:
    arguments = ["--secret", f"openai-key/api-key=env:{VARIABLE}", "--uncovered", "allow"]
    arguments += ["--secret", "second-key/api-key=env:TOLLWAY_TEST_NOT_SET"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, GIVEN)
        with running(DOCUMENTS, settings=ProviderSettings(key=GIVEN), arguments=arguments) as running_place:
            yield running_place


def ask(installation: Installation, agent: str, provider: str = "openai") -> Any:
    with openai.OpenAI(base_url=installation.base_url(agent, provider), api_key="none", max_retries=0) as client:
        return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello"}])


def test_a_key_from_a_variable_reaches_the_provider(place: tuple[Installation, DemoProvider]) -> None:
    installation, served = place
    assert ask(installation, "team-a/researcher").choices
    assert served.app[CALL_LOG][-1].key == GIVEN


def test_the_value_is_with_the_gateway_alone(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    holding = {
        path.relative_to(installation.folder).parts[:3]
        for path in installation.folder.rglob("*")
        if path.is_file() and GIVEN.encode() in path.read_bytes()
    }
    assert {where[:2] for where in holding} == {("state", "gateway")}
    for pid in children_of(installation.pid):
        assert GIVEN.encode() not in Path(f"/proc/{pid}/environ").read_bytes()


def test_a_provider_whose_key_is_not_given_is_said_and_not_served(place: tuple[Installation, DemoProvider]) -> None:
    installation, served = place
    before = len(served.app[CALL_LOG])
    said = installation.output.read_text()
    assert "--secret second-key/api-key: the variable TOLLWAY_TEST_NOT_SET is not set" in said
    assert "AIProvider second: there is no Secret second-key in tollway-system, so it is not served" in said
    with pytest.raises(openai.NotFoundError) as caught:
        ask(installation, "team-a/researcher", "second")
    assert caught.value.response.headers["x-tollway-reason"] == "provider.unknown"
    assert len(served.app[CALL_LOG]) == before


def test_an_agent_that_no_quota_covers_is_served_and_counted(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    assert ask(installation, "team-b/loose").choices
    calls = installation.settled_calls(1)
    (one,) = [call for call in calls if call["agent"].endswith("/agent/loose")]
    assert (one["outcome"], one["source"]) == ("settled", "provider")
    assert one["cost"] > 0


def test_given_keys_outlast_a_change_of_the_files(place: tuple[Installation, DemoProvider]) -> None:
    installation, served = place
    installation.write("more.yaml", [agent("writer"), quota("writers", budget("1.00"), only="writer")])
    wait_until(lambda: "team-a/writer" in installation.ready["agents"], 3)
    assert ask(installation, "team-a/writer").choices
    assert served.app[CALL_LOG][-1].key == GIVEN


def test_the_doctor_tells_a_missing_key_from_what_is_allowed(place: tuple[Installation, DemoProvider]) -> None:
    installation, _ = place
    answer = json.loads(installation.tollway("doctor", "-o", "json", codes=[1]))
    found = {each["name"]: each for each in answer["checks"]}
    assert {name for name, each in found.items() if each["result"] == "wrong"} == {"provider credentials"}
    (missing,) = found["provider credentials"]["findings"]
    assert missing["object"] == "AIProvider second"
    assert missing["mend"].endswith("--secret second-key/api-key=env:VARIABLE")
    assert found["agents covered"]["result"] == "hint"
