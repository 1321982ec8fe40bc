"""What is sound and yet not what its author may expect is said, in one sentence on one object."""

import pytest

from tollway.providers.registry import family_of
from tollway.resources.models import ProviderType, ResourceSet
from tollway.resources.notices import SERVED_TYPES, notices
from tollway.resources.parse import parse_files

HEAD = "apiVersion: tollway.dev/v1alpha1\n"
AGENT = "kind: AgentIdentity\nmetadata: {name: a, namespace: team-a, labels: {team: search}}\n"
AGENT += "spec: {serviceAccountName: a}\n"
QUOTA = 'limits: [{name: daily, cost: "1", window: Day}], bound: Provable'
PROVIDER = "type: OpenAI, namespaces: {}, credential: {secretRef: {name: key}}"
SECRET = "apiVersion: v1\nkind: Secret\nmetadata: {name: key, namespace: tollway-system}\nstringData: {api-key: sk-1}\n"
COVERED = HEAD + f"kind: AIQuota\nmetadata: {{name: q, namespace: team-a}}\nspec: {{{QUOTA}}}\n"


def resources(*documents: str) -> ResourceSet:
    parsed = parse_files({"a.yaml": "---\n".join(documents).encode()})
    assert parsed.problems == ()
    return parsed.resources


def said(*documents: str) -> list[tuple[str, str]]:
    return [(notice.object, notice.reason) for notice in notices(resources(*documents))]


def quota(spec: str, namespace: str = "team-a") -> str:
    return f"{HEAD}kind: AIQuota\nmetadata: {{name: q, namespace: {namespace}}}\nspec: {{{spec}}}\n"


def provider(spec: str, name: str = "p") -> str:
    return f"{HEAD}kind: AIProvider\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def test_nothing_is_said_of_a_set_that_does_what_it_says() -> None:
    assert said(HEAD + AGENT, COVERED, provider(PROVIDER), SECRET) == []


def test_a_notice_reads_as_object_and_sentence() -> None:
    [notice] = notices(resources(quota(QUOTA.replace("Provable", "Learned"))))
    assert str(notice).startswith("AIQuota team-a/q: bound Learned is taken as Provable")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param('limits: [{name: a, cost: "1", window: Day}]', "BoundAsProvable", id="learned bound by default"),
        pytest.param(f"{QUOTA}, onLedgerUnavailable: Lease", "LedgerUnavailableAsDeny", id="lease"),
        pytest.param(f"{QUOTA}, onLedgerUnavailable: Allow", "LedgerUnavailableAsDeny", id="allow"),
        pytest.param(f"{QUOTA}, per: [Agent, Pod]", "PerPod", id="per pod"),
        pytest.param(f"{QUOTA}, models: [{{provider: nobody}}]", "ProviderUnknown", id="unknown provider"),
    ],
)
def test_a_quota_that_is_not_fully_acted_on_says_so(spec: str, reason: str) -> None:
    assert said(HEAD + AGENT, quota(spec)) == [("AIQuota team-a/q", reason)]


def test_a_quota_that_selects_nobody_says_so() -> None:
    assert ("AIQuota team-a/q", "SelectsNobody") in said(
        HEAD + AGENT, quota(f"{QUOTA}, agents: {{matchLabels: {{a: b}}}}")
    )


@pytest.mark.parametrize(
    "documents",
    [
        pytest.param((), id="no quota at all"),
        pytest.param((quota(f"{QUOTA}, mode: Shadow"),), id="a shadow"),
        pytest.param((quota("bound: Provable, limits: [{name: a, requests: 1, window: 1m}]"),), id="requests only"),
        pytest.param((quota(QUOTA, "team-b"),), id="another namespace"),
        pytest.param((quota(QUOTA, "tollway-system"),), id="the root namespace for itself"),
        pytest.param(
            (quota(f"{QUOTA}, namespaces: {{matchLabels: {{tier: free}}}}", "tollway-system"),), id="other namespaces"
        ),
    ],
)
def test_an_agent_that_no_enforced_limit_in_tokens_or_cost_covers_says_so(documents: tuple[str, ...]) -> None:
    assert said(HEAD + AGENT, *documents) == [("AgentIdentity team-a/a", "Uncovered")]


@pytest.mark.parametrize(
    "selector",
    ["{}", "{matchLabels: {tier: free}}", "{matchLabels: {kubernetes.io/metadata.name: team-a}}"],
)
def test_a_quota_of_the_root_namespace_covers_the_namespaces_it_selects(selector: str) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: team-a, labels: {tier: free}}\n"
    assert said(HEAD + AGENT, namespace, quota(f"{QUOTA}, namespaces: {selector}", "tollway-system")) == []


def test_an_agent_that_asks_for_pod_certificates_gets_a_secret_and_says_so() -> None:
    agent = HEAD + AGENT.replace("{serviceAccountName: a}", "{serviceAccountName: a, svid: {delivery: PodCertificate}}")
    assert said(agent, COVERED) == [("AgentIdentity team-a/a", "DeliveryAsSecret")]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param(PROVIDER.replace("OpenAI", "Gemini"), "TypeNotServed", id="type without data path"),
        pytest.param(PROVIDER.replace("namespaces: {}, ", ""), "OpenToAll", id="open to all"),
        pytest.param(f'{PROVIDER}, endpoint: "https://a.example/v1"', "EndpointPath", id="endpoint with /v1"),
        pytest.param("type: OpenAI, namespaces: {}", "CredentialMissing", id="no credential"),
        pytest.param(PROVIDER.replace("name: key", "name: other"), "CredentialMissing", id="no Secret"),
        pytest.param(PROVIDER.replace("name: key", "name: key, key: k"), "CredentialMissing", id="no such key"),
    ],
)
def test_a_provider_that_will_not_serve_as_expected_says_so(spec: str, reason: str) -> None:
    assert said(provider(spec), SECRET) == [("AIProvider p", reason)]


def test_the_types_with_a_data_path_are_those_that_a_family_speaks_for() -> None:
    assert {kind for kind in ProviderType if family_of(kind.value) is not None} == SERVED_TYPES


def test_a_secret_in_another_namespace_is_pointed_at() -> None:
    elsewhere = SECRET.replace(", namespace: tollway-system", "")
    [notice] = notices(resources(provider(PROVIDER), elsewhere))
    assert "move the one in namespace default there" in notice.message


@pytest.mark.parametrize(
    ("key", "fine"),
    [('"sk-1\\n"', True), ('""', False), ('"sk-1\\nsk-2"', False), ('"sk 1"', False), ('"sk-é"', False)],
)
def test_a_key_that_no_header_can_carry_is_told_of_without_showing_it(key: str, fine: bool) -> None:
    found = notices(resources(provider(PROVIDER), SECRET.replace("sk-1", key)))
    assert [notice.reason for notice in found] == ([] if fine else ["CredentialMalformed"])
    assert "sk" not in "".join(notice.message for notice in found)


def test_two_defaults_of_one_type_both_say_so() -> None:
    both = [provider(f"{PROVIDER}, default: true", name) for name in ("p", "q")]
    assert said(*both, SECRET) == [("AIProvider p", "SeveralDefaults"), ("AIProvider q", "SeveralDefaults")]


def test_an_in_house_server_needs_no_credential() -> None:
    assert said(provider('type: OpenAICompatible, namespaces: {}, endpoint: "https://a.example"')) == []
