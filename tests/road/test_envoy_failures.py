"""Failures of our own parts and of the provider, as the agent's SDK sees them."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ports import free_port, nobodys_port
from road.envoy_road import (
    PROVIDER_KEY,
    Answer,
    Envoy,
    Road,
    Script,
    allowed,
    denied,
    eventually,
    running_road,
)
from tollway.resources.models import Endpoint
from tollway_operator.envoy.sidecar import sidecar_bootstrap

LIMIT = 100_000


@pytest.fixture(scope="module")
def module_road() -> Iterator[Road]:
    with running_road(max_body_bytes=LIMIT, check_timeout_ms=300, silence_s=1) as road:
        closed = Endpoint(tls=True, host="localhost", port=nobodys_port())
        untrusted = Endpoint(tls=True, host="127.0.0.1", port=road.upstream.port)
        road.providers += [road.provider("closed", endpoint=closed), road.provider("misnamed", endpoint=untrusted)]
        road.show_providers(dict.fromkeys(("openai", "closed", "misnamed"), PROVIDER_KEY))
        eventually(lambda: road.call("/closed/v1/chat/completions").status == 503)
        eventually(lambda: road.call("/misnamed/v1/chat/completions").status == 503)
        yield road


@pytest.fixture
def road(module_road: Road) -> Road:
    module_road.check.answer = lambda _: allowed(call="a-call")
    module_road.upstream.script = Script([b"{}"])
    return module_road


def assert_shaped(answer: Answer, status: int, reason: str) -> None:
    """As OpenAI shapes an error, with our reason and the id of the call."""
    assert (answer.status, answer.headers["x-tollway-reason"]) == (status, reason)
    assert answer.headers["content-type"] == "application/json"
    error = answer.json["error"]
    assert isinstance(error, dict)
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"]
    assert answer.headers["x-tollway-call"] == answer.call


def test_without_a_decision_a_call_is_refused_and_the_next_decision_counts_again(road: Road) -> None:
    road.check.stop()
    before = len(road.upstream.received)
    assert_shaped(road.call(), 503, "tollway.unavailable")
    assert len(road.upstream.received) == before
    road.check.start()
    eventually(lambda: road.call().status == 200)


def test_a_decision_that_comes_too_late_is_none(road: Road) -> None:
    road.check.answer = lambda _: time.sleep(0.6) or allowed()
    before = len(road.upstream.received)
    assert_shaped(road.call(), 503, "tollway.unavailable")
    assert len(road.upstream.received) == before


def test_a_body_over_the_limit_is_refused_before_the_decision(road: Road) -> None:
    before = len(road.check.asked)
    assert road.call(body=b"x" * LIMIT).status == 200
    assert_shaped(road.call(body=b"x" * (LIMIT + 1)), 413, "request.too_large")
    assert len(road.check.asked) == before + 1


def test_a_provider_that_cannot_be_reached_is_named_as_the_cause(road: Road) -> None:
    assert_shaped(road.call("/closed/v1/chat/completions"), 503, "provider.unreachable")


def test_a_provider_whose_certificate_names_another_host_gets_nothing(road: Road) -> None:
    before = len(road.upstream.received)
    assert_shaped(road.call("/misnamed/v1/chat/completions"), 503, "provider.unreachable")
    assert len(road.upstream.received) == before
    assert road.gateway.counter("cluster.provider/misnamed.ssl.fail_verify_san") > 0


def test_a_provider_that_stays_silent_ends_the_call(road: Road) -> None:
    road.upstream.silent_s = 3
    with contextlib.ExitStack() as after:
        after.callback(setattr, road.upstream, "silent_s", 0.0)
        assert_shaped(road.call(), 504, "provider.timeout")


@pytest.mark.parametrize("path", ["/", "/nobody/v1/chat/completions", "/openaiv1/chat/completions", "/openai"])
def test_a_path_of_no_provider_is_refused_without_a_decision(road: Road, path: str) -> None:
    before = len(road.check.asked)
    assert_shaped(road.raw(f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode()), 404, "provider.unknown")
    assert len(road.check.asked) == before


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503])
def test_an_answer_of_the_decision_is_never_touched(road: Road, status: int) -> None:
    body = json.dumps({"error": {"message": "spent", "code": "insufficient_quota"}})
    road.check.answer = lambda _: denied(status, body)
    answer = road.call()
    assert (answer.status, answer.body) == (status, body.encode())
    assert "x-tollway-reason" not in answer.headers


def test_an_answer_of_the_provider_is_never_touched(road: Road) -> None:
    road.upstream.script = Script([b"overloaded"], {"content-type": "text/plain"}, status=503)
    answer = road.call()
    assert (answer.status, answer.body) == (503, b"overloaded")
    assert "x-tollway-reason" not in answer.headers


def test_a_call_is_never_sent_to_a_provider_twice(road: Road) -> None:
    road.upstream.script = Script([b"busy"], status=503)
    before = len(road.upstream.received)
    road.call()
    assert len(road.upstream.received) == before + 1


def test_a_sidecar_without_a_gateway_answers_in_the_providers_shape(road: Road) -> None:
    settings = road.sidecar_for(free_port(), "lonely")
    envoy = Envoy(road.directory, sidecar_bootstrap(settings), settings.admin_socket)
    with contextlib.closing(contextlib.ExitStack()) as after:
        after.callback(envoy.stop)
        envoy.wait_until_ready()
        answer = road.call(port=settings.port)
    assert (answer.status, answer.headers["x-tollway-reason"]) == (503, "tollway.unreachable")
    assert set(answer.json["error"]) == {"message", "type", "param", "code"}  # type: ignore[call-overload]


def test_the_administration_is_for_its_owner_alone(road: Road) -> None:
    for socket in (road.gateway_settings.admin_socket, road.sidecar_settings.admin_socket):
        assert Path(socket).stat().st_mode & 0o777 == 0o600
