"""Files become one set of resources, or all of their problems, each with file, object and path."""

import pytest

from tollway.ledger.units import Unit, Window, WindowKind
from tollway.resources.models import (
    AIProvider,
    AIQuota,
    Endpoint,
    Limit,
    Meta,
    PriceOverride,
    Secret,
    SecretKeyRef,
    Selector,
)
from tollway.resources.parse import MOST_PROBLEMS, parse_files

HEAD = "apiVersion: tollway.dev/v1alpha1\n"


def quota(spec: str, metadata: str = "{name: research, namespace: team-a}") -> str:
    return f"{HEAD}kind: AIQuota\nmetadata: {metadata}\nspec: {{{spec}}}\n"


def provider(spec: str, name: str = "openai") -> str:
    return f"{HEAD}kind: AIProvider\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def identity(spec: str, metadata: str = "{name: researcher, namespace: team-a}") -> str:
    return f"{HEAD}kind: AgentIdentity\nmetadata: {metadata}\nspec: {{{spec}}}\n"


def secret(body: str, metadata: str = "{name: openai-key, namespace: tollway-system}") -> str:
    return f"apiVersion: v1\nkind: Secret\nmetadata: {metadata}\n{body}"


def parsed(*documents: str) -> object:
    """The one resource in the documents."""
    result = parse_files({"a.yaml": "---\n".join(documents).encode()})
    assert result.problems == ()
    found = result.resources
    [only] = [*found.agents, *found.providers, *found.quotas, *found.secrets, *found.namespaces]
    return only


def problems(*documents: str) -> list[str]:
    return [str(problem) for problem in parse_files({"a.yaml": "---\n".join(documents).encode()}).problems]


def only_limit(line: str) -> Limit:
    found = parsed(quota(f"limits: [{{name: a, {line}}}]"))
    assert isinstance(found, AIQuota)
    [limit] = found.limits
    return limit


@pytest.mark.parametrize(
    ("cost", "nano_usd"),
    [
        ("25.00", 25_000_000_000),
        ("0.000000001", 1),
        ("0", 0),
        ("8999999.999999999", 8_999_999_999_999_999),
        ("9000000.0", 9_000_000_000_000_000),
        ("0.1", 100_000_000),
    ],
)
def test_money_is_exact_to_the_nano_dollar(cost: str, nano_usd: int) -> None:
    limit = only_limit(f'cost: "{cost}", window: Lifetime')
    assert limit == Limit("a", Unit.COST, nano_usd, Window(WindowKind.LIFETIME))


@pytest.mark.parametrize(
    ("price", "pico_usd"),
    [("0.10", 100_000), ("0.000001", 1), ("2", 2_000_000), ("0", 0), ("999999.999999", 999_999_999_999)],
)
def test_a_price_per_million_tokens_is_exact_to_the_pico_dollar_per_token(price: str, pico_usd: int) -> None:
    found = parsed(provider(f'type: OpenAI, prices: [{{model: a, input: "{price}", output: "1.25"}}]'))
    assert isinstance(found, AIProvider)
    assert found.prices == (PriceOverride("a", input=pico_usd, output=1_250_000),)


@pytest.mark.parametrize(
    ("window", "length_ms"),
    [
        *(("1s", 1_000), ("30s", 30_000), ("1m", 60_000), ("60s", 60_000), ("5h", 18_000_000)),
        *(("1h30m", 5_400_000), ("2d", 172_800_000), ("31d", 2_678_400_000)),
    ],
)
def test_a_duration_is_a_rolling_window_of_that_length(window: str, length_ms: int) -> None:
    assert only_limit(f"requests: 1, window: {window}").window == Window(WindowKind.ROLLING, length_ms)


def test_a_calendar_window_is_in_utc_unless_it_names_a_time_zone() -> None:
    assert only_limit("requests: 1, window: Day").window == Window(WindowKind.DAY, time_zone="UTC")
    berlin = only_limit("requests: 1, window: Month, timeZone: Europe/Berlin").window
    assert berlin == Window(WindowKind.MONTH, time_zone="Europe/Berlin")


def test_concurrency_has_no_window() -> None:
    assert only_limit("concurrent: 4") == Limit("a", Unit.CONCURRENT, 4, None)


@pytest.mark.parametrize(
    ("spec", "endpoint"),
    [
        ("type: OpenAI", Endpoint(True, "api.openai.com", 443)),
        ("type: Anthropic", Endpoint(True, "api.anthropic.com", 443)),
        ("type: Gemini", Endpoint(True, "generativelanguage.googleapis.com", 443)),
        ("type: Bedrock, region: eu-west-1", Endpoint(True, "bedrock-runtime.eu-west-1.amazonaws.com", 443)),
        ('type: OpenAI, endpoint: "https://a.example/x/y/"', Endpoint(True, "a.example", 443, "/x/y")),
        ('type: OpenAI, endpoint: "https://a.example:8443"', Endpoint(True, "a.example", 8443)),
        (
            'type: OpenAICompatible, endpoint: "http://127.0.0.1", allowPlaintext: true',
            Endpoint(False, "127.0.0.1", 80),
        ),
    ],
)
def test_an_endpoint_is_the_given_url_or_the_public_one_of_its_type(spec: str, endpoint: Endpoint) -> None:
    found = parsed(provider(spec))
    assert isinstance(found, AIProvider)
    assert found.endpoint == endpoint


def test_a_credential_without_a_key_means_the_key_api_key() -> None:
    found = parsed(provider("type: OpenAI, credential: {secretRef: {name: openai-key}}"))
    assert isinstance(found, AIProvider)
    assert found.credential == SecretKeyRef("openai-key", "api-key")


def test_a_quota_line_without_a_model_name_means_every_model_of_the_provider() -> None:
    found = parsed(quota('models: [{provider: openai}], limits: [{name: a, cost: "1", window: Day}]'))
    assert isinstance(found, AIQuota)
    assert [(line.provider, line.name) for line in found.models] == [("openai", "*")]


def test_an_absent_selector_is_none_and_an_empty_one_matches_everything() -> None:
    limits = 'limits: [{name: a, cost: "1", window: Day}]'
    absent, empty = parsed(quota(limits)), parsed(quota(f"agents: {{}}, {limits}"))
    assert isinstance(absent, AIQuota)
    assert isinstance(empty, AIQuota)
    assert (absent.agents, empty.agents) == (None, Selector({}))


def test_an_object_without_a_namespace_is_in_default() -> None:
    found = parsed(identity("serviceAccountName: a", metadata="{name: a}"))
    assert found.meta == Meta("a", "default")  # type: ignore[attr-defined]


def test_a_namespace_is_its_labels_whatever_else_kubernetes_says_of_it() -> None:
    text = (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {a: b}}\nspec: {finalizers: [kubernetes]}\n"
    )
    assert parsed(text).meta == Meta("team-a", "", {"a": "b"})  # type: ignore[attr-defined]


def test_each_tuple_of_the_set_is_ordered_by_namespace_and_name() -> None:
    placed = [("b", "a"), ("a", "c"), ("a", "b")]
    files = {
        f"{space}{name}.yaml": identity("serviceAccountName: a", f"{{name: {name}, namespace: {space}}}").encode()
        for space, name in placed
    }
    agents = parse_files(files).resources.agents
    assert [(agent.meta.namespace, agent.meta.name) for agent in agents] == sorted(placed)


def test_all_problems_are_found_at_once_each_with_file_object_and_path() -> None:
    result = parse_files(
        {
            "quotas.yaml": quota(
                "per: [Nobody], limits: [{name: a, requests: -1, window: 1m}, {name: B, requests: 1}], mod: Shadow"
            ).encode(),
            "providers.yaml": (provider("type: Other") + "---\n" + provider("type: OpenAI, region: EU")).encode(),
            "broken.yaml": b"[",
            "unnamed.yaml": b"kind: AIQuota\n",
        }
    )
    assert [(problem.file, problem.object, problem.path) for problem in result.problems] == [
        ("quotas.yaml", "AIQuota team-a/research", "spec.limits[0].requests"),
        ("quotas.yaml", "AIQuota team-a/research", "spec.limits[1].name"),
        ("quotas.yaml", "AIQuota team-a/research", "spec.per[0]"),
        ("quotas.yaml", "AIQuota team-a/research", "spec.mod"),
        ("providers.yaml", "AIProvider openai", "spec.type"),
        ("providers.yaml", "AIProvider openai", "spec.region"),
        ("broken.yaml", "", ""),
        ("unnamed.yaml", "document 1", "apiVersion"),
        ("unnamed.yaml", "document 1", "metadata"),
        ("unnamed.yaml", "document 1", "spec"),
    ]


def test_a_problem_is_one_line_that_says_where_what_and_how_to_mend_it() -> None:
    [problem] = problems(quota("limits: [{name: daily, cost: 25.00, window: Day}]"))
    assert problem == (
        "a.yaml: AIQuota team-a/research: spec.limits[0].cost: "
        "must be a string, but without quotes it reads as a number: quote it"
    )


def test_a_wrong_name_does_not_hide_what_is_wrong_in_the_spec() -> None:
    found = problems(quota("limits: []", metadata="{name: A}"))
    assert [line.split(": ")[2] for line in found] == ["metadata.name", "spec.limits"]


def test_an_object_declared_twice_is_a_problem_that_names_the_other_place() -> None:
    text = quota('limits: [{name: a, cost: "1", window: Day}]')
    elsewhere = text.replace("team-a", "team-b")
    result = parse_files({"a.yaml": text.encode(), "b.yaml": f"{elsewhere}---\n{text}".encode()})
    assert [str(problem) for problem in result.problems] == [
        "b.yaml: AIQuota team-a/research: is declared already in a.yaml, document 1: keep one"
    ]


def test_one_name_may_be_used_by_objects_of_several_kinds() -> None:
    both = (provider("type: OpenAI", "a") + "---\n" + identity("serviceAccountName: a", "{name: a}")).encode()
    assert parse_files({"a.yaml": both}).problems == ()


def test_a_flood_of_problems_is_cut_and_counted() -> None:
    found = parse_files({"a.yaml": b"---\nkind: Other\n" * 2_000}).problems
    assert len(found) == MOST_PROBLEMS + 1
    assert str(found[-1]) == "and 1000 more problems: mend these first"


def test_a_flood_of_unknown_fields_is_named_in_part_and_counted() -> None:
    unknown = ", ".join(f"field{number}: 1" for number in range(50_000))
    found = problems(quota(f'limits: [{{name: a, cost: "1", window: Day}}], {unknown}'))
    assert len(found) == 21
    assert "has 49980 more fields" in found[-1]


def test_a_list_of_kubectl_is_told_what_it_should_be() -> None:
    [problem] = problems("apiVersion: v1\nkind: List\nitems: []\n")
    assert 'kind: is "List", which Tollway does not read: use one of AgentIdentity' in problem


# --- Secrets -------------------------------------------------------------------------------------------------------


def test_a_secret_is_its_decoded_data_and_string_data_wins() -> None:
    found = parsed(secret("type: Opaque\ndata: {a: aGVsbG8=, b: eA==}\nstringData: {a: plain}\n"))
    assert isinstance(found, Secret)
    assert found.data == {"a": b"plain", "b": b"x"}


def test_base64_may_be_wrapped_in_lines() -> None:
    found = parsed(secret("data:\n  a: |\n    aGVs\n    bG8=\n"))
    assert isinstance(found, Secret)
    assert found.data == {"a": b"hello"}


def test_a_secret_never_shows_its_data() -> None:
    result = parse_files({"a.yaml": secret("stringData: {api-key: sk-very-secret}").encode()})
    assert "sk-very-secret" not in repr(result)
    assert result.resources.secrets[0].data == {"api-key": b"sk-very-secret"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("data: {api-key: sk-very-secret}", id="not base64"),
        pytest.param("data: {api-key: [sk-very-secret]}", id="a list"),
        pytest.param("data: sk-very-secret", id="no mapping"),
        pytest.param("stringData: {api-key: {sk-very-secret: 1}}", id="a mapping"),
        pytest.param("stringData: {api-key: 7777777, b: sk-very-secret}", id="a number"),
        pytest.param("stringData: {api-key: 7777777.5}", id="a float"),
        pytest.param("stringData: {api-key: &a sk-very-secret, b: *a}", id="an alias"),
        pytest.param("stringData: {api-key: !!str sk-very-secret}", id="a tag"),
        pytest.param('stringData: {api-key: "sk-very-secret}', id="an open quote"),
        pytest.param("stringData:\n  api-key: sk-very-secret\n api-key: 7777777", id="bad indentation"),
    ],
)
def test_what_is_wrong_with_a_secret_is_said_without_its_data(body: str) -> None:
    found = problems(secret(body))
    assert found
    assert not any("sk-very-secret" in line or "7777777" in line for line in found)


def test_a_credential_in_a_url_is_not_repeated() -> None:
    [problem] = problems(provider('type: OpenAI, endpoint: "https://user:sk-very-secret@api.openai.com"'))
    assert "sk-very-secret" not in problem


def test_a_secret_key_that_is_no_file_name_is_refused() -> None:
    [problem] = problems(secret('stringData: {"../x": y}'))
    assert 'stringData["../x"]: is not a valid name' in problem
