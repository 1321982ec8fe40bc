"""SVIDs on disk: issued, renewed between 30 and 40 % of their life, removed with their agent."""

import stat
from pathlib import Path

import pytest
from cryptography import x509

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import AgentIdentity, Meta, ResourceSet, Selector
from tollway_cli.standalone.identities import Identities, remove_strangers
from tollway_cli.standalone.plan import GATEWAY, plan
from tollway_cli.standalone.state import StateDirectory, prepare
from tollway_operator.authority.authority import Authority

NOW = 1_764_000_000_000
HOUR = 3_600_000
RESOURCES = ResourceSet(agents=(AgentIdentity(Meta("researcher", "team-a"), Selector({})),))


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return prepare(tmp_path)


@pytest.fixture
def identities(state: StateDirectory) -> Identities:
    return Identities(Authority.load_or_create(state.authority, DEFAULT_TRUST_DOMAIN, NOW), state, lambda: 0.5)


def issue_due(identities: Identities, now: int) -> None:
    identities.rotate(now)
    identities.issue(plan(RESOURCES, identities.held, "cluster.local", now).issue, now)


def serial(directory: Path) -> int:
    return x509.load_pem_x509_certificate((directory / "identity" / "tls.crt").read_bytes()).serial_number


def test_each_envoy_finds_its_own_svid_that_nobody_else_can_read(identities: Identities, state: StateDirectory) -> None:
    issue_due(identities, NOW)
    svid = {"tls.crt", "tls.key", "bundle.json"}
    expected = {state.gateway: svid | {"trial.crt", "trial.key"}, state.agent("team-a/researcher"): svid}
    for directory, names in expected.items():
        shown = {path.name for path in (directory / "identity").iterdir() if not path.name.startswith("..")}
        assert shown == names
        assert stat.S_IMODE((directory / "identity" / "tls.key").stat().st_mode) == 0o600
    assert serial(state.gateway) != serial(state.agent("team-a/researcher"))


def test_an_svid_is_renewed_between_30_and_40_percent_of_its_life(
    identities: Identities, state: StateDirectory
) -> None:
    issue_due(identities, NOW)
    first = serial(state.gateway)
    issue_due(identities, NOW + HOUR * 30 // 100)
    assert serial(state.gateway) == first
    issue_due(identities, NOW + HOUR * 40 // 100)
    assert serial(state.gateway) != first
    assert identities.held[GATEWAY].renew_at > NOW + HOUR * 40 // 100


def test_issuers_are_published_at_once_and_again_when_a_successor_is_prepared(
    identities: Identities, state: StateDirectory
) -> None:
    issuers = state.extauthz / "issuers.pem"
    assert len(x509.load_pem_x509_certificates(issuers.read_bytes())) == 1
    assert identities.rotate(NOW + 13 * HOUR)
    assert len(x509.load_pem_x509_certificates(issuers.read_bytes())) == 2


def test_the_key_of_an_agent_that_is_gone_is_removed(identities: Identities, state: StateDirectory) -> None:
    issue_due(identities, NOW)
    identities.forget("team-a/researcher")
    assert not state.agent("team-a/researcher").exists()
    assert set(identities.held) == {GATEWAY}


def test_keys_that_an_earlier_run_left_are_removed(state: StateDirectory) -> None:
    for agent in ("team-a/researcher", "team-b/gone"):
        state.agent(agent).mkdir()
    remove_strangers(state, ["team-a/researcher"])
    assert [path.name for path in (state.root / "agents").iterdir()] == ["team-a_researcher"]
