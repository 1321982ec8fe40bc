"""Names that callers choose, made to be taken for SQL, an address, an expression or a path: they stay names."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from installations import agent, provider, quota, secret
from ledger.builders import NOON, facts
from tollway.deciding.rulebook import RuleBook, model_rule
from tollway.ledger.port import CallFacts, CallFilter, Counter, Demand, Granted, Refused, Sizes, Source
from tollway.ledger.units import LIFETIME, Amounts, Unit
from tollway.pricing.data import default_book
from tollway.providers.port import RequestRefused
from tollway.providers.registry import family_of
from tollway.resources.models import ResourceSet
from tollway.resources.parse import parse_files
from tollway_extauthz.stores.sqlite import SQLiteLedger

ROOT = Path(__file__).resolve().parents[2]
SQL = [
    "'; DROP TABLE journal; --",
    "x' OR '1'='1",
    'x" OR "1"="1',
    "x') UNION SELECT 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16 --",
    "]; DELETE FROM holds; --",
    "1; ATTACH DATABASE '/tmp/x' AS y",
    "%",
    "_",
    "?1",
    ":name",
    "\\",
]
TEXTS = [each.name for each in fields(CallFacts) if isinstance(getattr(facts(), each.name), str)]


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SQLiteLedger]:
    with contextlib.closing(SQLiteLedger(tmp_path / "ledger.sqlite")) as made:
        yield made


@pytest.mark.parametrize("name", SQL)
def test_sql_in_any_name_of_a_call_is_kept_and_found_to_the_letter(ledger: SQLiteLedger, name: str) -> None:
    hostile = replace(facts(), checks=((name, name),), **dict.fromkeys(TEXTS, name))
    counter = Counter(name, name, name, Unit.REQUESTS, LIFETIME, (("Model", name),))
    for call, said, counted in (("another", facts(), replace(counter, quota="another")), (name, hostile, counter)):
        demand = Demand(counted, limit=5, base=1000)
        assert isinstance(ledger.reserve(call, said, [demand], Sizes(0, 0), NOON, NOON + 1000), Granted)
    ledger.settle(name, Amounts(requests=1), Source.PROVIDER, NOON)
    ledger.record_refusal(Refused(f"{name} again", hostile, name, name), NOON)
    ledger.set_checkpoint(name, name)

    hold = ledger.hold(name)
    assert hold is not None
    assert hold.facts == hostile
    assert ledger.checkpoint(name) == name
    assert [row.call_id for row in ledger.journal(CallFilter(call_id=name))] == [name, name]
    assert {row.call_id for row in ledger.journal(CallFilter(agent=name))} == {name, f"{name} again"}
    assert [state.used for state in ledger.counters(NOON) if state.counter == counter] == [1]
    assert list(ledger.verify()) == []
    assert len(list(ledger.journal(CallFilter()))) == 4


CHAT = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}]}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    (family, path): body
    for family in ("OpenAI", "OpenAICompatible")
    for path, body in {
        "/v1/chat/completions": CHAT,
        "/v1/responses": {"model": "gpt-5-mini", "input": "hi"},
        "/v1/embeddings": {"model": "text-embedding-3-small", "input": "hi"},
    }.items()
} | {
    ("Anthropic", "/v1/messages"): {**CHAT, "max_tokens": 5},
    ("Anthropic", "/v1/messages/count_tokens"): CHAT,
}
ELSEWHERE = [
    "api_base",
    "base_url",
    "api_key",
    "api_version",
    "endpoint",
    "host",
    "url",
    "proxy",
    "callback",
    "webhook_url",
    "custom_llm_provider",
    "deployment_id",
    "extra_body",
    "extra_headers",
    "fallbacks",
    "model_list",
    "organization",
    "user_config",
    "litellm_params",
    "mcp_servers",
]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize(("kind", "path"), BODIES, ids=lambda text: text)
def test_no_body_can_say_where_a_call_goes_or_with_which_key(kind: str, path: str, name: str) -> None:
    parse(kind, path, {})
    for value in ("https://evil.example", {"url": "https://evil.example"}, ["https://evil.example"], True):
        with pytest.raises(RequestRefused, match=name):
            parse(kind, path, {name: value})


def parse(kind: str, path: str, more: Mapping[str, Any]) -> None:
    family = family_of(kind)
    assert family is not None
    operation = family.operation("POST", path)
    assert operation is not None
    family.parse(operation, json.dumps({**BODIES[kind, path], **more}).encode(), "application/json")


def test_these_headers_and_query_keys_travel_to_providers_and_no_others() -> None:
    families = [family for kind in ("OpenAI", "OpenAICompatible", "Anthropic") if (family := family_of(kind))]
    assert len(families) == 3
    common = {"accept", "content-type", "user-agent"}
    assert {name for family in families for name in family.allowed_headers} == common | {
        "anthropic-beta",
        "anthropic-version",
    }
    assert {key for family in families for key in family.allowed_query} == {"beta"}


def resources(*documents: Mapping[str, Any]) -> ResourceSet:
    parsed = parse_files({"a.yaml": yaml.safe_dump_all(documents).encode()})
    assert not parsed.problems, parsed.problems
    return parsed.resources


@pytest.mark.parametrize("pattern", ["gpt-5.1", "gpt-5.*", "gpt?5.1"])
def test_a_dot_in_a_pattern_is_a_dot_and_a_pattern_is_whole(pattern: str) -> None:
    declared = resources(secret(), provider(models=[{"name": pattern}], endpoint="https://api.openai.com"))
    openai = declared.providers[0]
    assert model_rule(openai, "gpt-5.1") is not None
    for other in ("gpt-5x1", "gpt-5x1-mini", "GPT-5.1", "gpt-5", "a-gpt-5.1", ""):
        assert model_rule(openai, other) is None


def test_an_agent_is_known_by_its_exact_name() -> None:
    declared = resources(agent("a.b"), quota("q", {"name": "rpm", "requests": 1, "window": "1m"}))
    book = RuleBook(declared, default_book())
    assert book.agent("team-a", "a.b") is not None
    assert [book.agent(*name) for name in (("team-a", "axb"), ("team-a", "A.b"), ("team-A", "a.b"))] == [None] * 3


REFERENCES = {
    "a namespace": {"name": "key", "key": "api-key", "namespace": "team-a"},
    "a namespace in the name": {"name": "team-a/key", "key": "api-key"},
    "a way up": {"name": "../key", "key": "api-key"},
    "a file": {"name": "/etc/shadow", "key": "api-key"},
    "a key that leads elsewhere": {"name": "key", "key": "../../etc/shadow"},
    "a file beside": {"name": "key", "key": "api-key", "file": "/etc/shadow"},
    "a variable": {"name": "key", "key": "env:HOME"},
}


@pytest.mark.parametrize("reference", REFERENCES.values(), ids=REFERENCES)
def test_a_credential_is_a_key_of_a_secret_by_name_and_nothing_else(reference: Mapping[str, str]) -> None:
    document = provider(endpoint="https://api.openai.com", credential={"secretRef": reference})
    assert parse_files({"a.yaml": yaml.safe_dump(document).encode()}).problems


def test_nothing_that_lives_in_a_namespace_can_name_a_secret_or_an_address() -> None:
    for kind in ("agentidentities", "aiquotas"):
        schema = (ROOT / "crds" / f"tollway.dev_{kind}.yaml").read_text()
        assert "scope: Namespaced" in schema
        assert not [word for word in ("secretRef", "endpoint", "url:", "uri:") if word in schema]
    assert "scope: Cluster" in (ROOT / "crds" / "tollway.dev_aiproviders.yaml").read_text()
