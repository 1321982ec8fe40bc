"""Our refusals as the official SDK understands them: the exception it raises, and whether it tries again."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import openai
import pytest

from tollway.providers.openai.family import OPENAI
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
        answer = OPENAI.refusal(self.server.refusal)
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


def raised(server: Refusing, refusal: Refusal) -> openai.APIStatusError:
    server.refusal = refusal
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="x") as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}])
    return caught.value


FINAL = {
    Kind.SPENT: (openai.RateLimitError, "insufficient_quota", "quota.cost.spent"),
    Kind.FORBIDDEN: (openai.PermissionDeniedError, "provider.closed", "provider.closed"),
    Kind.UNAUTHENTICATED: (openai.AuthenticationError, "invalid_api_key", "identity.expired"),
    Kind.INVALID: (openai.BadRequestError, "request.unbounded", "request.unbounded"),
    Kind.NOT_FOUND: (openai.NotFoundError, "operation.unknown", "operation.unknown"),
    Kind.TOO_LARGE: (openai.APIStatusError, "request.too_large", "request.too_large"),
}


@pytest.mark.parametrize("kind", FINAL)
def test_a_final_refusal_is_raised_after_one_attempt(server: Refusing, kind: Kind) -> None:
    exception, code, reason = FINAL[kind]
    error = raised(server, Refusal(kind, reason, "No.", CALL, retry_after_ms=1, param="model"))
    assert type(error) is exception
    assert (error.code, error.param, server.attempts) == (code, "model", 1)
    assert error.response.headers["x-tollway-reason"] == reason
    assert error.response.headers["x-tollway-call"] == CALL


@pytest.mark.parametrize(
    ("kind", "exception"), [(Kind.RATE, openai.RateLimitError), (Kind.UNAVAILABLE, openai.InternalServerError)]
)
def test_what_waiting_can_mend_is_tried_again(
    server: Refusing, kind: Kind, exception: type[openai.APIStatusError]
) -> None:
    error = raised(server, Refusal(kind, "quota.tokens.held", "In a moment.", CALL, retry_after_ms=1))
    assert type(error) is exception
    assert server.attempts == 3


def test_spent_is_told_apart_as_openai_tells_it(server: Refusing) -> None:
    error = raised(server, Refusal(Kind.SPENT, "quota.cost.spent", "The budget is spent.", CALL))
    assert error.type == "insufficient_quota"
    assert "The budget is spent." in error.message
    assert "retry-after" not in error.response.headers


@pytest.mark.parametrize("kind", [Kind.FORBIDDEN, Kind.NOT_FOUND])
def test_a_model_that_may_not_be_used_is_not_found(server: Refusing, kind: Kind) -> None:
    assert raised(server, Refusal(kind, "model.forbidden", "No.", CALL)).code == "model_not_found"


@pytest.mark.parametrize("kind", Kind)
def test_an_error_has_all_four_keys_and_json_headers(kind: Kind) -> None:
    answer = OPENAI.refusal(Refusal(kind, "a.reason", 'with "quotes" and é', CALL))
    error = json.loads(answer.body)["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["message"] == 'with "quotes" and é'
    assert ("content-type", "application/json") in answer.headers


@pytest.mark.parametrize(
    ("milliseconds", "headers"), [(0, ("1", "1")), (1, ("1", "1")), (1000, ("1", "1000")), (1001, ("2", "1001"))]
)
def test_waiting_times_are_rounded_up_and_never_zero(milliseconds: int, headers: tuple[str, str]) -> None:
    answer = OPENAI.refusal(Refusal(Kind.RATE, "quota.tokens.held", "", CALL, retry_after_ms=milliseconds))
    told = dict(answer.headers)
    assert (told["retry-after"], told["retry-after-ms"]) == headers


def test_what_is_no_call_has_no_call_id() -> None:
    assert "x-tollway-call" not in dict(OPENAI.refusal(Refusal(Kind.UNAVAILABLE, "a.reason", "")).headers)
