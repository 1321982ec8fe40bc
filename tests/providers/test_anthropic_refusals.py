"""Our refusals as the official SDK understands them: the exception it raises, and whether it tries again."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import anthropic
import pytest

from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.port import Kind, Refusal

CALL = "0190c1f0-call"


class Refusing(HTTPServer):
    """Gives every request the same answer, and counts."""

    refusal: Refusal
    attempts = 0


class _Handler(BaseHTTPRequestHandler):
    server: Refusing
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.server.attempts += 1
        self.rfile.read(int(self.headers["content-length"]))
        answer = ANTHROPIC.refusal(self.server.refusal)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Refusing]:
    with Refusing(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def raised(server: Refusing, refusal: Refusal) -> anthropic.APIStatusError:
    server.refusal = refusal
    with (
        anthropic.Anthropic(base_url=f"http://127.0.0.1:{server.server_port}", api_key="x") as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model="claude-sonnet-5", max_tokens=10, messages=[{"role": "user", "content": "hi"}])
    return caught.value


FINAL = {
    Kind.SPENT: (anthropic.RateLimitError, "rate_limit_error", "quota.cost.spent"),
    Kind.FORBIDDEN: (anthropic.PermissionDeniedError, "permission_error", "provider.closed"),
    Kind.UNAUTHENTICATED: (anthropic.AuthenticationError, "authentication_error", "identity.expired"),
    Kind.INVALID: (anthropic.BadRequestError, "invalid_request_error", "request.unbounded"),
    Kind.NOT_FOUND: (anthropic.NotFoundError, "not_found_error", "operation.unknown"),
    Kind.TOO_LARGE: (anthropic.APIStatusError, "request_too_large", "request.too_large"),
}


@pytest.mark.parametrize("kind", FINAL)
def test_a_final_refusal_is_raised_after_one_attempt(server: Refusing, kind: Kind) -> None:
    exception, type_, reason = FINAL[kind]
    error = raised(server, Refusal(kind, reason, "No.", CALL, retry_after_ms=1))
    assert isinstance(error, exception)
    assert (error.type, error.request_id, server.attempts) == (type_, CALL, 1)
    assert error.response.headers["x-tollway-reason"] == reason
    assert error.response.headers["x-tollway-call"] == CALL


@pytest.mark.parametrize(
    ("kind", "exception", "type_"),
    [
        (Kind.RATE, anthropic.RateLimitError, "rate_limit_error"),
        (Kind.UNAVAILABLE, anthropic.OverloadedError, "overloaded_error"),
    ],
)
def test_what_waiting_can_mend_is_tried_again(
    server: Refusing, kind: Kind, exception: type[anthropic.APIStatusError], type_: str
) -> None:
    error = raised(server, Refusal(kind, "quota.tokens.held", "In a moment.", CALL, retry_after_ms=1))
    assert isinstance(error, exception)
    assert (error.type, server.attempts) == (type_, 3)


@pytest.mark.parametrize("kind", Kind)
def test_an_error_has_anthropics_shape_and_json_headers(kind: Kind) -> None:
    answer = ANTHROPIC.refusal(Refusal(kind, "a.reason", 'with "quotes" and é', CALL))
    body = json.loads(answer.body)
    assert (body["type"], body["request_id"]) == ("error", CALL)
    assert body["error"].keys() == {"type", "message"}
    assert body["error"]["message"] == 'with "quotes" and é'
    assert ("content-type", "application/json") in answer.headers


def test_the_place_that_is_wrong_is_said_in_front_as_anthropic_does() -> None:
    answer = ANTHROPIC.refusal(Refusal(Kind.INVALID, "request.unreadable", "No.", CALL, param="messages[0]"))
    assert json.loads(answer.body)["error"]["message"] == "messages[0]: No."


@pytest.mark.parametrize(
    ("milliseconds", "headers"), [(0, ("1", "1")), (1, ("1", "1")), (1000, ("1", "1000")), (1001, ("2", "1001"))]
)
def test_waiting_times_are_rounded_up_and_never_zero(milliseconds: int, headers: tuple[str, str]) -> None:
    answer = ANTHROPIC.refusal(Refusal(Kind.RATE, "quota.tokens.held", "", CALL, retry_after_ms=milliseconds))
    told = dict(answer.headers)
    assert (told["retry-after"], told["retry-after-ms"]) == headers


def test_what_is_no_call_has_no_call_id() -> None:
    answer = ANTHROPIC.refusal(Refusal(Kind.UNAVAILABLE, "a.reason", ""))
    assert not {"x-tollway-call", "request-id"} & dict(answer.headers).keys()
    assert json.loads(answer.body)["request_id"] is None
