"""What the rendered rules grant, to whom: as narrow as it can be."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from charting.charts import ROOT_NAMESPACE, Helm, Json, named, of_kind
from tollway_operator import names

LISTED = ("team-b", "team-c")
FOR_PEOPLE = {"tollway-viewer", "tollway-resources-view"}
"""Bound to nobody by the chart."""
WRITING = {"create", "update", "patch", "delete", "deletecollection"}


class Grant(NamedTuple):
    account: str
    namespace: str
    """Empty: everywhere."""
    group: str
    resource: str
    verb: str
    names: tuple[str, ...]
    """None: all names."""


@pytest.fixture(scope="module")
def documents(helm: Helm) -> list[Json]:
    return helm.documents(f"secretNamespaces={{{','.join(LISTED)}}}")


@pytest.fixture(scope="module")
def grants(documents: list[Json]) -> list[Grant]:
    return [
        grant for binding in of_kind(documents, "ClusterRoleBinding", "RoleBinding") for grant in of(binding, documents)
    ]


def of(binding: Json, documents: list[Json]) -> Iterator[Grant]:
    reference = binding["roleRef"]
    namespace = binding["metadata"].get("namespace", "")
    [role] = [
        each
        for each in of_kind(documents, reference["kind"])
        if each["metadata"]["name"] == reference["name"]
        and (reference["kind"] == "ClusterRole" or each["metadata"]["namespace"] == namespace)
    ]
    for subject in binding["subjects"]:
        assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", ROOT_NAMESPACE)
        for rule in role["rules"]:
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        only = tuple(rule.get("resourceNames", ()))
                        yield Grant(subject["name"], namespace, group, resource, verb, only)


def test_nothing_is_granted_by_an_asterisk(grants: list[Grant]) -> None:
    assert grants
    assert not [grant for grant in grants if "*" in (grant.group, grant.resource, grant.verb)]


def test_every_rule_is_of_somebody_and_nobody_else_has_any(grants: list[Grant], documents: list[Json]) -> None:
    accounts = {each["metadata"]["name"] for each in of_kind(documents, "ServiceAccount")}
    assert (
        {grant.account for grant in grants}
        == accounts
        == {f"tollway-{it}" for it in ("operator", "gateway", "injector")}
    )
    bound = [each["roleRef"] for each in of_kind(documents, "RoleBinding", "ClusterRoleBinding")]
    roles = [each for each in of_kind(documents, "Role", "ClusterRole") if each["metadata"]["name"] not in FOR_PEOPLE]
    assert len(roles) == len(bound)
    assert not {each["name"] for each in bound} & FOR_PEOPLE


def test_people_who_look_read_no_secret_and_change_nothing(documents: list[Json]) -> None:
    theirs = [each for each in of_kind(documents, "Role", "ClusterRole") if each["metadata"]["name"] in FOR_PEOPLE]
    assert {each["metadata"]["name"] for each in theirs} == FOR_PEOPLE
    rules = [rule for each in theirs for rule in each["rules"]]
    assert not [rule for rule in rules if {"secrets", "*"} & {*rule["resources"], *rule["verbs"]}]
    writing = [(rule["resources"], sorted(WRITING & {*rule["verbs"]})) for rule in rules if WRITING & {*rule["verbs"]}]
    assert writing == [(["pods/portforward"], ["create"])]


def test_whoever_may_edit_a_namespace_may_not_lift_its_limits(documents: list[Json]) -> None:
    aggregated = [each for each in of_kind(documents, "ClusterRole") if each["metadata"].get("labels")]
    labels = {label for each in aggregated for label in each["metadata"]["labels"] if "aggregate-to" in label}
    assert labels == {"rbac.authorization.k8s.io/aggregate-to-view"}
    verbs = {verb for each in aggregated for rule in each["rules"] for verb in rule["verbs"]}
    assert verbs == {"get", "list", "watch"}


def test_nobody_reads_secrets_of_the_whole_cluster(grants: list[Grant]) -> None:
    assert {grant.namespace for grant in grants if grant.resource == "secrets"} <= {ROOT_NAMESPACE, *LISTED}


def test_the_injector_has_no_right_to_any_secret_and_writes_nothing(grants: list[Grant]) -> None:
    mine = [grant for grant in grants if grant.account == "tollway-injector"]
    assert mine
    assert not [grant for grant in mine if grant.resource.startswith("secrets")]
    assert not [grant for grant in mine if grant.verb in WRITING and grant.resource != "events"]


def test_the_gateway_reads_its_own_secrets_by_name_and_writes_nothing(grants: list[Grant]) -> None:
    mine = [grant for grant in grants if grant.account == "tollway-gateway"]
    secrets = [grant for grant in mine if grant.resource == "secrets"]
    assert {name for grant in secrets for name in grant.names} == {names.GATEWAY_CREDENTIALS, names.GATEWAY_SVID}
    assert all(grant.names and grant.namespace == ROOT_NAMESPACE for grant in secrets)
    assert not [grant for grant in mine if grant.verb in WRITING]


def test_the_operator_changes_secrets_of_the_root_namespace_by_name_only(grants: list[Grant]) -> None:
    changing = [
        grant
        for grant in grants
        if grant.resource == "secrets" and grant.namespace == ROOT_NAMESPACE and grant.verb in WRITING - {"create"}
    ]
    assert changing
    assert all(grant.names for grant in changing)
    assert names.BROUGHT_ROOT not in {name for grant in changing for name in grant.names}


def test_nobody_can_give_himself_more_or_enter_a_pod(grants: list[Grant]) -> None:
    assert not [grant for grant in grants if grant.verb in {"escalate", "bind", "impersonate"}]
    assert not [grant for grant in grants if grant.resource in {"pods/exec", "pods/attach", "serviceaccounts/token"}]
    assert not [grant for grant in grants if grant.group == "rbac.authorization.k8s.io"]
    assert not [grant for grant in grants if grant.resource == "pods" and grant.verb in WRITING]


def test_webhooks_are_changed_by_name_only(grants: list[Grant]) -> None:
    changing = [grant for grant in grants if grant.group == "admissionregistration.k8s.io" and grant.verb in WRITING]
    assert {name for grant in changing for name in grant.names} <= {"tollway-injector"}
    assert all(grant.names for grant in changing)


def test_secrets_for_svids_are_granted_where_they_are_listed_and_not_before(helm: Helm) -> None:
    assert not [each for each in of_kind(helm.documents(), "Role") if each["metadata"]["namespace"] != ROOT_NAMESPACE]
    listed = helm.documents("secretNamespaces={team-b}")
    assert named(listed, "Role", "tollway-operator-secrets")["metadata"]["namespace"] == "team-b"
    assert {"name": "TOLLWAY_SECRET_NAMESPACES", "value": "team-b"} in named(listed, "Deployment", "tollway-operator")[
        "spec"
    ]["template"]["spec"]["containers"][0]["env"]
