"""What is known of a cluster, and what follows from it: pure, without a server."""

import base64
import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from tollway.resources.models import RuleFile
from tollway_extauthz import identity_files
from tollway_extauthz.keeping import watched
from tollway_extauthz.keeping.derived import gateway_files, rules, svid_files
from tollway_extauthz.keeping.known import Known, Objects
from tollway_extauthz.keeping.messages import Metadata, Object
from tollway_extauthz.keeping.watched import AGENTS, NAMESPACES, PROVIDERS, QUOTAS
from tollway_extauthz.rule_file import RuleReader
from tollway_operator import names
from tollway_operator.authority import svid_files as svid_files_of

CONFIG, CREDENTIALS, SVID = watched.objects("tollway-system")
ALL = {"openai": "uid-of-openai", "second": "uid-of-second"}
_versions = itertools.count()


def obj(name: str, namespace: str = "team-a", spec: object = None, **fields: Any) -> Object:
    """Another version each time."""
    data = fields.pop("data", None)
    version = str(next(_versions))
    metadata = {"name": name, "namespace": namespace, "uid": f"uid-of-{name}", "resource_version": version, **fields}
    return Object(Metadata(**metadata), spec, data)


def agent(name: str = "researcher", **fields: Any) -> Object:
    return obj(name, spec={"selector": {"matchLabels": {"app": name}}, **fields.pop("spec", {})}, **fields)


def provider(name: str = "openai", uid: str = "", **spec: object) -> Object:
    return obj(name, "", {"type": "OpenAI", **spec}, uid=uid or f"uid-of-{name}")


def quota(name: str = "daily", requests: int = 5) -> Object:
    return obj(name, spec={"limits": [{"name": "calls", "requests": requests, "window": "Day"}]})


def enforced(name: str = "team-a", label: str = "enabled") -> Object:
    return obj(name, "", labels={"tollway.dev/enforce": label})


def known(**found: list[Object]) -> Known:
    known = Known("tollway-system")
    kinds = {"agents": AGENTS, "providers": PROVIDERS, "quotas": QUOTAS, "namespaces": NAMESPACES}
    for name, kind in kinds.items():
        known.listed(kind, found.get(name, []))
    for single in (CONFIG, CREDENTIALS, SVID):
        known.listed(single, [])
    return known


def rule_file(known: Known, programmed: Mapping[str, str] = ALL) -> RuleFile:
    text = b'{"generation": 7, "resources": ' + rules(known, programmed) + b"}"
    read = RuleReader().read(text)
    assert read == msgspec.json.decode(text, type=RuleFile)
    return read


def test_the_rules_have_what_was_listed_in_order_and_the_namespaces_that_are_enforced() -> None:
    found = known(
        agents=[agent("b"), agent("a")],
        providers=[provider()],
        quotas=[quota()],
        namespaces=[enforced("team-b"), enforced(), enforced("off", "disabled"), enforced("tollway-system")],
    )
    resources = rule_file(found).resources
    assert [each.meta.name for each in resources.agents] == ["a", "b"]
    assert [each.meta.name for each in resources.providers] == ["openai"]
    assert resources.quotas[0].limits[0].amount == 5
    assert resources.enforced == ("team-a", "team-b")


def test_a_provider_is_in_the_rules_only_while_envoy_runs_it() -> None:
    found = known(providers=[provider("openai"), provider("second")])
    open_ = rule_file(found, {"second": "uid-of-second", "gone": "uid-of-gone"}).resources.providers
    assert [each.meta.name for each in open_] == ["second"]


def test_a_provider_that_was_made_anew_under_the_same_name_is_another_until_envoy_runs_it() -> None:
    found = known(providers=[provider()])
    assert found.listed(PROVIDERS, [provider(uid="new", type="Anthropic")]).rules
    assert rule_file(found).resources.providers == ()
    assert [each.type for each in rule_file(found, {"openai": "new"}).resources.providers] == ["Anthropic"]
    assert found.listed(PROVIDERS, [provider(uid="newer", type="Anthropic")]).rules


def test_nothing_is_complete_before_every_kind_was_listed() -> None:
    found = Known("tollway-system")
    for each in found.everything:
        assert not found.is_complete
        found.listed(each, [])
    assert found.is_complete


def test_a_change_of_status_or_of_what_the_server_counts_is_none() -> None:
    found = known(agents=[agent()])
    assert not found.seen(AGENTS, agent(), removed=False).rules
    assert not found.listed(AGENTS, [agent()]).rules
    assert found.seen(AGENTS, agent(spec={"suspended": True}), removed=False).rules


def test_what_a_new_list_does_not_have_any_more_is_gone() -> None:
    found = known(agents=[agent("a"), agent("b")])
    assert found.listed(AGENTS, [agent("b")]).rules
    assert [each.meta.name for each in rule_file(found).resources.agents] == ["b"]


@pytest.mark.parametrize(
    ("kind", "good", "bad", "stays"),
    [
        (AGENTS, agent(), obj("researcher", spec={"selector": 5}), False),
        (PROVIDERS, provider(), provider(type="Unheard"), False),
        (QUOTAS, quota(), obj("daily", spec={"limits": []}), True),
    ],
    ids=["an agent is left out", "a provider is left out", "a quota stays as it was"],
)
def test_what_cannot_be_read_never_loosens_anything(
    kind: watched.Watched, good: Object, bad: Object, stays: bool
) -> None:
    found = known()
    found.seen(kind, good, removed=False)
    change = found.seen(kind, bad, removed=False)
    assert "cannot be read" in change.said[0]
    assert bool(found.pieces[kind]) is stays
    assert change.rules is not stays


def test_an_agent_that_is_being_deleted_is_gone_and_a_quota_counts_until_it_is() -> None:
    found = known(agents=[agent()], quotas=[quota()])
    going = {"deletion_timestamp": "2026-01-01T00:00:00Z"}
    assert found.seen(AGENTS, agent(**going), removed=False).rules
    spec = quota().spec
    assert not found.seen(QUOTAS, obj("daily", spec=spec, **going), removed=False).rules


# --- files ---------------------------------------------------------------------------------------------------------

PARTS = json.dumps({"credentials": ["credential-openai.json"], "providers": {"openai": "uid-1"}}).encode()
CONFIGURED = {"rds.json": b"r", "cds.json": b"c", "bootstrap.json": b"b", "issuers.pem": b"i", "bundle.json": b"{}"}
WHOLE = Objects({**CONFIGURED, "parts.json": PARTS}, {"credential-openai.json": b"k", "credential-old.json": b"o"})


def test_envoy_is_shown_the_configuration_with_the_credentials_that_go_with_it_and_no_others() -> None:
    found = gateway_files(WHOLE)
    assert not isinstance(found, str)
    assert found.envoy == {"rds.json": b"r", "cds.json": b"c", "credential-openai.json": b"k"}
    assert (found.providers, found.bootstrap, found.issuers) == ({"openai": "uid-1"}, b"b", b"i")


@pytest.mark.parametrize(
    ("objects", "said"),
    [
        (Objects(), "not there"),
        (replace(WHOLE, credentials=None), "credential-openai.json"),
        (replace(WHOLE, credentials={"credential-old.json": b"o"}), "credential-openai.json"),
        (replace(WHOLE, credentials={**(WHOLE.credentials or {}), "generation": b"next"}), "another configuration"),
        (replace(WHOLE, config=CONFIGURED), "parts.json"),
        (replace(WHOLE, config={**CONFIGURED, "parts.json": b"?"}), "cannot be read"),
    ],
    ids=[
        "nothing is there",
        "no credentials",
        "credentials of before",
        "credentials of the next",
        "no list of parts",
        "a broken list",
    ],
)
def test_half_a_configuration_is_not_shown(objects: Objects, said: str) -> None:
    assert said in str(gateway_files(objects))


def test_secrets_are_read_as_base64_and_one_that_is_not_leaves_what_was_there() -> None:
    found = known()
    good = obj("tollway-gateway-svid", "tollway-system", data={"tls.key": base64.b64encode(b"key").decode()})
    assert found.seen(SVID, good, removed=False).files
    assert not found.seen(SVID, replace_data(good, {"tls.key": "?"}), removed=False).files
    assert found.objects.svid == {"tls.key": b"key"}


def replace_data(content: Object, data: dict[str, str]) -> Object:
    return Object(content.metadata, None, data)


def test_an_svid_without_its_key_or_with_that_of_another_is_not_shown() -> None:
    assert "tls.crt" in str(svid_files(Objects(svid={"tls.key": b"k", "bundle.json": b"{}"})))
    broken = {"tls.crt": b"no certificate", "tls.key": b"k", "bundle.json": b"{}"}
    assert "do not fit" in str(svid_files(Objects(svid=broken)))


def test_no_secret_is_shown_by_what_an_object_or_the_known_says_of_itself() -> None:
    secret = obj("tollway-gateway-credentials", "tollway-system", data={"credential-openai.json": "c2stc2VjcmV0"})
    assert "c2stc2VjcmV0" not in repr(secret)
    assert "sk-" not in repr(Objects(credentials={"a": b"sk-secret"}))


def test_the_objects_have_the_names_under_which_the_operator_writes_them() -> None:
    ours = (watched.GATEWAY, watched.CREDENTIALS, watched.SVID, watched.PARTS_FILE, watched.ISSUERS_FILE)
    theirs = (names.GATEWAY, names.GATEWAY_CREDENTIALS, names.GATEWAY_SVID, names.PARTS_FILE, names.ISSUERS_FILE)
    assert ours == theirs
    assert (watched.BOOTSTRAP_FILE, watched.GENERATION_FILE) == (names.BOOTSTRAP_FILE, names.GENERATION_FILE)
    identity = (identity_files.CERTIFICATE_FILE, identity_files.KEY_FILE, identity_files.BUNDLE_FILE)
    assert identity == (svid_files_of.CERTIFICATE_FILE, svid_files_of.KEY_FILE, names.BUNDLE_FILE)
