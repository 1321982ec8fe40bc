"""Which certificates make a peer: what Envoy lets through is judged again, line by line of X509-SVID.md §5.2."""

import threading
from base64 import b64encode
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from identity.crafting import (
    HOUR,
    MINUTE,
    NOW,
    RESEARCHER,
    Craft,
    as_envoy_sends,
    cas_of,
    issued,
    new_authority,
    usage,
)
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, AgentPath, TrustDomain
from tollway.resources.models import KeyType
from tollway_extauthz.peer import Peer, PeerProblem, PeerValidator, UnusableIssuers
from tollway_operator.authority.certificates import CA


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def authority(directory):
    return new_authority(directory)


@pytest.fixture(scope="module")
def validator(authority):
    return PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem())


@pytest.fixture(scope="module")
def signing(authority, directory):
    return cas_of(directory)[1]


@pytest.fixture(scope="module")
def judge(validator, signing):
    return lambda craft, now=NOW: validator.validate(as_envoy_sends(craft.signed_by(signing)), now)


def uri(text):
    return Craft(uris=(text,))


def test_an_issued_svid_makes_a_peer_with_all_that_it_says(authority, validator):
    leaf = issued(authority, pod_uid="0b5c4a1e-77")
    assert validator.validate(as_envoy_sends(leaf), NOW) == Peer(
        spiffe_id=RESEARCHER,
        path=AgentPath("team-a", "researcher-sa", "researcher"),
        not_before=NOW - MINUTE - NOW % 1000,
        not_after=NOW + HOUR - NOW % 1000,
        pod_uid="0b5c4a1e-77",
        serial=leaf.serial_number,
    )


def test_the_crafted_leaf_that_breaks_no_rule_makes_a_peer(judge):
    assert isinstance(judge(Craft()), Peer)


NAME_CONSTRAINTS = x509.NameConstraints([x509.UniformResourceIdentifier("cluster.local")], None)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
SIGNS = {"digital_signature": True}


OURS = (0x86, str(RESEARCHER).encode())


def der_names(*names):
    """A SubjectAltName of (tag, text) pairs, as bytes that the library would refuse to build."""
    content = b"".join(bytes([tag, len(text)]) + text for tag, text in names)
    return bytes([0x30, len(content)]) + content


INVALID = {
    "x_01_no_names_at_all": (Craft(uris=()), "exactly one URI"),
    "x_01_no_uri_but_a_dns_name": (Craft(uris=(), names=(x509.DNSName("a.example"),)), "exactly one URI"),
    "x_01_two_spiffe_ids": (Craft(uris=(str(RESEARCHER), "spiffe://cluster.local/ns/a/sa/b")), "exactly one URI"),
    "x_01_the_same_id_twice": (Craft(uris=(str(RESEARCHER),) * 2), "exactly one URI"),
    "x_01_a_second_uri_that_is_not_spiffe": (Craft(uris=(str(RESEARCHER), "https://a.example/")), "exactly one URI"),
    "x_03_x_15_an_id_without_a_path": (uri("spiffe://cluster.local"), "names no agent"),
    "x_05_empty_subject_but_names_not_critical": (Craft(names_critical=False), "must be critical"),
    "x_06_x_15_a_leaf_that_is_a_ca": (Craft(ca=True), "of an authority"),
    "x_08_no_key_usage": (Craft(usage=None), "key usage must be there"),
    "x_08_key_usage_not_critical": (Craft(usage_critical=False), "key usage must be there"),
    "x_09_no_digital_signature": (Craft(usage=usage(key_agreement=True)), "digitalSignature"),
    "x_09_x_15_may_sign_certificates": (Craft(usage=usage(**SIGNS, key_cert_sign=True)), "keyCertSign"),
    "x_09_x_15_may_sign_revocations": (Craft(usage=usage(**SIGNS, crl_sign=True)), "keyCertSign"),
    "x_12_server_only": (Craft(purposes=(ExtendedKeyUsageOID.SERVER_AUTH,)), "both clientAuth"),
    "x_12_client_only": (Craft(purposes=(ExtendedKeyUsageOID.CLIENT_AUTH,)), "both clientAuth"),
    "x_12_any_purpose": (Craft(purposes=(ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE,)), "both clientAuth"),
    "x_13_critical_name_constraints": (Craft(demand=NAME_CONSTRAINTS), "unknown here"),
    "x_15_unknown_critical_extension": (Craft(demand=UNKNOWN), "unknown here"),
    "x_15_id_01_another_scheme": (uri("https://cluster.local/ns/a/sa/b"), "ID-01"),
    "id_02_no_trust_domain": (uri("spiffe:///ns/a/sa/b"), "ID-02"),
    "id_03_query": (uri("spiffe://cluster.local/ns/a/sa/b?x"), "ID-03"),
    "id_04_fragment": (uri("spiffe://cluster.local/ns/a/sa/b#x"), "ID-04"),
    "id_05_user_information": (uri("spiffe://me@cluster.local/ns/a/sa/b"), "ID-05"),
    "id_06_port": (uri("spiffe://cluster.local:443/ns/a/sa/b"), "ID-06"),
    "id_07_upper_case": (uri("spiffe://CLUSTER.local/ns/a/sa/b"), "ID-07"),
    "id_11_percent_encoding": (uri("spiffe://cluster.local/ns/a/sa/%62"), "ID-11"),
    "id_12_empty_segment": (uri("spiffe://cluster.local/ns//sa/b"), "ID-12"),
    "id_13_dot_segments": (uri("spiffe://cluster.local/ns/a/../b/sa/c"), "ID-13"),
    "id_14_trailing_slash": (uri("spiffe://cluster.local/ns/a/sa/b/"), "ID-14"),
    "id_16_too_long": (uri("spiffe://cluster.local/ns/a/sa/" + "b" * 2048), "ID-16"),
    "a_nul_in_the_uri": (uri("spiffe://cluster.local/ns/a/sa/b\0c"), "characters"),
    "a_line_feed_in_the_uri": (uri("spiffe://cluster.local/ns/a/sa/b\n"), "characters"),
    "a_nul_in_a_dns_name": (Craft(names=(x509.DNSName("a\0.pod.cluster.local"),)), "characters"),
    "a_nul_in_a_mail_address": (Craft(raw_names=der_names(OURS, (0x81, b"a\0@b.example"))), "characters"),
    "non_ascii_in_a_dns_name": (Craft(raw_names=der_names(OURS, (0x82, b"\xc3\xa4.example"))), "characters"),
    "non_ascii_in_a_uri": (
        Craft(raw_names=der_names((0x86, b"spiffe://cluster.local/ns/\xc3\xa4/sa/b"))),
        "characters",
    ),
    "names_that_are_not_der": (Craft(raw_names=b"\x30\x05\x86"), "cannot be read"),
    "an_id_of_another_form": (uri("spiffe://cluster.local/somebody"), "names no agent"),
    "two_pods": (
        Craft(names=(x509.DNSName("a.pod.cluster.local"), x509.DNSName("b.pod.cluster.local"))),
        "several pods",
    ),
}


@pytest.mark.parametrize(("craft", "sentence"), INVALID.values(), ids=INVALID)
def test_a_leaf_that_breaks_a_rule_is_no_peer(judge, craft, sentence):
    problem = judge(craft)
    assert isinstance(problem, PeerProblem)
    assert problem.reason == "identity.invalid"
    assert sentence in problem.message


def test_a_certificate_of_x509_version_1_is_no_peer_whatever_extensions_it_has(validator, signing):
    good = Craft().signed_by(signing)
    # Version 1 is what a certificate has that names no version.
    body = good.tbs_certificate_bytes[4:].replace(bytes.fromhex("a003020102"), b"")
    older = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    signature = signing.key.sign(older, ec.ECDSA(hashes.SHA256()))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    bits = bytes([0x03, len(signature) + 1, 0]) + signature
    content = older + algorithm + bits
    der = b"\x30\x82" + len(content).to_bytes(2, "big") + content
    assert "version 3" in validator.validate(as_pem(der), NOW).message


def as_pem(der):
    return quote(f"-----BEGIN CERTIFICATE-----\n{b64encode(der).decode()}\n-----END CERTIFICATE-----\n")


ACCEPTED = {
    "x_02_other_dns_names": Craft(names=(x509.DNSName("a.example"), x509.DNSName("b.example"))),
    "x_02_a_mail_address": Craft(names=(x509.RFC822Name("a@b.example"),)),
    "x_05_a_subject_and_names_not_critical": Craft(subject="researcher", names_critical=False),
    "x_06_no_basic_constraints": Craft(ca=None),
    "x_11_key_encipherment_and_agreement": Craft(usage=usage(**SIGNS, key_encipherment=True, key_agreement=True)),
    "x_12_no_extended_key_usage": Craft(purposes=None),
    "x_12_both_and_another": Craft(
        purposes=(
            ExtendedKeyUsageOID.CLIENT_AUTH,
            ExtendedKeyUsageOID.SERVER_AUTH,
            ExtendedKeyUsageOID.EMAIL_PROTECTION,
        )
    ),
}


@pytest.mark.parametrize("craft", ACCEPTED.values(), ids=ACCEPTED)
def test_what_the_standard_leaves_open_makes_a_peer(judge, craft):
    assert isinstance(judge(craft), Peer)


@pytest.mark.parametrize("name", ["a.example", "a.pod.elsewhere", "a.b.pod.cluster.local", "pod.cluster.local"])
def test_x_02_only_a_name_of_our_own_form_names_a_pod(judge, name):
    assert judge(Craft(names=(x509.DNSName(name),))).pod_uid is None


@pytest.mark.parametrize("which", [0, 1], ids=["root", "signing"])
def test_x_14_the_certificate_of_a_ca_is_no_peer(validator, directory, which):
    problem = validator.validate(as_envoy_sends(cas_of(directory)[which].certificate), NOW)
    assert (problem.reason, "of an authority" in problem.message) == ("identity.invalid", True)


def test_x_15_x_16_a_ca_of_the_same_trust_domain_name_that_is_not_ours_is_untrusted(validator, tmp_path):
    impostor = issued(new_authority(tmp_path))
    assert validator.validate(as_envoy_sends(impostor), NOW).reason == "identity.untrusted"


def test_x_15_a_signature_by_another_key_under_the_name_of_our_ca_is_untrusted(validator, signing, tmp_path):
    new_authority(tmp_path)
    forger = CA(signing.certificate, cas_of(tmp_path)[1].key)
    assert validator.validate(as_envoy_sends(Craft().signed_by(forger)), NOW).reason == "identity.untrusted"


def test_x_15_a_leaf_that_a_leaf_signed_is_untrusted(validator, authority):
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    leaf = x509.load_pem_x509_certificate(svid.chain_pem)
    below = Craft().signed_by(CA(leaf, load_pem_private_key(svid.key_pem, None)))
    assert validator.validate(as_envoy_sends(below), NOW).reason == "identity.untrusted"


def test_x_15_a_leaf_that_the_root_signed_is_untrusted_because_only_signing_cas_sign_leaves(validator, directory):
    leaf = Craft().signed_by(cas_of(directory)[0])
    assert validator.validate(as_envoy_sends(leaf), NOW).reason == "identity.untrusted"


def test_id_19_an_id_of_another_trust_domain_is_foreign_even_if_our_ca_signed_it(judge):
    assert judge(uri("spiffe://elsewhere/ns/a/sa/b")).reason == "identity.foreign"


def test_x_16_an_svid_of_another_trust_domain_is_foreign(validator, tmp_path):
    elsewhere = cas_of_new(tmp_path, TrustDomain("elsewhere"))
    leaf = uri("spiffe://elsewhere/ns/a/sa/b").signed_by(elsewhere)
    assert validator.validate(as_envoy_sends(leaf), NOW).reason == "identity.foreign"


def cas_of_new(directory, trust_domain):
    new_authority(directory, trust_domain)
    return cas_of(directory)[1]


def test_x_04_x_16_signing_cas_of_another_trust_domain_cannot_be_given_to_a_validator(tmp_path):
    elsewhere = new_authority(tmp_path, TrustDomain("elsewhere"))
    with pytest.raises(UnusableIssuers, match=r"no signing CA of trust domain cluster\.local"):
        PeerValidator(DEFAULT_TRUST_DOMAIN, elsewhere.issuers_pem())


OF_DOMAIN = ("spiffe://cluster.local",)
SIGNING = usage(key_cert_sign=True)


def test_a_crafted_signing_ca_that_breaks_no_rule_can_be_given_to_a_validator(signing):
    pem = Craft(uris=OF_DOMAIN, ca=True, usage=SIGNING).signed_by(signing).public_bytes(Encoding.PEM)
    assert PeerValidator(DEFAULT_TRUST_DOMAIN, pem)


@pytest.mark.parametrize(
    "craft",
    [
        Craft(uris=OF_DOMAIN, ca=False, usage=SIGNING),
        Craft(uris=OF_DOMAIN, ca=None, usage=SIGNING),
        Craft(uris=OF_DOMAIN, ca=True),
        Craft(uris=OF_DOMAIN, ca=True, usage=None),
        Craft(ca=True, usage=SIGNING),
        Craft(uris=(*OF_DOMAIN, "spiffe://elsewhere"), ca=True, usage=SIGNING),
    ],
    ids=["x_06_no_ca", "x_06_unsaid", "x_10_no_key_cert_sign", "x_08_no_key_usage", "x_04_with_a_path", "x_01_two_ids"],
)
def test_what_is_no_signing_ca_cannot_be_given_to_a_validator(signing, craft):
    pem = craft.signed_by(signing).public_bytes(Encoding.PEM)
    with pytest.raises(UnusableIssuers):
        PeerValidator(DEFAULT_TRUST_DOMAIN, pem)


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_signing_cas_that_cannot_be_read_cannot_be_given_to_a_validator(pem):
    with pytest.raises(UnusableIssuers, match="cannot be read"):
        PeerValidator(DEFAULT_TRUST_DOMAIN, pem)


def test_no_certificate_is_missing_and_not_invalid(validator):
    assert validator.validate("", NOW).reason == "identity.missing"


def test_a_certificate_is_valid_through_its_last_second_and_not_after_it(judge):
    end = NOW + HOUR - NOW % 1000
    assert isinstance(judge(Craft(), end), Peer)
    assert judge(Craft(), end + 1).reason == "identity.expired"


def test_a_certificate_is_not_valid_before_its_first_second(judge):
    start = NOW - MINUTE - NOW % 1000
    assert isinstance(judge(Craft(), start), Peer)
    assert judge(Craft(), start - 1).reason == "identity.not_yet_valid"


def test_a_certificate_expires_also_when_it_was_accepted_before(authority, validator):
    sent = as_envoy_sends(issued(authority))
    assert isinstance(validator.validate(sent, NOW), Peer)
    assert validator.validate(sent, NOW + HOUR + 1000).reason == "identity.expired"
    assert isinstance(validator.validate(sent, NOW), Peer)


def test_a_leaf_that_would_outlive_its_signing_ca_ends_with_it(judge):
    eternal = Craft(not_before=NOW - 48 * HOUR, not_after=NOW + 48 * HOUR)
    assert isinstance(judge(eternal, NOW + 23 * HOUR), Peer)
    assert judge(eternal, NOW + 25 * HOUR).reason == "identity.expired"
    assert judge(eternal, NOW - HOUR).reason == "identity.not_yet_valid"


def test_what_was_accepted_is_forgotten_when_its_signing_ca_is_dropped(authority, tmp_path):
    leaf = as_envoy_sends(issued(authority))
    before = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem())
    assert isinstance(before.validate(leaf, NOW), Peer)
    after = before.with_issuers(new_authority(tmp_path).issuers_pem())
    assert after.validate(leaf, NOW).reason == "identity.untrusted"


def test_the_same_signing_cas_keep_the_validator_and_what_it_remembers(authority, validator):
    assert validator.with_issuers(authority.issuers_pem()) is validator


def test_memory_is_bounded_and_keeps_what_was_used_last(authority):
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem(), remembered=2)
    a, b, c = (as_envoy_sends(issued(authority)) for _ in range(3))
    for sent in (a, b, a, c):
        assert isinstance(validator.validate(sent, NOW), Peer)
    remembered = {known.peer.serial for known in validator._known.values()}
    assert remembered == {validator.validate(sent, NOW).serial for sent in (a, c)}


def test_made_up_certificates_never_enter_the_memory(authority, tmp_path):
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem(), remembered=2)
    stranger = new_authority(tmp_path)
    for _ in range(5):
        validator.validate(as_envoy_sends(issued(stranger)), NOW)
    assert len(validator._known) == 0


def test_threads_share_a_validator(authority):
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem(), remembered=3)
    leaves = [as_envoy_sends(issued(authority)) for _ in range(6)]
    outcomes = []

    def call():
        outcomes.extend(isinstance(validator.validate(leaf, NOW), Peer) for _ in range(40) for leaf in leaves)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [True] * 4 * 40 * 6


HOSTILE = {
    "words": "not a certificate",
    "broken_escapes": "%zz%",
    "a_lone_surrogate": "\ud800",
    "a_nul": "\0",
    "an_empty_block": quote("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
    "another_kind_of_block": quote("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"),
}


@pytest.mark.parametrize("sent", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_certificate_is_invalid(validator, sent):
    assert validator.validate(sent, NOW).reason == "identity.invalid"


def test_what_is_too_long_to_be_one_certificate_is_not_even_read(authority, validator):
    padded = as_envoy_sends(issued(authority)) + "%0A" * 20_000
    assert "too long" in validator.validate(padded, NOW).message


def test_two_certificates_where_one_belongs_are_invalid(authority, validator):
    sent = as_envoy_sends(issued(authority))
    assert validator.validate(sent + sent, NOW).reason == "identity.invalid"


@given(text=st.text())
def test_no_text_makes_the_validator_raise(validator, text):
    assert isinstance(validator.validate(text, NOW), PeerProblem)


@pytest.fixture(scope="module")
def good(authority):
    return issued(authority).public_bytes(Encoding.DER)


@given(data=st.data())
def test_no_changed_byte_makes_a_peer_or_makes_the_validator_raise(validator, good, data):
    der = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    assert isinstance(validator.validate(as_pem(der), NOW), PeerProblem) is (bytes(der) != good)


def test_a_problem_never_quotes_more_of_a_certificate_than_its_id(judge):
    problem = judge(Craft(uris=("spiffe://cluster.local/x\x07" + "y" * 500,)))
    assert "\x07" not in problem.message
    assert len(problem.message) < 400
