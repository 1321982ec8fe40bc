"""What the Anthropic family says of itself: operations, headers that may travel, how its SDK is pointed at Tollway."""

import anthropic
import pytest
from anthropic._constants import ANTHROPIC_API_VERSION

from tollway.providers.anthropic.family import ANTHROPIC
from tollway.providers.anthropic.features import BETAS
from tollway.providers.port import HeaderEdit, RequestRefused
from tollway.providers.registry import family_of

VERSION = {"anthropic-version": "2026-10-21"}


def test_it_is_found_by_its_type() -> None:
    assert family_of("Anthropic") is ANTHROPIC


@pytest.mark.parametrize(
    ("path", "name"), [("/v1/messages", "messages"), ("/v1/messages/count_tokens", "messages.count_tokens")]
)
def test_messages_and_the_counting_of_their_tokens_are_described(path: str, name: str) -> None:
    operation = ANTHROPIC.operation("POST", path)
    assert operation is not None
    assert operation.name == name


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/messages"),
        ("POST", "/v1/messages/"),
        ("POST", "/messages"),
        ("POST", "/v1/messages/batches"),
        ("POST", "/v1/messages/msg_1"),
        ("POST", "/v1/complete"),
        ("POST", "/v1/files"),
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
    ],
)
def test_every_other_path_is_not_described(method: str, path: str) -> None:
    assert ANTHROPIC.operation(method, path) is None


@pytest.mark.parametrize(
    "header",
    ["x-api-key", "authorization", "accept-encoding", "cookie", "anthropic-organization-id", "anthropic-workspace-id",
     "anthropic-user-profile-id", "x-stainless-lang", "idempotency-key", "x-request-id"],
)  # fmt: skip
def test_headers_that_change_who_pays_or_what_runs_stay_here(header: str) -> None:
    assert header not in ANTHROPIC.allowed_headers


def test_the_sdk_takes_its_address_and_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ANTHROPIC.sdk_env(ANTHROPIC.base_url("http://127.0.0.1:15001/anthropic")).items():
        monkeypatch.setenv(name, value)
    with anthropic.Anthropic() as client:
        assert str(client.base_url) == "http://127.0.0.1:15001/anthropic/"
        assert client.api_key


def test_the_key_travels_in_its_own_header() -> None:
    assert ANTHROPIC.credential_header("sk-1") == ("x-api-key", "sk-1")


@pytest.mark.parametrize("headers", [{}, {"anthropic-version": "2023-01-01"}, {"anthropic-version": ""}], ids=str)
def test_a_format_that_nobody_described_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RequestRefused, match="2023-06-01") as refused:
        ANTHROPIC.header_edits(headers)
    assert refused.value.param == "anthropic-version"


@pytest.mark.parametrize("version", ["2023-06-01", ANTHROPIC_API_VERSION])
def test_the_format_that_sdks_speak_is_described(version: str) -> None:
    assert ANTHROPIC.header_edits({"anthropic-version": version}) == ()


@pytest.mark.parametrize("betas", [None, "", "effort-2025-11-24", ", ".join(sorted(BETAS)), " , "])
def test_features_that_cost_nothing_of_their_own_travel_as_they_are(betas: str | None) -> None:
    assert ANTHROPIC.header_edits(VERSION if betas is None else VERSION | {"anthropic-beta": betas}) == ()


@pytest.mark.parametrize(
    ("betas", "kept", "removed"),
    [
        ("context-1m-2025-08-07", "", ("context-1m-2025-08-07",)),
        ("mcp-client-2025-11-20,effort-2025-11-24", "effort-2025-11-24", ("mcp-client-2025-11-20",)),
        ("effort-2025-11-24 ,x, output-128k-2025-02-19", "effort-2025-11-24,output-128k-2025-02-19", ("x",)),
        ("EFFORT-2025-11-24", "", ("EFFORT-2025-11-24",)),
        ("čas\x7f" + "-" * 100, "", ("\\u010das\\x7f" + "-" * 52,)),
    ],
)
def test_features_that_nobody_judged_are_taken_out(betas: str, kept: str, removed: tuple[str, ...]) -> None:
    assert ANTHROPIC.header_edits(VERSION | {"anthropic-beta": betas}) == (HeaderEdit("anthropic-beta", kept, removed),)


def test_no_name_of_a_number_means_different_places_to_different_families() -> None:
    meant: dict[str, tuple[str, ...]] = {}
    for kind in ("OpenAI", "OpenAICompatible", "Anthropic"):
        family = family_of(kind)
        assert family is not None
        for name, path in family.usage_fields.items():
            assert meant.setdefault(name, path) == path
