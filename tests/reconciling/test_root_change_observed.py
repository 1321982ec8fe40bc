"""What a change of the root waits for, of everything that the API server and the gateways tell."""

from dataclasses import replace

import pytest

from reconciling.builders import NOW, TEAM, TRUST, World, only
from tollway.identity.root_change import Proof, Sidecar
from tollway.identity.root_standing import RootStanding
from tollway.pricing.data import default_book
from tollway.usage_report import Tried, Trusted, UsageReport
from tollway_operator.cluster import kinds
from tollway_operator.reconciling.actions import Key, ReadyAuthority, Topic
from tollway_operator.reconciling.observing import observed
from tollway_operator.reconciling.plan import plan
from tollway_operator.reconciling.reporting import combined

ROOT = "tollway-system"
TRYING = replace(TRUST, tried=TRUST.published.bundle)
SIDECAR = {"name": "tollway-sidecar", "image": "envoy"}


def pod(world: World, name: str, namespace: str, account: str, *, sidecar: bool = False, ip: str = "") -> None:
    spec = {"serviceAccountName": account, "initContainers": [SIDECAR] if sidecar else []}
    world.put(kinds.POD, name, namespace, labels={"app": account}, spec=spec, status={"podIP": ip, "phase": "Running"})


@pytest.fixture
def world() -> World:
    found = World()
    pod(found, "gateway-0", ROOT, "tollway-gateway")
    pod(found, "gateway-1", ROOT, "tollway-gateway")
    pod(found, "operator", ROOT, "tollway-operator")
    pod(found, "by-uid", TEAM, "one", sidecar=True, ip="10.0.0.1")
    pod(found, "by-address", TEAM, "two", sidecar=True, ip="10.0.0.2")
    pod(found, "silent", TEAM, "three", sidecar=True, ip="10.0.0.3")
    pod(found, "without-sidecar", TEAM, "four")
    pod(found, "elsewhere", "not-enforced", "five", sidecar=True)
    return found


def test_every_pod_that_has_to_trust_is_known_with_what_it_proved(world: World) -> None:
    digest = TRUST.published.bundle
    trusted = Trusted("gateway-0", digest, TRUST.published.issuers)
    by_uid = Tried("spiffe://cluster.local/ns/x/sa/one", "uid-of-by-uid", "10.9.9.9", digest, 1)
    by_address = Tried("spiffe://cluster.local/ns/x/sa/two", "", "10.0.0.2", digest, 1)
    report = combined([UsageReport(1, trusted=trusted, trust=(by_uid, by_address))], 0)
    seen = observed(world.snapshot(trust=TRYING, report=report))
    assert seen.gateways == {"gateway-0": Proof(digest, TRUST.published.issuers), "gateway-1": None}
    assert {name: sidecar.bundle for name, sidecar in seen.sidecars.items()} == {
        f"{TEAM}/by-uid": digest,
        f"{TEAM}/by-address": digest,
        f"{TEAM}/silent": None,
    }
    assert all(isinstance(sidecar, Sidecar) for sidecar in seen.sidecars.values())


def test_a_certificate_that_names_another_pod_proves_nothing_for_the_one_at_its_address(world: World) -> None:
    tried = Tried("spiffe://cluster.local/ns/x/sa/y", "another-uid", "10.0.0.3", TRUST.published.bundle, 1)
    report = combined([UsageReport(1, trust=(tried,))], 0)
    seen = observed(world.snapshot(trust=TRYING, report=report))
    assert seen.sidecars[f"{TEAM}/silent"].bundle is None


def test_nobody_is_waited_for_while_nothing_is_tried(world: World) -> None:
    seen = observed(world.snapshot(trust=TRUST))
    assert not seen.gateways
    assert not seen.sidecars


def test_a_secret_is_waited_for_while_a_pod_has_it_and_not_when_its_agent_has_none(world: World) -> None:
    """An agent whose Deployment is scaled to nothing has a Secret that nobody reads."""
    world.agent()
    world.svid(NOW)
    secret = f"Secret {TEAM}/tollway-svid-researcher"
    assert secret not in observed(world.snapshot(trust=TRYING)).sources
    world.pod()
    assert secret in observed(world.snapshot(trust=TRYING)).sources


def ready(world: World, **changed: object) -> ReadyAuthority:
    [action] = only(plan(Key(Topic.TRUST), world.snapshot(**changed), default_book(), NOW), ReadyAuthority)
    return action


def test_before_anything_is_known_a_change_stays_where_it_is(world: World) -> None:
    """An empty observation would mean that nobody has to be waited for."""
    assert ready(world, trust=None).observed is None
    assert ready(world, trust=TRYING).observed is not None


def test_who_has_not_asked_the_gateways_yet_does_not_doubt_what_was_known_before_him(world: World) -> None:
    assert ready(world, trust=TRYING, root=RootStanding(phase="Trusted")).observed is None
    asked = combined([UsageReport(1)], 0)
    assert ready(world, trust=TRYING, root=RootStanding(phase="Trusted"), report=asked).observed is not None
