"""Two slots over days: whatever the clock does, somebody signs, and everybody who checks knows who."""

import json
import stat
from dataclasses import dataclass, field

import pytest
from cryptography import x509
from hypothesis import given, settings
from hypothesis import strategies as st

from identity.crafting import HOUR, MINUTE, NOW, RESEARCHER, as_envoy_sends, cas_of, issued, new_authority
from identity.roots import self_signed
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway.resources.models import KeyType
from tollway_extauthz.peer import Peer, PeerValidator
from tollway_operator.authority.authority import STATE_FILE, Authority, CannotSign
from tollway_operator.authority.certificates import validity_of
from tollway_operator.authority.state import UnreadableState

DAY = 24 * HOUR


@dataclass
class Installation:
    """An authority, a gateway that learns of its signing CAs, and every leaf that is still valid."""

    authority: Authority
    validator: PeerValidator
    leaves: list[tuple[x509.Certificate, int, int]] = field(default_factory=list)
    signers: list[x509.Name] = field(default_factory=list)

    def tick(self, now: int, ttl_ms: int = 4 * HOUR) -> None:
        rotated = self.authority.rotate(now)
        assert rotated == (self.authority.issuers_pem() != self.validator._issuers_pem)
        self.validator = self.validator.with_issuers(self.authority.issuers_pem())
        self._issue(now, ttl_ms)
        self.leaves = [leaf for leaf in self.leaves if now <= leaf[2]]
        for leaf, start, _ in self.leaves:
            assert start > now or isinstance(self.validator.validate(as_envoy_sends(leaf), now), Peer)

    def _issue(self, now: int, ttl_ms: int) -> None:
        svid = self.authority.issue(RESEARCHER, KeyType.ECDSA_P256, ttl_ms, now)
        leaf, issuer = x509.load_pem_x509_certificates(svid.chain_pem)
        assert validity_of(issuer).not_before <= svid.not_before <= now < svid.not_after
        assert svid.not_after <= validity_of(issuer).not_after
        self.leaves.append((leaf, svid.not_before, svid.not_after))
        if issuer.subject not in self.signers:
            self.signers.append(issuer.subject)


def start(directory):
    authority = new_authority(directory)
    return Installation(authority, PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem()))


def test_over_four_days_somebody_always_signs_and_every_live_leaf_is_known(tmp_path):
    installation = start(tmp_path)
    for now in range(NOW, NOW + 4 * DAY, 17 * MINUTE):
        installation.tick(now)
    # The first signs for 20 h, its successors 12 h each: they were prepared 8 h before.
    assert len(installation.signers) == 1 + (4 * 24 - 20 + 11) // 12


def test_no_leaf_of_full_length_is_ever_cut_short_by_rotation(tmp_path):
    authority = new_authority(tmp_path)
    for now in range(NOW, NOW + 3 * DAY, 10 * MINUTE):
        authority.rotate(now)
        svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, now)
        assert svid.not_after == now + HOUR - now % 1000


def test_a_successor_is_published_eight_hours_before_it_signs(tmp_path):
    authority = new_authority(tmp_path)
    published = {}
    for now in range(NOW, NOW + 3 * DAY, 10 * MINUTE):
        authority.rotate(now)
        for certificate in x509.load_pem_x509_certificates(authority.issuers_pem()):
            published.setdefault(certificate.subject, now)
        signer = cas_of(tmp_path)[1].certificate.subject
        assert published[signer] == NOW or now - published[signer] >= 7 * HOUR + 50 * MINUTE


def test_nothing_is_rotated_and_nothing_written_while_nothing_is_due(tmp_path):
    authority = new_authority(tmp_path)
    before = (tmp_path / STATE_FILE).stat().st_mtime_ns
    assert not any(authority.rotate(now) for now in range(NOW, NOW + 11 * HOUR, HOUR))
    assert (tmp_path / STATE_FILE).stat().st_mtime_ns == before


def test_retired_cas_disappear_once_they_have_expired(tmp_path):
    authority = new_authority(tmp_path)
    for now in range(NOW, NOW + 10 * DAY, HOUR):
        authority.rotate(now)
        assert len(x509.load_pem_x509_certificates(authority.issuers_pem())) <= 3


@settings(max_examples=25, deadline=None)
@given(gaps=st.lists(st.integers(0, 30 * HOUR), max_size=12))
def test_an_operator_that_sleeps_however_long_signs_at_once_when_it_is_back(tmp_path_factory, gaps):
    installation, now = start(tmp_path_factory.mktemp("sleep")), NOW
    for gap in gaps:
        now += gap
        installation.tick(now, HOUR)


@settings(max_examples=25, deadline=None)
@given(jumps=st.lists(st.integers(-6 * HOUR, 6 * HOUR), max_size=12))
def test_R12_a_clock_that_jumps_either_way_never_stops_signing_nor_makes_a_leaf_outlive_its_issuer(
    tmp_path_factory, jumps
):
    installation, now = start(tmp_path_factory.mktemp("jump")), NOW
    for jump in jumps:
        now = max(now + jump, NOW - 20 * HOUR)
        installation.tick(now, HOUR)


def test_an_authority_that_was_not_rotated_in_time_refuses_to_sign(tmp_path):
    authority = new_authority(tmp_path)
    with pytest.raises(CannotSign, match="rotate"):
        issued(authority, now=NOW + DAY)


def test_loading_after_a_long_time_rotates_at_once(tmp_path):
    new_authority(tmp_path)
    later = NOW + 5 * DAY
    assert issued(new_authority(tmp_path, now=later), now=later)


def test_a_loaded_authority_goes_on_where_the_other_stopped(tmp_path):
    first = new_authority(tmp_path)
    first.rotate(NOW + 13 * HOUR)
    second = new_authority(tmp_path, now=NOW + 13 * HOUR)
    assert second.issuers_pem() == first.issuers_pem()
    assert second.trust_bundle() == first.trust_bundle()


def test_r09_when_the_root_has_expired_nothing_is_signed_and_the_error_says_what_to_do(tmp_path):
    _, brought = self_signed(not_after=NOW + 30 * HOUR)
    authority = Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought)
    for now in range(NOW, NOW + 29 * HOUR, HOUR):
        authority.rotate(now)
        assert authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, now).not_after <= NOW + 30 * HOUR
    with pytest.raises(CannotSign, match="bring a new root"):
        authority.rotate(NOW + 30 * HOUR)


def test_near_the_end_of_its_root_an_authority_does_not_make_ever_more_cas(tmp_path):
    _, brought = self_signed(not_after=NOW + 30 * HOUR)
    authority = Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought)
    rotations = sum(authority.rotate(now) for now in range(NOW, NOW + 30 * HOUR - 15 * MINUTE, MINUTE))
    # Prepared, activated, the first one forgotten.
    assert rotations == 3


def test_the_state_is_for_its_owner_only(tmp_path):
    directory = tmp_path / "state"
    new_authority(directory)
    assert stat.S_IMODE((directory / STATE_FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "spoil",
    [lambda _: b"", lambda data: data[: len(data) // 2], lambda data: data.replace(b'"version":1', b'"version":2')],
    ids=["empty", "half", "of another version"],
)
def test_a_damaged_state_is_reported_never_replaced_and_never_quoted(tmp_path, spoil):
    new_authority(tmp_path)
    file = tmp_path / STATE_FILE
    file.write_bytes(spoil(file.read_bytes()))
    damaged = file.read_bytes()
    with pytest.raises(UnreadableState, match="backup") as refused:
        new_authority(tmp_path)
    assert str(file) in str(refused.value)
    assert "BEGIN" not in str(refused.value)
    assert file.read_bytes() == damaged


def test_a_key_of_another_ca_in_the_state_is_noticed(tmp_path):
    new_authority(tmp_path / "a")
    new_authority(tmp_path / "b")
    a, b = (json.loads((tmp_path / name / STATE_FILE).read_bytes()) for name in "ab")
    a["active"]["key"] = b["active"]["key"]
    (tmp_path / "a" / STATE_FILE).write_text(json.dumps(a))
    with pytest.raises(UnreadableState):
        new_authority(tmp_path / "a")
