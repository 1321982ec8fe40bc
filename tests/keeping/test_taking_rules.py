"""How extauthz takes rules again and again: what did not change is what it was, and what is broken changes nothing."""

import time
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from deciding.builders import agent, provider, quota
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.pricing.data import default_book
from tollway.resources.models import ResourceSet, RuleFile
from tollway_extauthz.rules import RuleSource
from tollway_operator.authority.authority import Authority

RESOURCES = ResourceSet((agent("a"), agent("b")), (provider(),), (quota(),), enforced=("team-a",))


@pytest.fixture
def source(tmp_path: Path) -> RuleSource:
    authority = Authority.load_or_create(tmp_path / "ca", DEFAULT_TRUST_DOMAIN, time.time_ns() // 1_000_000)
    (tmp_path / "issuers.pem").write_bytes(authority.issuers_pem())
    return RuleSource(tmp_path / "rules.json", tmp_path / "issuers.pem", "cluster.local", default_book())


def publish(source: RuleSource, content: bytes) -> None:
    fresh = source._rules_path.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.rename(source._rules_path)


def rules(generation: int, resources: ResourceSet = RESOURCES) -> bytes:
    return msgspec.json.encode(RuleFile(generation, resources))


async def test_only_what_changed_is_read_and_who_was_recognised_is_not_forgotten(source: RuleSource) -> None:
    publish(source, rules(1))
    assert await source.refresh()
    before = source.current
    stopped = replace(RESOURCES.agents[0], suspended=True)
    publish(source, rules(2, replace(RESOURCES, agents=(stopped, RESOURCES.agents[1]))))
    assert await source.refresh()
    assert before is not None
    assert source.current is not None
    assert source.current.resources == replace(RESOURCES, agents=(stopped, RESOURCES.agents[1]))
    assert source.current.resources.agents[1] is before.resources.agents[1]
    assert source.current.peers is before.peers


@pytest.mark.parametrize("broken", [b"", b'{"generation": 2}', rules(2).replace(b'"OpenAI"', b'"Nobody"')])
async def test_what_cannot_be_read_leaves_the_rules_as_they_are(source: RuleSource, broken: bytes) -> None:
    publish(source, rules(1))
    await source.refresh()
    publish(source, broken)
    assert not await source.refresh()
    assert source.current is not None
    assert source.current.generation == 1
    publish(source, rules(3))
    assert await source.refresh()
