"""What leaves a namespace whose egress is strict."""

from dataclasses import replace
from typing import Any

import pytest

from reconciling.builders import NOW, TEAM, World, only
from tollway.pricing.data import default_book
from tollway_operator.cluster import kinds
from tollway_operator.names import EGRESS, OUR_LABELS
from tollway_operator.reconciling.actions import Apply, Delete, Key, Plan, Topic
from tollway_operator.reconciling.egress import egress_spec
from tollway_operator.reconciling.plan import plan

ENFORCED = {"tollway.dev/enforce": "enabled"}
STRICT = {**ENFORCED, "tollway.dev/egress": "strict"}

Json = Any


def world(labels: Json, found: Json = None, ours: bool = True) -> World:
    made = World()
    made.put(kinds.NAMESPACE, TEAM, "", labels=labels)
    if found is not None:
        made.put(kinds.NETWORK_POLICY, EGRESS, labels=OUR_LABELS if ours else {}, spec=found)
    return made


def planned(world: World) -> Plan:
    return plan(Key(Topic.EGRESS, TEAM), world.snapshot(), default_book(), NOW)


def test_a_strict_namespace_reaches_names_and_the_gateway_and_nothing_else() -> None:
    [apply] = only(planned(world(STRICT)), Apply)
    assert apply.content["metadata"]["name"] == EGRESS
    spec = apply.content["spec"]
    assert (spec["podSelector"], spec["policyTypes"]) == ({}, ["Egress"])
    assert [
        (rule["to"][0]["namespaceSelector"]["matchLabels"], [port["port"] for port in rule["ports"]])
        for rule in spec["egress"]
    ] == [
        ({"kubernetes.io/metadata.name": "kube-system"}, [53, 53]),
        ({"kubernetes.io/metadata.name": "tollway-system"}, [15443]),
    ]


def test_and_the_networks_that_the_installation_names() -> None:
    made = world(STRICT)
    made.installation = replace(made.installation, egress_extras=("10.0.0.0/8", "192.0.2.7/32"))
    [apply] = only(planned(made), Apply)
    assert apply.content["spec"]["egress"][2] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}, {"ipBlock": {"cidr": "192.0.2.7/32"}}]
    }


def test_what_is_there_already_is_not_written_again_and_what_was_changed_is() -> None:
    spec = egress_spec(World().installation)
    assert planned(world(STRICT, spec)).chains == ()
    assert only(planned(world(STRICT, {**spec, "egress": [{}]})), Apply)


@pytest.mark.parametrize(
    "labels", [ENFORCED, {**ENFORCED, "tollway.dev/egress": "open"}, {"tollway.dev/egress": "strict"}]
)
def test_elsewhere_it_is_taken_away_and_nobody_elses_is(labels: Json) -> None:
    spec = egress_spec(World().installation)
    assert planned(world(labels)).chains == ()
    assert only(planned(world(labels, spec)), Delete)
    assert planned(world(labels, spec, ours=False)).chains == ()
