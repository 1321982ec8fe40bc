"""A gateway that has no memory left says so in the provider's own words, and as early as it can."""

import json
from collections.abc import Iterator

import pytest

from road.envoy_road import JSON, PROVIDER_KEY, Envoy, Road, allowed, eventually, running_road
from tollway.resources.models import ProviderType
from tollway_operator.envoy.gateway import gateway_bootstrap

CHAT, MESSAGES = "/openai/v1/chat/completions", "/anthropic/v1/messages"
NO_ROOM = 4 << 20
"""Less than Envoy needs for itself."""


@pytest.fixture(scope="module")
def road() -> Iterator[Road]:
    with running_road(max_heap_bytes=NO_ROOM) as road:
        road.providers += [road.provider("anthropic", type=ProviderType.ANTHROPIC)]
        road.show_providers(dict.fromkeys(("openai", "anthropic"), PROVIDER_KEY))
        road.check.answer = lambda _: allowed(call="a-call")
        road.gateway.stop()
        road.gateway = Envoy(road.directory, that_listens(road), road.gateway_settings.admin_socket)
        road.gateway.wait_until_ready()
        eventually(lambda: is_active(road, "stop_accepting_requests"))
        yield road


def that_listens(road: Road) -> bytes:
    """It has a little more room than where it takes no connection any more."""
    bootstrap = json.loads(gateway_bootstrap(road.gateway_settings))
    actions = bootstrap["overloadManager"]["actions"]
    actions[:] = [action for action in actions if not action["name"].endswith("stop_accepting_connections")]
    return json.dumps(bootstrap).encode()


def is_active(road: Road, action: str) -> bool:
    return bool(road.gateway.counter(f"overload.envoy.overload_actions.{action}.active"))


@pytest.mark.parametrize(
    ("path", "status", "keys", "kind"),
    [
        (CHAT, 503, {"message", "type", "param", "code"}, "server_error"),
        (MESSAGES, 529, {"message", "type"}, "overloaded_error"),
    ],
    ids=["OpenAI", "Anthropic"],
)
def test_a_call_is_refused_in_the_shape_of_its_provider(
    road: Road, path: str, status: int, keys: set[str], kind: str
) -> None:
    before = len(road.check.asked)
    answer = road.call(path)
    error = answer.json["error"]
    assert (answer.status, answer.headers["x-tollway-reason"]) == (status, "tollway.overloaded")
    assert isinstance(error, dict)
    assert (error.keys(), error["type"]) == (keys, kind)
    assert len(road.check.asked) == before


def test_an_agent_does_not_choose_the_shape(road: Road) -> None:
    answer = road.call(CHAT, headers=JSON | {"x-tollway-family": "Anthropic"})
    assert answer.status == 503


def test_the_largest_streams_are_given_up_before_anything_else(road: Road) -> None:
    assert is_active(road, "reset_high_memory_stream")
