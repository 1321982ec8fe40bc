"""What the signer certifies: an identity made of the API server's facts alone, for as long as everybody allows."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from signing.requests import HOUR_MS, KEY, SETTINGS, csr, identity, pod, request, seen
from tollway.resources.selection import Declared
from tollway_operator.signing.evaluator import Seen, Sign, evaluate
from tollway_operator.signing.request import PodCertificateRequest

WORKLOAD = "spiffe://cluster.local/ns/team-a/sa/researcher"


def signed(asked: PodCertificateRequest | None = None, around: Seen | None = None) -> Sign:
    verdict = evaluate(asked or request(), around or seen(), SETTINGS)
    assert isinstance(verdict, Sign), verdict
    return verdict


def test_an_agent_gets_its_own_id_for_the_key_in_the_csr_and_for_its_pod() -> None:
    verdict = signed()
    assert str(verdict.spiffe_id) == f"{WORKLOAD}/agent/researcher"
    assert verdict.public_key.public_numbers() == KEY.public_key().public_numbers()
    assert verdict.pod_uid == "pod-uid"
    assert verdict.agent is not None
    assert verdict.agent.meta.name == "researcher"


def test_a_pod_that_no_identity_selects_gets_the_id_of_its_service_account() -> None:
    verdict = signed(around=seen(identity(labels={"app": "writer"})))
    assert (str(verdict.spiffe_id), verdict.agent, verdict.ttl_ms) == (WORKLOAD, None, HOUR_MS)


def test_of_two_identities_the_older_gives_the_id() -> None:
    verdict = signed(around=seen(identity("young", created=2_000), identity("old", created=1_000)))
    assert str(verdict.spiffe_id) == f"{WORKLOAD}/agent/old"


def test_an_identity_that_names_another_service_account_does_not_give_its_id() -> None:
    verdict = signed(around=seen(identity("other", account="writer")))
    assert str(verdict.spiffe_id) == WORKLOAD


def test_a_suspended_identity_of_labels_alone_does_not_hold_back_other_pods() -> None:
    other = identity("other", labels={"app": "writer"}, suspended=True)
    assert str(signed(around=seen(other)).spiffe_id) == WORKLOAD


def test_labels_that_name_another_identity_change_nothing() -> None:
    labels = {"app": "researcher", "tollway.dev/agent": "admin", "agent": "admin"}
    assert str(signed(around=seen(pod=pod(labels=labels))).spiffe_id) == f"{WORKLOAD}/agent/researcher"


def test_a_p384_key_is_signed_too() -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert signed(request(csr=csr(key))).public_key.curve.name == "secp384r1"


@pytest.mark.parametrize(
    ("declared", "max_expiration_s", "ttl_ms"),
    [
        (identity(ttl_ms=HOUR_MS), 86_400, HOUR_MS),
        (identity(ttl_ms=4 * HOUR_MS), 86_400, 4 * HOUR_MS),
        (identity(ttl_ms=4 * HOUR_MS), 7_200, 2 * HOUR_MS - 60_000),
        (identity(ttl_ms=HOUR_MS), 3_600, HOUR_MS - 60_000),
        (identity(ttl_ms=HOUR_MS), 3_660, HOUR_MS),
    ],
    ids=["an hour", "longest", "the pod wants less", "least", "an hour and the minute before"],
)
def test_the_life_is_the_identitys_but_no_longer_than_the_pod_allows_with_the_minute_before_now(
    declared: Declared, max_expiration_s: int, ttl_ms: int
) -> None:
    verdict = signed(request(max_expiration_s=max_expiration_s), seen(declared))
    assert verdict.ttl_ms == ttl_ms
