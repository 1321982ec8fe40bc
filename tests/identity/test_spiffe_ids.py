"""Which texts are SPIFFE IDs, line by line of SPIFFE-ID.md §2, and which of them are ours."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollway.identity.spiffe_id import (
    DEFAULT_TRUST_DOMAIN,
    RULES,
    SPIFFEID,
    AgentPath,
    InvalidSPIFFEID,
    TrustDomain,
    agent_id,
    agent_path,
    gateway_id,
    parse_spiffe_id,
    trial_id,
    tried_bundle,
    workload_id,
)


def rule_of(text: str) -> str:
    with pytest.raises(InvalidSPIFFEID) as refused:
        parse_spiffe_id(text)
    assert RULES[refused.value.rule] in str(refused.value)
    return refused.value.rule


@pytest.mark.parametrize("text", ["", "td/x", "https://td/x", "spiffe:/td/x", "spiffe:td/x", " spiffe://td/x", "\0"])
def test_id_01_another_scheme_is_refused(text):
    assert rule_of(text) == "ID-01"


@pytest.mark.parametrize("text", ["spiffe://", "spiffe:///x"])
def test_id_02_an_empty_trust_domain_is_refused(text):
    assert rule_of(text) == "ID-02"


@pytest.mark.parametrize("text", ["spiffe://td/x?a=b", "spiffe://td?", "spiffe://td/x?"])
def test_id_03_a_query_is_refused(text):
    assert rule_of(text) == "ID-03"


@pytest.mark.parametrize("text", ["spiffe://td/x#a", "spiffe://td#", "spiffe://td/x?a#b"])
def test_id_04_a_fragment_is_refused(text):
    assert rule_of(text) == "ID-04"


@pytest.mark.parametrize("text", ["spiffe://me@td/x", "spiffe://me:secret@td/x", "spiffe://@td/x"])
def test_id_05_user_information_is_refused(text):
    assert rule_of(text) == "ID-05"


@pytest.mark.parametrize("text", ["spiffe://td:1/x", "spiffe://td:/x", "spiffe://:80/x"])
def test_id_06_a_port_is_refused(text):
    assert rule_of(text) == "ID-06"


@pytest.mark.parametrize("text", ["spiffe://TD/x", "spiffe://cluster.Local/x"])
def test_id_07_an_upper_case_trust_domain_is_refused_and_not_folded(text):
    assert rule_of(text) == "ID-07"


@pytest.mark.parametrize("name", ["a b", "tä", "td\0", "td\n", "a,b", "a+b", "a\\b", "К"])
def test_id_08_other_characters_in_the_trust_domain_are_refused(name):
    assert rule_of(f"spiffe://{name}/x") == "ID-08"


@pytest.mark.parametrize("name", ["cluster.local", "a-b_c.d", "7", "-", "_"])
def test_id_08_every_allowed_character_of_a_trust_domain_is_accepted(name):
    assert parse_spiffe_id(f"spiffe://{name}/x").trust_domain == TrustDomain(name)


def test_id_09_a_percent_encoded_trust_domain_is_refused():
    assert rule_of("spiffe://t%64/x") == "ID-09"


@pytest.mark.parametrize("name", ["127.0.0.1", "256.1.1.1", "1.2.3"])
def test_id_10_an_ipv4_address_is_a_trust_domain_like_any_other(name):
    assert str(parse_spiffe_id(f"spiffe://{name}/x")) == f"spiffe://{name}/x"


@pytest.mark.parametrize("name", ["[::1]", "[2001:db8::1]"])
def test_id_10_an_ipv6_address_is_refused(name):
    assert rule_of(f"spiffe://{name}/x") == "ID-10"


@pytest.mark.parametrize("path", ["/a%2fb", "/%61"])
def test_id_11_a_percent_encoded_path_is_refused(path):
    assert rule_of(f"spiffe://td{path}") == "ID-11"


@pytest.mark.parametrize("path", ["//a", "/a//b", "//", "/a//"])
def test_id_12_an_empty_segment_is_refused(path):
    assert rule_of(f"spiffe://td{path}") == "ID-12"


@pytest.mark.parametrize("path", ["/.", "/..", "/a/../b", "/a/./b", "/a/.."])
def test_id_13_a_dot_segment_is_refused(path):
    assert rule_of(f"spiffe://td{path}") == "ID-13"


@pytest.mark.parametrize("path", ["/...", "/.a", "/a..b", "/..a"])
def test_id_13_dots_beside_other_characters_are_accepted(path):
    assert parse_spiffe_id(f"spiffe://td{path}").path == path


@pytest.mark.parametrize("path", ["/", "/a/"])
def test_id_14_a_trailing_slash_is_refused(path):
    assert rule_of(f"spiffe://td{path}") == "ID-14"


@pytest.mark.parametrize("path", ["/a b", "/ä", "/a\0", "/a\n", "/a:b", "/a@b", "/a;b", "/a\\b", "/a=b"])
def test_id_15_other_characters_in_the_path_are_refused(path):
    assert rule_of(f"spiffe://td{path}") == "ID-15"


def test_id_16_an_id_of_2048_bytes_is_accepted():
    text = "spiffe://td/" + "x" * (2048 - len("spiffe://td/"))
    assert str(parse_spiffe_id(text)) == text


def test_id_16_a_longer_id_is_neither_accepted_nor_made():
    assert rule_of("spiffe://td/" + "x" * (2049 - len("spiffe://td/"))) == "ID-16"
    with pytest.raises(InvalidSPIFFEID, match="ID-16"):
        agent_id(TrustDomain("td"), "n" * 1000, "s" * 1000, "a" * 100)


def test_id_17_a_trust_domain_of_255_bytes_is_accepted_and_a_longer_one_is_not():
    assert parse_spiffe_id("spiffe://" + "t" * 255 + "/x").trust_domain.name == "t" * 255
    assert rule_of("spiffe://" + "t" * 256 + "/x") == "ID-17"


def test_id_18_paths_that_differ_in_case_are_different_identities():
    assert parse_spiffe_id("spiffe://td/a") != parse_spiffe_id("spiffe://td/A")


@pytest.mark.parametrize(("text", "rule"), [("SPIFFE://td/a", "ID-01"), ("Spiffe://td/a", "ID-01")])
def test_id_18_an_identity_has_one_spelling_only(text, rule):
    assert rule_of(text) == rule


def test_an_id_without_a_path_is_that_of_the_trust_domain_itself():
    assert parse_spiffe_id("spiffe://td") == SPIFFEID(TrustDomain("td"))


def test_an_error_shows_the_text_shortened_and_escaped():
    with pytest.raises(InvalidSPIFFEID) as refused:
        parse_spiffe_id("spiffe://td/\x1b" + "x" * 1000)
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 300


@given(st.text() | st.from_regex(r"spiffe://[a-zA-Z0-9._:@%-]{0,8}(/[a-zA-Z0-9.%_-]{0,4}){0,4}", fullmatch=True))
def test_whatever_is_accepted_is_kept_to_the_letter(text):
    with contextlib.suppress(InvalidSPIFFEID):
        assert str(parse_spiffe_id(text)) == text


def test_the_ids_of_agent_workload_and_gateway_have_their_documented_form():
    assert str(agent_id(DEFAULT_TRUST_DOMAIN, "a", "b", "c")) == "spiffe://cluster.local/ns/a/sa/b/agent/c"
    assert str(workload_id(DEFAULT_TRUST_DOMAIN, "a", "b")) == "spiffe://cluster.local/ns/a/sa/b"
    assert str(gateway_id(TrustDomain("td"))) == "spiffe://td/ns/tollway-system/sa/tollway-gateway"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a/agent/b", "ä", "a%2fb", "a b"])
def test_a_name_that_is_no_single_segment_never_becomes_part_of_an_id(name):
    with pytest.raises(InvalidSPIFFEID):
        agent_id(DEFAULT_TRUST_DOMAIN, name, "sa", "agent")
    with pytest.raises(InvalidSPIFFEID):
        workload_id(DEFAULT_TRUST_DOMAIN, "ns", name)


names = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


@given(names, names, names)
def test_an_id_comes_apart_into_what_it_was_made_of(namespace, service_account, agent):
    made = agent_id(DEFAULT_TRUST_DOMAIN, namespace, service_account, agent)
    assert agent_path(parse_spiffe_id(str(made))) == AgentPath(namespace, service_account, agent)
    made = workload_id(DEFAULT_TRUST_DOMAIN, namespace, service_account)
    assert agent_path(parse_spiffe_id(str(made))) == AgentPath(namespace, service_account)


@pytest.mark.parametrize(
    "path", ["", "/x", "/ns/a", "/ns/a/sa", "/ns/a/sa/b/agent", "/ns/a/sa/b/agent/c/d", "/NS/a/sa/b", "/x/ns/a/sa/b"]
)
def test_an_id_of_another_form_is_not_ours(path):
    assert agent_path(parse_spiffe_id(f"spiffe://td{path}")) is None


def test_the_id_of_a_trial_is_nobodys_and_says_of_which_bundle_it_is() -> None:
    gateway = gateway_id(DEFAULT_TRUST_DOMAIN)
    digest = "0123456789abcdef" * 4
    trial = trial_id(gateway, digest)
    assert str(trial) == f"{gateway}/agent/trial-{digest}"
    assert tried_bundle(trial) == digest
    path = agent_path(trial)
    assert path is not None
    assert path.namespace == "tollway-system", "where there are no agents"
    others = (gateway, agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "trial", f"trial-{digest}"))
    assert [tried_bundle(other) for other in others] == ["", ""]
