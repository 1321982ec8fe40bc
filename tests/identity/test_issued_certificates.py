"""What the authority issues obeys X509-SVID.md, line by line."""

import re
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import verification

from identity.crafting import BOTH, HOUR, MINUTE, NOW, RESEARCHER, cas_of, issued, new_authority
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, SPIFFEID, TrustDomain, parse_spiffe_id
from tollway.resources.models import KeyType


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def authority(directory):
    return new_authority(directory)


@pytest.fixture(scope="module")
def leaf(authority):
    return issued(authority)


@pytest.fixture(scope="module", params=["root", "signing"])
def ca(request, authority, directory):
    root, signing = cas_of(directory)
    return root.certificate if request.param == "root" else signing.certificate


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


def uris(certificate):
    return extension(certificate, x509.SubjectAlternativeName).value.get_values_for_type(x509.UniformResourceIdentifier)


def test_x_01_a_leaf_has_exactly_one_uri_and_that_is_its_spiffe_id(leaf):
    assert uris(leaf) == [str(RESEARCHER)]


def test_x_02_a_leaf_for_a_pod_names_it_beside_its_spiffe_id(authority):
    leaf = issued(authority, pod_uid="0b5c4a1e-0000-4000-8000-3f9c5a1d2e3f")
    names = extension(leaf, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["0b5c4a1e-0000-4000-8000-3f9c5a1d2e3f.pod.cluster.local"]
    assert uris(leaf) == [str(RESEARCHER)]


@pytest.mark.parametrize("uid", ["", "A", "a.b", "*", "a" * 64, "-a", "a\0"])
def test_x_02_what_is_not_the_uid_of_a_pod_never_becomes_a_name(authority, uid):
    with pytest.raises(ValueError, match="UID"):
        issued(authority, pod_uid=uid)


def test_x_03_an_id_without_a_path_is_never_issued(authority):
    with pytest.raises(ValueError, match="not an ID of an agent"):
        authority.issue(SPIFFEID(DEFAULT_TRUST_DOMAIN), KeyType.ECDSA_P256, HOUR, NOW)


def test_x_04_the_ids_of_root_and_signing_ca_are_that_of_the_trust_domain_without_a_path(ca):
    assert uris(ca) == ["spiffe://cluster.local"]


def test_x_05_the_subject_of_a_leaf_is_empty_so_its_names_are_critical(leaf):
    assert list(leaf.subject) == []
    assert extension(leaf, x509.SubjectAlternativeName).critical


def test_x_06_a_leaf_is_no_ca(leaf):
    assert extension(leaf, x509.BasicConstraints).value.ca is False


def test_x_06_root_and_signing_ca_are_cas(ca):
    assert extension(ca, x509.BasicConstraints).value.ca is True
    assert extension(ca, x509.BasicConstraints).critical


def test_x_07_below_a_signing_ca_there_are_only_leaves(authority, directory):
    assert extension(cas_of(directory)[1].certificate, x509.BasicConstraints).value.path_length == 0


def test_x_08_key_usage_is_there_and_critical(leaf, ca):
    assert extension(leaf, x509.KeyUsage).critical
    assert extension(ca, x509.KeyUsage).critical


USAGES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
USAGES += ("key_cert_sign", "crl_sign")


def used(certificate):
    usage = extension(certificate, x509.KeyUsage).value
    return {name for name in USAGES if getattr(usage, name)}


def test_x_09_x_11_a_leaf_signs_handshakes_and_nothing_else(leaf):
    assert used(leaf) == {"digital_signature"}


def test_x_10_root_and_signing_ca_sign_certificates(ca):
    assert used(ca) == {"key_cert_sign"}


def test_x_12_a_leaf_is_for_both_ends_of_a_connection(leaf):
    assert set(extension(leaf, x509.ExtendedKeyUsage).value) == set(BOTH)


def test_x_13_there_are_no_name_constraints(leaf, ca):
    for certificate in (leaf, ca):
        assert x509.NameConstraints.oid not in {each.oid for each in certificate.extensions}


def test_x_15_the_path_from_leaf_to_root_is_valid_for_an_independent_verifier(authority, directory):
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    leaf, *intermediates = x509.load_pem_x509_certificates(svid.chain_pem)
    store = verification.Store([cas_of(directory)[0].certificate])
    moment = datetime.fromtimestamp(NOW / 1000, UTC)
    verifier = verification.PolicyBuilder().store(store).time(moment).build_client_verifier()
    verified = verifier.verify(leaf, intermediates)
    assert [name.value for name in verified.subjects or []] == [str(RESEARCHER)]


def test_id_19_an_id_of_another_trust_domain_is_never_issued(authority):
    with pytest.raises(ValueError, match="not of trust domain"):
        authority.issue(parse_spiffe_id("spiffe://elsewhere/ns/a/sa/b"), KeyType.ECDSA_P256, HOUR, NOW)


def test_the_chain_is_the_leaf_and_its_signing_ca_and_the_key_is_the_leafs(authority, directory):
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    leaf, issuer = x509.load_pem_x509_certificates(svid.chain_pem)
    assert issuer == cas_of(directory)[1].certificate
    assert svid.key_pem.startswith(b"-----BEGIN PRIVATE KEY-----")
    assert load_pem_private_key(svid.key_pem, None).public_key() == leaf.public_key()
    assert leaf.serial_number == svid.serial


def test_the_private_key_does_not_show_when_an_svid_is_printed(authority):
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    assert "PRIVATE" not in repr(svid)


@pytest.mark.parametrize(
    ("key_type", "curve"), [(KeyType.ECDSA_P256, ec.SECP256R1), (KeyType.ECDSA_P384, ec.SECP384R1)]
)
def test_a_key_is_on_the_curve_that_was_asked_for(authority, key_type, curve):
    assert isinstance(issued(authority, key_type).public_key().curve, curve)


def test_a_workloads_own_key_can_be_signed(authority):
    key = ec.generate_private_key(ec.SECP384R1()).public_key()
    signed = authority.sign(key, RESEARCHER, HOUR, NOW)
    assert x509.load_pem_x509_certificate(signed.chain_pem).public_key() == key


def test_a_key_on_another_curve_is_not_signed(authority):
    with pytest.raises(ValueError, match="secp521r1"):
        authority.sign(ec.generate_private_key(ec.SECP521R1()).public_key(), RESEARCHER, HOUR, NOW)


def test_key_identifiers_lead_from_the_leaf_to_the_root(authority, directory):
    root, signing = (ca.certificate for ca in cas_of(directory))
    for lower, upper in ((issued(authority), signing), (signing, root)):
        named = extension(lower, x509.AuthorityKeyIdentifier).value.key_identifier
        assert named == extension(upper, x509.SubjectKeyIdentifier).value.digest


def test_a_leaf_starts_a_minute_ago_and_ends_when_asked_in_whole_seconds(leaf, authority):
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    assert (svid.not_before, svid.not_after) == (NOW - MINUTE - NOW % 1000, NOW + HOUR - NOW % 1000)
    assert leaf.not_valid_before_utc.timestamp() * 1000 == svid.not_before
    assert leaf.not_valid_after_utc.timestamp() * 1000 == svid.not_after


@pytest.mark.parametrize("ttl_ms", [0, -1, 4 * HOUR + 1])
def test_a_life_beyond_a_sixth_of_the_signing_cas_is_refused(authority, ttl_ms):
    with pytest.raises(ValueError, match="between 1 and 14400000 ms"):
        issued(authority, ttl_ms=ttl_ms)


def test_serial_numbers_are_random(authority):
    serials = {issued(authority).serial_number for _ in range(20)}
    assert len(serials) == 20
    assert min(serials) > 2**100


def test_successive_cas_have_different_names_because_chains_are_built_by_name(authority, directory):
    root, signing = cas_of(directory)
    assert root.certificate.subject != signing.certificate.subject
    assert re.search("[0-9a-f]{30}", signing.certificate.subject.rfc4514_string())


def test_another_trust_domain_is_named_in_all_its_certificates(tmp_path):
    authority = new_authority(tmp_path, TrustDomain("prod.example"))
    assert [uris(ca.certificate) for ca in cas_of(tmp_path)] == [["spiffe://prod.example"]] * 2
    assert authority.trust_domain == TrustDomain("prod.example")
