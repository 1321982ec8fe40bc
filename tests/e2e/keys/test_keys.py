import base64
import json
from pathlib import Path

import pytest

from e2e.installation import KEYS, PROVIDER, TEAMS, Installation
from e2e.stage import Agent, kubectl

SEARCH = Path(__file__).with_name("search.py")


@pytest.mark.parametrize("team", TEAMS)
def test_no_object_of_a_teams_namespace_holds_a_providers_key(installation: Installation, team: str) -> None:
    held = kubectl("get", "pods,configmaps,secrets,events,aid,aiq", "-n", team, "-o", "json")
    assert "researcher" in held or team != "team-a"
    assert not any(each in held for key in KEYS for each in spellings(key))


def test_no_file_and_no_environment_of_an_agents_container_holds_one(installation: Installation) -> None:
    [found] = Agent("researcher", "team-a").runs(SEARCH, *(each for key in KEYS for each in spellings(key)))
    assert found["files"] > 1000
    assert found["holding"] == []


def test_the_same_search_finds_a_key_where_there_is_one(installation: Installation) -> None:
    [found] = PROVIDER.runs(SEARCH, *KEYS)
    assert found["holding"]


@pytest.mark.parametrize("team", TEAMS)
def test_no_sidecar_has_the_token_of_its_pods_service_account(installation: Installation, team: str) -> None:
    pods = json.loads(kubectl("get", "pods", "-n", team, "-o", "json"))["items"]
    sidecars = [each for pod in pods for each in pod["spec"]["initContainers"] if each["name"] == "tollway-sidecar"]
    assert sidecars
    assert not [mount for each in sidecars for mount in each["volumeMounts"] if "token" in mount["name"]]
    mounted = {mount["name"] for each in sidecars for mount in each["volumeMounts"]}
    assert mounted == {"tollway-config", "tollway-identity", "tollway-run"}


def spellings(key: str) -> list[str]:
    # However it falls on the groups of three bytes.
    return [key, *(base64.b64encode(b" " * shift + key.encode())[4:-4].decode() for shift in range(3))]
