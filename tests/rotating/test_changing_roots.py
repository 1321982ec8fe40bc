"""A change of the root with real certificates: stored, resumed after any crash, and verified by who must verify."""

import json
import shutil

import msgspec
import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from identity.crafting import HOUR, MINUTE, NOW, RESEARCHER, as_envoy_sends, new_authority
from identity.roots import self_signed
from rotating.dying_disk import DyingDisk, PowerLoss
from rotating.test_surviving_crashes import every_crash
from tollway.identity.root_change import (
    DRAIN_MS,
    NO_CHANGE,
    Change,
    Event,
    Observed,
    Phase,
    RefusedCommand,
    Root,
    Sidecar,
    standing,
)
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, gateway_id
from tollway.resources.models import KeyType
from tollway_extauthz.peer import Peer, PeerValidator
from tollway_operator.authority.authority import STATE_FILE, Authority, bundle_of, issuers_of, rotated
from tollway_operator.authority.certificates import is_generated
from tollway_operator.authority.root import ROOT_TTL_MS, UnusableRoot
from tollway_operator.authority.root_changes import advanced, commanded, published, situation_of
from tollway_operator.authority.state import State, UnreadableState, decode, encode

DAY = 24 * HOUR
GATEWAY = gateway_id(DEFAULT_TRUST_DOMAIN)
SILENCE = Observed({"gw-0": None}, {"team-a/one": Sidecar(None)})


def all_follow(state):
    proof = published(state)
    return Observed({"gw-0": proof}, {"team-a/one": Sidecar(proof.bundle)}, {"ConfigMap team-a": proof.bundle})


def follow(state, now):
    return rotated(advanced(state, all_follow(state), now), now)


def obey(command):
    return lambda state, now: rotated(commanded(state, command, all_follow(state), now), now)


ROAD = (
    (Phase.PREPARED, MINUTE, obey(Event.PREPARE)),
    (Phase.TRUSTED, MINUTE, follow),
    (Phase.ACTIVE, 2 * MINUTE, obey(Event.ACTIVATE)),
    (Phase.DRAINING, MINUTE, follow),
    (Phase.REMOVED, DRAIN_MS, follow),
    (Phase.NONE, MINUTE, follow),
)
"""Each phase with what leads to it from the one before, and how long after that."""
BACK = (
    *ROAD[:4],
    (Phase.ROLLING_BACK, HOUR, obey(Event.ABORT)),
    (Phase.NONE, DRAIN_MS, follow),
)


def states(directory, road=ROAD):
    """The state before a step, the phase after, the time, and the step."""
    state, now = new_authority(directory).state, NOW
    for phase, wait, step in road:
        now += wait
        yield state, phase, now, step
        state = step(state, now)
        assert state.change.phase is phase


def reached(directory, phase, road=ROAD):
    """The state in this phase, and the time."""
    for state, after, now, step in states(directory, road):
        if after is phase:
            return step(state, now), now
    raise AssertionError(phase)


def issued(state, spiffe_id, now):
    svid = Authority(state, lambda _: None).issue(spiffe_id, KeyType.ECDSA_P256, HOUR, now)
    return tuple(x509.load_pem_x509_certificates(svid.chain_pem))


def is_trusted(chain, state, now):
    """By an Envoy and an extauthz that run what this state publishes."""
    leaf, issuer = chain
    return any(_has_signed(root, issuer) for root in bundle_of(state).roots) and is_known(leaf, state, now)


def is_known(leaf, state, now):
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, issuers_of(state))
    return isinstance(validator.validate(as_envoy_sends(leaf), now), Peer)


def _has_signed(root, certificate):
    try:
        certificate.verify_directly_issued_by(root)
    except (ValueError, InvalidSignature):
        return False
    return True


# --- the road --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("road", [ROAD, BACK], ids=["to the end", "and back"])
def test_R10_at_every_step_old_and_new_certificates_are_trusted_by_who_stands_before_it_and_after(tmp_path, road):
    for state, _, now, step in states(tmp_path, road):
        after = step(state, now)
        for spiffe_id in (RESEARCHER, GATEWAY):
            old, new = issued(state, spiffe_id, now), issued(after, spiffe_id, now)
            assert is_trusted(old, state, now)
            assert is_trusted(new, after, now)
            assert is_trusted(new, state, now)
            # In the end the last of the old ones has expired: it was issued hours ago.
            assert is_trusted(old, after, now) or after.change.phase in (Phase.REMOVED, Phase.NONE)


def test_R10_what_the_last_step_drops_nobody_holds_any_more(tmp_path):
    draining, began = reached(tmp_path, Phase.DRAINING)
    last = issued(reached(tmp_path / "again", Phase.ACTIVE)[0], GATEWAY, began)
    removed = follow(draining, began + DRAIN_MS)
    assert removed.change.phase is Phase.REMOVED
    assert last[0].not_valid_after_utc.timestamp() * 1000 < began + DRAIN_MS
    assert not set(bundle_of(removed).roots) & {draining.root.certificate}
    assert draining.active.certificate not in x509.load_pem_x509_certificates(issuers_of(removed))


def test_agents_move_to_the_new_root_when_it_is_active_and_the_gateway_one_phase_later(tmp_path):
    first = new_authority(tmp_path).state.root.certificate.subject
    signers = {}
    for state, phase, now, step in states(tmp_path):
        after = step(state, now)
        signers[phase] = [issued(after, whose, now)[1].issuer != first for whose in (RESEARCHER, GATEWAY)]
    assert signers == {
        Phase.PREPARED: [False, False],
        Phase.TRUSTED: [False, False],
        Phase.ACTIVE: [True, False],
        Phase.DRAINING: [True, True],
        Phase.REMOVED: [True, True],
        Phase.NONE: [True, True],
    }


@pytest.mark.parametrize("road", [ROAD, BACK], ids=["to the end", "and back"])
def test_the_bundle_has_another_sequence_exactly_where_its_roots_change(tmp_path, road):
    for state, _, now, step in states(tmp_path, road):
        after = step(state, now)
        assert (after.sequence > state.sequence) == (bundle_of(after).roots != bundle_of(state).roots)
        assert (published(after).bundle == published(state).bundle) == (after.sequence == state.sequence)


def test_R11_an_abort_leads_back_to_the_root_there_was(tmp_path):
    before = new_authority(tmp_path / "x").state
    for phase in (Phase.PREPARED, Phase.TRUSTED):
        state = before
        for _, wait, step in ROAD[: 1 + [each for each, *_ in ROAD].index(phase)]:
            state = step(state, NOW + wait)
        after = commanded(state, Event.ABORT, SILENCE, NOW + MINUTE)
        assert (after.change, after.root, after.active, after.next) == (NO_CHANGE, before.root, before.active, None)


# --- stored ----------------------------------------------------------------------------------------------------------


def fields(state):
    """What is to be equal: keys have no equality of their own."""
    return msgspec.json.decode(encode(state)), state.change


def test_R11_every_phase_survives_being_stored(tmp_path):
    for road in (ROAD, BACK):
        for state, _, now, step in states(tmp_path / str(len(road)), road):
            after = step(state, now)
            assert fields(decode(encode(after))) == fields(after)


def test_a_state_without_a_change_is_stored_as_before_there_were_any(tmp_path):
    directory = tmp_path / "authority"
    authority = new_authority(directory)
    document = json.loads((directory / STATE_FILE).read_bytes())
    assert set(document) == {"version", "trust_domain", "sequence", "root", "active", "prepared", "retired"}
    assert authority.state.change == NO_CHANGE


def test_after_a_change_the_state_is_stored_as_if_there_had_never_been_one(tmp_path):
    state, _ = reached(tmp_path, Phase.NONE)
    assert "change" not in json.loads(encode(state))


DAMAGED = {
    "an unknown phase": lambda change: {**change, "phase": "Halfway"},
    "two roots where there is one": lambda change: {**change, "phase": "Removed"},
    "one root where there are two": lambda change: {**change, "next": None},
    "something unknown": lambda change: {**change, "more": 1},
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_change_is_refused_without_showing_a_key(tmp_path, damage):
    document = json.loads(encode(reached(tmp_path, Phase.ACTIVE)[0]))
    document["change"] = damage(document["change"])
    with pytest.raises(UnreadableState) as refused:
        decode(json.dumps(document).encode())
    assert "PRIVATE" not in str(refused.value)


def test_a_state_with_one_root_cannot_be_made_to_sign_with_two(tmp_path):
    state = new_authority(tmp_path).state
    with pytest.raises(ValueError, match="next root"):
        State(state.trust_domain, 1, state.root, state.active, change=Change(Phase.ACTIVE, NOW))
    with pytest.raises(ValueError, match="next root"):
        state.line(Root.NEXT)


# --- crashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", range(len(ROAD) + 2), ids=[*(each for each, *_ in ROAD), "abort", "rolled back"])
def test_R11_a_crash_at_any_step_of_a_write_leaves_the_phase_before_or_after_and_goes_on(tmp_path, number):
    origin, copies = tmp_path / "origin", tmp_path / "copies"
    road, number = (ROAD, number) if number < len(ROAD) else (BACK, number - 2)
    state, phase, now, step = list(states(origin, road))[number]
    (origin / STATE_FILE).write_bytes(encode(state))
    for steps in every_crash(lambda disk: crash(origin, copies, step, now, disk)):
        survivor = load(copies / str(steps), now)
        assert survivor.state.change.phase in (state.change.phase, phase)
        for spiffe_id in (RESEARCHER, GATEWAY):
            assert is_trusted(issued(survivor.state, spiffe_id, now), state, now)
        if survivor.state.change.phase is not phase:
            assert survivor.become(step(survivor.state, now))
        assert survivor.state.change.phase is phase


def crash(origin, copies, step, now, disk: DyingDisk):
    directory = copies / str(disk.steps)
    shutil.copytree(origin, directory)
    authority = load(directory, now, disk)
    before = authority.state
    try:
        authority.become(step(before, now))
    except PowerLoss:
        # What is not written is not used either.
        assert authority.state is before
        raise


def load(directory, now, disk=None):
    options = {"operations": disk} if disk else {}
    return Authority.load_or_create(directory, DEFAULT_TRUST_DOMAIN, now, **options)


def test_a_command_that_was_done_before_a_crash_may_be_given_again(tmp_path):
    for phase, command in ((Phase.PREPARED, Event.PREPARE), (Phase.ACTIVE, Event.ACTIVATE)):
        state, now = reached(tmp_path / phase, phase)
        assert commanded(state, command, SILENCE, now).next.root == state.next.root


# --- signing CAs -----------------------------------------------------------------------------------------------------


def test_while_a_change_waits_for_days_both_roots_keep_a_signing_ca(tmp_path):
    state, now = reached(tmp_path, Phase.ACTIVE)
    known = issuers_of(state)
    for _ in range(200):
        now += 30 * MINUTE
        state = rotated(advanced(state, SILENCE, now), now)
        for spiffe_id in (RESEARCHER, GATEWAY):
            leaf, issuer = issued(state, spiffe_id, now)
            assert is_known(leaf, state, now)
            # It was published before it signed.
            assert issuer in x509.load_pem_x509_certificates(known)
        known = issuers_of(state)
    assert state.change.phase is Phase.ACTIVE
    assert len({root.subject for root in bundle_of(state).roots}) == 2


def test_a_gateway_that_lacks_a_new_signing_ca_of_the_next_root_takes_trust_back(tmp_path):
    state, now = reached(tmp_path, Phase.TRUSTED)
    proofs = all_follow(state)
    later = now + 13 * HOUR
    after = rotated(state, later)
    assert issuers_of(after) != issuers_of(state)
    assert advanced(after, proofs, later).change.phase is Phase.PREPARED
    with pytest.raises(RefusedCommand, match="gateway gw-0"):
        commanded(after, Event.ACTIVATE, proofs, later)


def test_nothing_due_is_the_same_state(tmp_path):
    state, now = reached(tmp_path, Phase.ACTIVE)
    assert rotated(advanced(state, SILENCE, now), now) is state


# --- the end of a root -----------------------------------------------------------------------------------------------


def test_by_age_alone_and_with_everybody_following_a_root_is_replaced_long_before_its_end(tmp_path):
    state = new_authority(tmp_path).state
    first, now, seen = state.root, NOW, [Phase.NONE]
    while now < first.validity.not_after:
        now += 30 * DAY
        state = rotated(state, now)
        for _ in range(5):
            now += 2 * MINUTE
            state = follow(state, now)
            seen += [state.change.phase] if state.change.phase is not seen[-1] else []
    # Every sidecar has proved already when the new root becomes active: the gateway follows within the same look.
    assert seen == [Phase.NONE, Phase.PREPARED, Phase.TRUSTED, Phase.DRAINING, Phase.REMOVED, Phase.NONE]
    assert state.root.certificate != first.certificate


def test_where_pods_stay_silent_to_the_end_everybody_else_is_served_beyond_it(tmp_path):
    state = new_authority(tmp_path).state
    end = state.root.validity.not_after
    begun = NOW + 5 * 365 * DAY
    for _, wait, step in ROAD[:3]:
        begun += wait
        state = step(rotated(state, begun), begun)
    assert state.change.phase is Phase.ACTIVE
    for now in range(end - 6 * HOUR, end + DAY, 10 * MINUTE):
        state = rotated(advanced(state, SILENCE, now), now)
        for spiffe_id in (RESEARCHER, GATEWAY):
            assert is_trusted(issued(state, spiffe_id, now), state, now)
    assert state.change.phase is Phase.REMOVED
    told = standing(state.change, situation_of(state, SILENCE, end + DAY))
    assert told.is_late
    assert "sidecar team-a/one" in told.message


# --- a root that a user brings ---------------------------------------------------------------------------------------


def test_the_next_root_may_be_brought(tmp_path):
    certificate, brought = self_signed()
    state = commanded(new_authority(tmp_path).state, Event.PREPARE, SILENCE, NOW, brought)
    assert state.next.root.certificate == certificate
    assert list(bundle_of(state).roots) == [state.root.certificate, certificate]
    assert not is_generated(certificate)


def test_a_root_that_is_the_current_one_or_ends_soon_is_not_a_next_one(tmp_path):
    _, brought = self_signed()
    current = Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought).state
    with pytest.raises(UnusableRoot, match="current root already"):
        commanded(current, Event.PREPARE, SILENCE, NOW, brought)
    _, short = self_signed(not_after=NOW + 6 * DAY)
    with pytest.raises(UnusableRoot, match="ends at"):
        commanded(current, Event.PREPARE, SILENCE, NOW, short)


def test_a_brought_root_is_not_replaced_by_age_and_a_generated_one_is(tmp_path):
    _, brought = self_signed()
    theirs = Authority.load_or_create(tmp_path / "theirs", DEFAULT_TRUST_DOMAIN, NOW, brought).state
    assert advanced(theirs, SILENCE, NOW + 360 * DAY) is theirs
    ours = new_authority(tmp_path / "ours").state
    assert is_generated(ours.root.certificate)
    assert advanced(ours, SILENCE, NOW + ROOT_TTL_MS * 9 // 10).change.phase is Phase.PREPARED


def test_during_a_change_the_directory_opens_with_either_root(tmp_path):
    _, brought = self_signed()
    authority = new_authority(tmp_path)
    authority.become(commanded(authority.state, Event.PREPARE, SILENCE, NOW, brought))
    assert Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, NOW, brought).state.change.phase is Phase.PREPARED


def test_a_key_of_a_root_that_is_gone_is_not_stored_any_more(tmp_path):
    state, _ = reached(tmp_path, Phase.REMOVED)
    document = encode(state).decode()
    assert document.count("BEGIN PRIVATE KEY") == 2 + (state.prepared is not None)
    assert json.loads(document)["change"] == {"phase": "Removed", "since": state.change.since, "next": None}
