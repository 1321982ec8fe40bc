"""What the injector's webhook shows, and what the API server trusts it by."""

import base64
from typing import Any

from reconciling.builders import NOW, World, only
from tollway.pricing.data import default_book
from tollway_operator.authority.serving import SERVING_DAYS, serving_certificate
from tollway_operator.cluster import kinds
from tollway_operator.names import INJECTOR, INJECTOR_TLS, OUR_LABELS
from tollway_operator.reconciling.actions import Apply, IssueServing, Key, Plan, Topic
from tollway_operator.reconciling.injector import serving_secret, trusted_by
from tollway_operator.reconciling.plan import plan
from tollway_operator.watching.facts import SecretFact

ROOT = "tollway-system"
NAMES = (f"{INJECTOR}.{ROOT}.svc",)
DAY = 86_400_000

Json = Any


def planned(world: World, now: int = NOW) -> Plan:
    return plan(Key(Topic.INJECTOR), world.snapshot(), default_book(), now)


def webhook(world: World, trusted: bytes = b"") -> None:
    config = {"service": {"name": INJECTOR}, "caBundle": base64.b64encode(trusted).decode()}
    world.put(kinds.MUTATING_WEBHOOK, INJECTOR, "", webhooks=[{"name": "injector.tollway.dev", "clientConfig": config}])


def secret(world: World, names: tuple[str, ...] = NAMES, at: int = NOW, still: bytes = b"") -> bytes:
    """What is trusted with it."""
    made = serving_certificate(names, at)
    issue = IssueServing(INJECTOR_TLS, ROOT, names, "", still, None)
    content = serving_secret(issue, made)
    world.put(kinds.SECRET, INJECTOR_TLS, ROOT, labels=OUR_LABELS, type=content["type"], data=content["data"])
    return trusted_by(issue, made)


def test_the_first_certificate_is_made_whether_or_not_there_is_a_webhook() -> None:
    world = World()
    [issue] = only(planned(world), IssueServing)
    assert (issue.name, issue.namespace, issue.dns_names, issue.replaces) == (INJECTOR_TLS, ROOT, NAMES, "")
    assert issue.webhook is None
    webhook(world)
    [issue] = only(planned(world), IssueServing)
    assert list(issue.webhook.bundles) == ["injector.tollway.dev"]


def test_the_webhook_is_trusted_by_what_the_secret_says_and_by_nothing_else_of_it() -> None:
    world = World()
    trusted = secret(world)
    webhook(world, b"somebody's")
    [apply] = only(planned(world), Apply)
    assert apply.content["webhooks"] == [
        {"name": "injector.tollway.dev", "clientConfig": {"caBundle": base64.b64encode(trusted).decode()}}
    ]
    # One that is removed meanwhile is not made again.
    assert apply.content["metadata"]["uid"] == f"uid-of-{INJECTOR}"


def test_where_all_is_as_it_should_be_nothing_is_written_until_it_is_renewed() -> None:
    world = World()
    webhook(world, secret(world))
    assert planned(world).chains == ()
    again = planned(world).again_at
    assert again is not None
    assert NOW + SERVING_DAYS * DAY * 0.29 < again < NOW + SERVING_DAYS * DAY * 0.31
    assert planned(world, again - 1).chains == ()
    assert only(planned(world, again), IssueServing)


def test_a_renewed_certificate_is_trusted_beside_the_one_that_is_still_shown_and_no_older_one() -> None:
    world = World()
    first = secret(world)
    second = secret(world, at=NOW + DAY, still=first)
    webhook(world, second)
    [issue] = only(planned(world, NOW + 60 * DAY), IssueServing)
    assert issue.still == second.removesuffix(first)
    assert issue.replaces
    assert trusted_by(issue, serving_certificate(NAMES, NOW)).count(b"BEGIN CERTIFICATE") == 2


def test_one_for_other_names_of_the_future_or_unreadable_is_made_anew() -> None:
    for make in (
        lambda world: secret(world, ("another.svc",)),
        lambda world: secret(world, at=NOW + 2 * DAY),
        lambda world: world.put(kinds.SECRET, INJECTOR_TLS, ROOT, labels=OUR_LABELS, data={"tls.crt": "bm9uZQ=="}),
    ):
        world = World()
        make(world)
        assert only(planned(world), IssueServing)


def test_the_key_is_not_remembered() -> None:
    world = World()
    secret(world)
    fact = world.store.get(kinds.SECRET, SecretFact, INJECTOR_TLS, ROOT)
    assert fact is not None
    assert all(b"PRIVATE" not in content for content in fact.data.values())
