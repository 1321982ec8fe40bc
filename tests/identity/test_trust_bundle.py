"""The trust bundle as SPIFFE_Trust_Domain_and_Bundle.md §4 asks, line by line."""

import json
from base64 import b64decode, urlsafe_b64decode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from identity.crafting import HOUR, NOW, cas_of, new_authority
from identity.roots import self_signed
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.bundle import bundle_map


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("authority")


@pytest.fixture(scope="module")
def authority(directory):
    return new_authority(directory)


@pytest.fixture(scope="module")
def bundle(authority):
    return json.loads(authority.trust_bundle())


def unsigned(text):
    return int.from_bytes(urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")


def test_b_01_a_bundle_is_a_jwk_set_with_a_key_for_the_root(bundle):
    assert len(bundle["keys"]) == 1


def test_b_02_the_sequence_is_an_integer_that_stays_while_the_bundle_does(authority, directory, bundle):
    assert isinstance(bundle["spiffe_sequence"], int)
    again = new_authority(directory)
    again.rotate(NOW + 12 * HOUR)
    assert json.loads(again.trust_bundle()) == bundle


def test_b_02_the_sequence_grows_when_an_authority_is_made_anew(tmp_path):
    first = json.loads(new_authority(tmp_path / "a").trust_bundle())
    second = json.loads(new_authority(tmp_path / "b", now=NOW + 1000).trust_bundle())
    assert first["keys"] != second["keys"]
    assert first["spiffe_sequence"] < second["spiffe_sequence"] < 2**63


def test_b_03_the_refresh_hint_is_in_whole_seconds(bundle):
    assert bundle["spiffe_refresh_hint"] == 300


def test_b_05_b_06_a_key_says_its_type_and_its_use(bundle):
    (key,) = bundle["keys"]
    assert (key["kty"], key["use"]) == ("EC", "x509-svid")


def test_b_07_an_x509_key_has_no_kid_and_exactly_one_certificate_which_is_the_root(bundle, directory):
    (key,) = bundle["keys"]
    assert "kid" not in key
    assert [x509.load_der_x509_certificate(b64decode(each)) for each in key["x5c"]] == [
        cas_of(directory)[0].certificate
    ]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()], ids=lambda curve: curve.name)
def test_b_07_the_members_of_an_ec_key_are_those_of_its_certificate(tmp_path, curve):
    root, brought = self_signed(key=ec.generate_private_key(curve))
    (key,) = json.loads(Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought).trust_bundle())["keys"]
    numbers = root.public_key().public_numbers()
    assert (key["crv"], unsigned(key["x"]), unsigned(key["y"])) == (f"P-{curve.key_size}", numbers.x, numbers.y)
    assert len(key["x"]) == len(key["y"]) == {256: 43, 384: 64}[curve.key_size]


def test_b_07_the_members_of_an_rsa_key_are_those_of_its_certificate(tmp_path):
    root, brought = self_signed(key=rsa.generate_private_key(65537, 2048))
    (key,) = json.loads(Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought).trust_bundle())["keys"]
    numbers = root.public_key().public_numbers()
    assert (key["kty"], unsigned(key["n"]), unsigned(key["e"])) == ("RSA", numbers.n, numbers.e)


def test_b_09_the_bundle_map_names_the_trust_domain(authority, bundle):
    assert json.loads(authority.bundle_map()) == {"trust_domains": {"cluster.local": bundle}}


def test_b_09_one_trust_domain_twice_makes_no_map(authority):
    with pytest.raises(ValueError, match="two bundles"):
        bundle_map([authority.bundle(), authority.bundle()])


def test_b_10_bundles_of_several_trust_domains_stand_side_by_side(authority, bundle, tmp_path):
    other = new_authority(tmp_path, TrustDomain("elsewhere"))
    domains = json.loads(bundle_map([authority.bundle(), other.bundle()]))["trust_domains"]
    assert domains == {"cluster.local": bundle, "elsewhere": json.loads(other.trust_bundle())}


def test_no_private_key_is_in_anything_that_is_published(authority):
    published = authority.trust_bundle() + authority.bundle_map() + authority.issuers_pem()
    assert b"PRIVATE" not in published
    assert b'"d"' not in published
