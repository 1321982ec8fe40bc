"""Objects of one kind that are watched by their names, each with a selector of its own."""

from tollway_operator import names
from tollway_operator.cluster import kinds
from tollway_operator.watching.facts import Fact, identity_of
from tollway_operator.watching.feeds import scopes
from tollway_operator.watching.listing import Watch
from tollway_operator.watching.watched import watches

ROOT = "tollway-system"


def config(name: str) -> Fact:
    return Fact(identity_of({"metadata": {"name": name, "namespace": ROOT}}))


def test_no_scope_has_two_selectors_for_a_kind_and_nothing_is_left_out() -> None:
    wanted = list(watches(ROOT, ["team-a"], "tollway.dev/agent"))
    found = scopes(wanted)
    assert sorted(map(repr, wanted)) == sorted(repr(watch) for _, each in found for watch in each)
    assert all(len({watch.kind for watch in each}) == len(each) for _, each in found)
    named = [watch.fields for where, each in found if where == ROOT for watch in each if watch.kind is kinds.CONFIG_MAP]
    assert named == [f"metadata.name={names.GATEWAY}", f"metadata.name={names.ROOT_CHANGE}"]


def test_a_listing_by_name_says_nothing_of_objects_with_another() -> None:
    watch = Watch(kinds.CONFIG_MAP, ROOT, fields=f"metadata.name={names.GATEWAY}")
    assert watch.may_show(config(names.GATEWAY))
    assert not watch.may_show(config(names.ROOT_CHANGE))
    assert Watch(kinds.SECRET, ROOT).may_show(config("anything"))
