"""Which roots a user may bring: one that a peer would refuse is refused before anything is signed with it."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption
from cryptography.x509 import verification

from identity.crafting import HOUR, NOW, RESEARCHER, as_envoy_sends, usage
from identity.roots import A_CA, NAME, pem_of, self_signed
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain
from tollway.resources.models import KeyType
from tollway_extauthz.peer import Peer, PeerValidator
from tollway_operator.authority.authority import STATE_FILE, Authority, CannotSign
from tollway_operator.authority.root import BroughtRoot, UnusableRoot
from tollway_operator.authority.state import UnreadableState


def bring(directory, brought, now=NOW):
    return Authority.load_or_create(directory, DEFAULT_TRUST_DOMAIN, now, brought)


USABLE = {
    "ecdsa_p256": {},
    "ecdsa_p384": {"key": ec.generate_private_key(ec.SECP384R1())},
    "rsa_2048": {"key": rsa.generate_private_key(65537, 2048)},
    "path_length_1": {"constraints": (x509.BasicConstraints(ca=True, path_length=1), True)},
    "x_04_with_the_id_of_the_trust_domain": {"uris": ["spiffe://cluster.local"]},
    "x_10_without_crl_sign": {"key_usage": (usage(key_cert_sign=True), True)},
}


@pytest.mark.parametrize("options", USABLE.values(), ids=USABLE)
def test_leaves_under_a_usable_root_verify_against_it_and_make_peers(tmp_path, options):
    root, brought = self_signed(**options)
    authority = bring(tmp_path, brought)
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    leaf, issuer = x509.load_pem_x509_certificates(svid.chain_pem)
    issuer.verify_directly_issued_by(root)
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem())
    assert isinstance(validator.validate(as_envoy_sends(leaf), NOW), Peer)


def test_a_root_with_key_identifiers_satisfies_an_independent_verifier(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    root, brought = self_signed(key=key)
    svid = bring(tmp_path, brought).issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    leaf, *intermediates = x509.load_pem_x509_certificates(svid.chain_pem)
    builder = verification.PolicyBuilder().store(verification.Store([root]))
    verifier = builder.time(datetime.fromtimestamp(NOW / 1000, UTC)).build_client_verifier()
    assert verifier.verify(leaf, intermediates).chain[-1] == root


NOT_CRITICAL = (usage(key_cert_sign=True), False)
CONSTRAINED = x509.NameConstraints([x509.UniformResourceIdentifier(".local")], None)
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
UNUSABLE = {
    "no_extensions": ({"constraints": None, "key_usage": None}, "version 3"),
    "x_06_no_ca": ({"constraints": (x509.BasicConstraints(ca=False, path_length=None), True)}, "basic constraints"),
    "x_06_no_basic_constraints": ({"constraints": None}, "basic constraints"),
    "basic_constraints_not_critical": ({"constraints": (A_CA, False)}, "basic constraints"),
    "x_07_path_length_0": ({"constraints": (x509.BasicConstraints(ca=True, path_length=0), True)}, "path length"),
    "x_08_no_key_usage": ({"key_usage": None}, "key usage"),
    "x_08_key_usage_not_critical": ({"key_usage": NOT_CRITICAL}, "key usage"),
    "x_10_no_key_cert_sign": ({"key_usage": (usage(digital_signature=True), True)}, "keyCertSign"),
    "x_13_name_constraints": ({"demand": CONSTRAINED}, "name constraints"),
    "unknown_critical_extension": ({"demand": UNKNOWN}, "unknown"),
    "x_04_id_with_a_path": ({"uris": ["spiffe://cluster.local/ca"]}, "spiffe://cluster.local"),
    "x_04_id_of_another_trust_domain": ({"uris": ["spiffe://elsewhere"]}, "spiffe://cluster.local"),
    "two_ids": ({"uris": ["spiffe://cluster.local", "spiffe://elsewhere"]}, "spiffe://cluster.local"),
    "empty_subject": ({"subject": x509.Name([])}, "subject is empty"),
    "p521": ({"key": ec.generate_private_key(ec.SECP521R1())}, "P-256 or P-384"),
    "rsa_1024": ({"key": rsa.generate_private_key(65537, 1024)}, "2048 bits"),
    "signed_by_another_key": ({"signing_key": ec.generate_private_key(ec.SECP256R1())}, "self-signed"),
    "issued_by_another_name": ({"issuer": x509.Name([*NAME, *NAME])}, "self-signed"),
    "expired": ({"not_after": NOW - 1000}, "valid from"),
    "not_yet_valid": ({"not_before": NOW + HOUR}, "valid from"),
}


@pytest.mark.parametrize(("options", "sentence"), UNUSABLE.values(), ids=UNUSABLE)
def test_an_unusable_root_is_refused_with_the_reason_and_nothing_is_written(tmp_path, options, sentence):
    _, brought = self_signed(**options)
    with pytest.raises(UnusableRoot) as refused:
        bring(tmp_path, brought)
    assert sentence in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_belongs_to_another_certificate_is_refused(tmp_path):
    (_, one), (_, other) = self_signed(), self_signed()
    with pytest.raises(UnusableRoot, match="does not belong"):
        bring(tmp_path, BroughtRoot(one.certificate, other.key))


GOOD_CERTIFICATE, GOOD = self_signed()
KEY = ec.generate_private_key(ec.SECP256R1())
UNREADABLE = {
    "no_certificate": (BroughtRoot(b"", GOOD.key), "not PEM"),
    "no_pem_certificate": (BroughtRoot(b"abc", GOOD.key), "not PEM"),
    "two_certificates": (BroughtRoot(GOOD.certificate * 2, GOOD.key), "exactly one"),
    "no_key": (BroughtRoot(GOOD.certificate, b""), "not a PEM private key"),
    "no_pem_key": (BroughtRoot(GOOD.certificate, b"secret"), "not a PEM private key"),
    "encrypted_key": (BroughtRoot(GOOD.certificate, pem_of(KEY, BestAvailableEncryption(b"pw"))), "encrypted"),
    "ed25519_key": (BroughtRoot(GOOD.certificate, pem_of(ed25519.Ed25519PrivateKey.generate())), "ECDSA"),
}


@pytest.mark.parametrize(("brought", "sentence"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_root_that_cannot_be_read_is_refused_without_showing_its_key(tmp_path, brought, sentence):
    with pytest.raises(UnusableRoot, match=sentence) as refused:
        bring(tmp_path, brought)
    assert "secret" not in f"{refused.value!r}{refused.value.__cause__!r}"
    assert "BEGIN" not in repr(brought) or "PRIVATE" not in repr(brought)


def test_the_same_root_may_be_brought_again(tmp_path):
    issuers = bring(tmp_path, GOOD).issuers_pem()
    assert bring(tmp_path, GOOD).issuers_pem() == issuers


def test_another_root_than_the_one_in_use_is_refused_and_changes_nothing(tmp_path):
    bring(tmp_path, GOOD)
    before = (tmp_path / STATE_FILE).read_bytes()
    with pytest.raises(UnusableRoot, match="has another root already"):
        bring(tmp_path, self_signed()[1])
    assert (tmp_path / STATE_FILE).read_bytes() == before


def test_a_root_that_is_about_to_expire_signs_nothing_and_the_error_says_what_to_do(tmp_path):
    _, brought = self_signed(not_after=NOW + 5 * 60_000)
    with pytest.raises(CannotSign, match="bring a new root"):
        bring(tmp_path, brought)


def test_the_state_of_another_trust_domain_is_not_taken_over(tmp_path):
    bring(tmp_path, None)
    with pytest.raises(UnreadableState, match=r"trust domain cluster\.local, not of elsewhere"):
        Authority.load_or_create(tmp_path, TrustDomain("elsewhere"), NOW)
