"""What a family says of itself: operations, headers that may travel, and how its SDK is pointed at Tollway."""

import openai
import pytest

from tollway.providers.registry import family_of


@pytest.fixture(params=["OpenAI", "OpenAICompatible"])
def family(request: pytest.FixtureRequest):
    found = family_of(request.param)
    assert found is not None
    assert found.name == request.param
    return found


def test_a_type_that_nobody_described_has_no_family() -> None:
    assert family_of("Carrier pigeon") is None


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/chat/completions", "chat.completions"),
        ("/v1/responses", "responses"),
        ("/v1/embeddings", "embeddings"),
    ],
)
def test_operations_are_described(family, path: str, name: str) -> None:
    assert family.operation("POST", path).name == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("post", "/v1/chat/completions"),
        ("POST", "/v1/chat/completions/"),
        ("POST", "/v1/chat/completions?x=1"),
        ("POST", "/v1/chat/completions;x=1"),
        ("POST", "/v1/chat/completions/chatcmpl-1"),
        ("POST", "/v1//chat/completions"),
        ("POST", "/V1/chat/completions"),
        ("POST", "/v1/chat/completions%2f"),
        ("GET", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/compact"),
        ("POST", "/v1/responses/input_tokens"),
        ("POST", "/v1/completions"),
        ("POST", "/v1/files"),
        ("GET", "/v1/models"),
        ("POST", ""),
    ],
)
def test_every_other_path_is_not_described(family, method: str, path: str) -> None:
    assert family.operation(method, path) is None


@pytest.mark.parametrize(
    "header",
    ["authorization", "accept-encoding", "cookie", "openai-organization", "openai-project", "openai-beta",
     "x-stainless-lang", "idempotency-key", "x-request-id"],
)  # fmt: skip
def test_headers_that_change_who_pays_or_what_runs_stay_here(family, header: str) -> None:
    assert header not in family.allowed_headers


def test_the_sdk_takes_its_address_and_key_from_the_environment(family, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in family.sdk_env(family.base_url("http://127.0.0.1:15001/openai")).items():
        monkeypatch.setenv(name, value)
    with openai.OpenAI() as client:
        assert str(client.base_url) == "http://127.0.0.1:15001/openai/v1/"


def test_the_key_travels_as_a_bearer_token(family) -> None:
    assert family.credential_header("sk-1") == ("authorization", "Bearer sk-1")
