"""A machine's clock is set, forwards and back, while Tollway runs: certificates stay usable, and holds do not notice.

Envoys keep the true time here; what issues certificates and what judges them are set together, by less than what a
certificate lives, so that all of them can agree.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509

from ending.acting_provider import ANSWER, CAP, ActingProvider
from ending.stage import Stage, TunedInstallation, documents
from installations import running, wait_until
from surviving.faults import is_in_order, is_up, kill, recovers
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import AgentIdentity, Meta, ResourceSet, Selector
from tollway_cli.standalone.identities import Identities
from tollway_cli.standalone.plan import GATEWAY, plan
from tollway_cli.standalone.state import StateDirectory, prepare
from tollway_operator.authority.authority import Authority

MINUTE = 60_000
HOUR = 60 * MINUTE
HOLD_MS = 3000
NOW = 1_764_000_000_000
RESOURCES = ResourceSet(agents=(AgentIdentity(Meta("caller", "team-a"), Selector({})),))


class SetInstallation(TunedInstallation):
    def start(self) -> None:
        self.state.mkdir(mode=0o700, exist_ok=True)
        self.set_clocks(0)
        super().start()

    def set_clocks(self, ms: int, *names: str) -> None:
        for name in names or ("clock", "clock-of-extauthz"):
            fresh = self.state / f"{name}.new"
            fresh.write_text(str(ms))
            fresh.rename(self.state / name)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    tuning = f'{{"hold_ms": {HOLD_MS}, "data_plane": "skewed_data_plane"}}'
    options = ("--clock", "--tuning", tuning)
    with ActingProvider() as acting, running(documents(acting), arguments=options, kind=SetInstallation) as (up, _):
        stage = Stage(up, acting)
        stage.wait_until_it_serves()
        yield stage
        stage.everybody_leaves()


def set_clocks(stage: Stage, ms: int, *names: str) -> float:
    installation = stage.installation
    assert isinstance(installation, SetInstallation)
    installation.set_clocks(ms, *names)
    return time.monotonic()


def not_before(stage: Stage) -> int:
    """Of the SVID that the agent's sidecar has, by the true clock: milliseconds from now."""
    path = stage.installation.state / "agents" / "team-a_caller" / "identity" / "tls.crt"
    leaf = x509.load_pem_x509_certificates(path.read_bytes())[0]
    return int(leaf.not_valid_before_utc.timestamp() * 1000) - time.time_ns() // 1_000_000


@pytest.mark.parametrize("hours", [2, -2])
def test_R12_a_hold_does_not_notice_that_the_clock_was_set(stage: Stage, hours: int) -> None:
    call, bill = stage.begun("stream held")
    set_clocks(stage, hours * HOUR, "clock-of-extauthz")
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() - begun > 1.5 * HOLD_MS / 1000, 10)
    assert stage.books(bill.call)["outcome"] == "open"
    set_clocks(stage, 0)
    stage.acting.go_on()
    assert b"[DONE]" in call.read()
    ended = stage.ended(bill.call)
    assert (ended["source"], ended["output_tokens"]) == ("provider", ANSWER)
    assert [row["kind"] for row in stage.explained(bill.call)["rows"]] == ["grant", "settle"]
    assert is_in_order(stage)


def test_R12_a_hold_of_before_a_restart_with_the_clock_set_back_ends_by_its_deadline_all_the_same(stage: Stage) -> None:
    call, bill = stage.begun("stream held")
    with stage.paused(stage.gateway):
        set_clocks(stage, -2 * HOUR, "clock-of-extauthz")
        kill(stage.data_plane)
        wait_until(lambda: is_up(stage), 20)
        ended = stage.ended(bill.call, within=HOLD_MS / 1000 + 10)
        assert (ended["outcome"], ended["source"], ended["output_tokens"]) == ("expired", "ceiling", CAP)
        set_clocks(stage, 0)
        kill(stage.data_plane)
        wait_until(lambda: is_up(stage), 20)
    stage.acting.go_on()
    call.read()
    assert stage.known(bill.call, lambda call: call["source"] == "provider")["output_tokens"] == ANSWER
    assert recovers(stage, time.monotonic(), within=10)
    assert is_in_order(stage)


def test_R12_a_clock_that_is_set_back_or_forward_stops_no_call_for_more_than_5_s(stage: Stage) -> None:
    """Set back, SVIDs of before are not valid yet. Set forward, those of after are not for who did not notice."""
    back = set_clocks(stage, -45 * MINUTE)
    wait_until(lambda: not_before(stage) < -45 * MINUTE, 5)
    assert recovers(stage, back)
    assert "SVIDs were not valid, and were renewed" in stage.installation.output.read_text()
    stage.kill(stage.data_plane)
    forward = set_clocks(stage, 0)
    wait_until(lambda: not_before(stage) > -2 * MINUTE, 5)
    stage.kill(stage.sidecar)
    assert recovers(stage, forward, within=10)
    assert is_in_order(stage)


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return prepare(tmp_path)


@pytest.mark.parametrize(
    "jumps",
    [
        (2,),
        (-2,),
        (2, -2),
        (-2, 2),
        (-2, -2, 2, 2),
        (2, 2, -2, -2),
        (11, 2, -2),
        (13, -2, 2),
        (19, 2, -2),
        (23, 2, -2, 2),
    ],
    ids=str,
)
def test_R12_after_each_jump_everybody_holds_a_leaf_that_is_valid_and_does_not_outlive_its_issuer(
    state: StateDirectory, jumps: tuple[int, ...]
) -> None:
    now = NOW
    identities = Identities(Authority.load_or_create(state.authority, DEFAULT_TRUST_DOMAIN, now), state, lambda: 0.5)
    for jump in (0, *jumps):
        now += jump * HOUR
        identities.rotate(now)
        identities.issue(plan(RESOURCES, identities.held, "cluster.local", now).issue, now)
        for key, directory in ((GATEWAY, state.gateway), ("team-a/caller", state.agent("team-a/caller"))):
            assert identities.held[key].is_valid(now)
            leaf, issuer = x509.load_pem_x509_certificates((directory / "identity" / "tls.crt").read_bytes())
            assert leaf.not_valid_before_utc < leaf.not_valid_after_utc
            assert issuer.not_valid_before_utc <= leaf.not_valid_before_utc
            assert leaf.not_valid_after_utc <= issuer.not_valid_after_utc
            assert issuer in x509.load_pem_x509_certificates((state.extauthz / "issuers.pem").read_bytes())
        late = [request.key for request in plan(RESOURCES, identities.held, "cluster.local", now + HOUR // 2).issue]
        assert late == [GATEWAY, "team-a/caller"], "renewals go on by the clock as it is now"
