"""What the API server sends is read as it stands, and what does not fit is an error rather than a guess."""

import base64
from typing import Any

import msgspec
import pytest

from signing.requests import GOOD_CSR, SETTINGS, pod, request, seen
from tollway.resources.models import AgentIdentity, Meta, Selector
from tollway.resources.selection import Declared
from tollway_operator.signing.evaluator import Deny, evaluate
from tollway_operator.signing.objects import declared, read_pod, read_request

REQUEST: dict[str, Any] = {
    "metadata": {"name": "req-1", "namespace": "team-a", "uid": "request-uid", "managedFields": []},
    "spec": {
        "signerName": "tollway.dev/agent",
        "podName": "researcher-0",
        "podUID": "pod-uid",
        "serviceAccountName": "researcher",
        "serviceAccountUID": "account-uid",
        "nodeName": "node-1",
        "nodeUID": "node-uid",
        "maxExpirationSeconds": 86400,
        "stubPKCS10Request": base64.b64encode(GOOD_CSR).decode(),
    },
    "status": {},
}
POD: dict[str, Any] = {
    "metadata": {"name": "researcher-0", "namespace": "team-a", "uid": "pod-uid", "labels": {"app": "researcher"}},
    "spec": {"serviceAccountName": "researcher", "nodeName": "node-1", "containers": []},
    "status": {"phase": "Pending"},
}
IDENTITY = AgentIdentity(Meta("researcher", "team-a"), Selector({"app": "researcher"}))


def test_a_request_is_read() -> None:
    assert read_request(REQUEST) == request()


def test_a_request_that_proves_its_key_in_the_older_way_has_no_csr_and_is_denied() -> None:
    spec = {key: value for key, value in REQUEST["spec"].items() if key != "stubPKCS10Request"}
    verdict = evaluate(read_request({**REQUEST, "spec": {**spec, "pkixPublicKey": "aa"}}), seen(), SETTINGS)
    assert isinstance(verdict, Deny)
    assert verdict.reason == "InvalidCSR"


def test_annotations_of_the_pods_author_are_read_so_that_they_can_be_refused() -> None:
    spec = {**REQUEST["spec"], "unverifiedUserAnnotations": {"a.example/role": "admin"}}
    assert read_request({**REQUEST, "spec": spec}).annotations == {"a.example/role": "admin"}


def test_a_pod_is_read() -> None:
    assert read_pod(POD) == pod()


def test_a_pod_that_is_being_deleted_is_known_by_its_deletion_timestamp() -> None:
    metadata = {**POD["metadata"], "deletionTimestamp": "2026-11-22T05:00:00Z"}
    assert read_pod({**POD, "metadata": metadata}) == pod(being_deleted=True)


def test_the_age_of_an_identity_is_that_of_its_object() -> None:
    content = {"metadata": {"name": "researcher", "creationTimestamp": "1970-01-01T00:00:02Z"}}
    assert declared(IDENTITY, content) == Declared(IDENTITY, 2_000)
    going = {"metadata": {**content["metadata"], "deletionTimestamp": "1970-01-01T00:00:03Z"}}
    assert declared(IDENTITY, going) == Declared(IDENTITY, 2_000, being_deleted=True)


@pytest.mark.parametrize(
    "spec",
    [{"podUID": 7}, {"maxExpirationSeconds": "3600"}, {"stubPKCS10Request": "no base64!"}, {"signerName": None}],
    ids=lambda spec: next(iter(spec)),
)
def test_a_request_that_is_not_what_the_api_promises_is_an_error(spec: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        read_request({**REQUEST, "spec": {**REQUEST["spec"], **spec}})


def test_an_identity_without_an_age_is_an_error() -> None:
    with pytest.raises(msgspec.ValidationError, match="creationTimestamp"):
        declared(IDENTITY, {"metadata": {"name": "researcher"}})
