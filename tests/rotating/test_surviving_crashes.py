"""A power loss at any step of any write leaves an authority that loads and knows every leaf it issued."""

import shutil
from itertools import count

import pytest

from identity.crafting import HOUR, MINUTE, NOW, as_envoy_sends, issued, new_authority
from rotating.dying_disk import DyingDisk, PowerLoss
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway_extauthz.peer import Peer, PeerValidator
from tollway_operator.authority.authority import STATE_FILE, Authority


def every_crash(action):
    """Call `action(disk)` with a disk that dies one step later each time, until it does not die any more."""
    for steps in count():
        disk = DyingDisk(steps)
        try:
            action(disk)
        except PowerLoss:
            yield steps
        else:
            assert steps >= 5
            return


def test_a_crash_while_it_is_made_leaves_nothing_or_a_whole_authority(tmp_path):
    for steps in every_crash(lambda disk: load(tmp_path / str(disk.steps), NOW, disk)):
        directory = tmp_path / str(steps)
        was_written = (directory / STATE_FILE).exists()
        before = (directory / STATE_FILE).read_bytes() if was_written else None
        authority = load(directory, NOW)
        assert is_known(authority, issued(authority), NOW)
        assert before in (None, (directory / STATE_FILE).read_bytes())


ROTATIONS = {
    "prepare": (13 * HOUR, 13 * HOUR),
    "activate": (21 * HOUR, 19 * HOUR),
    "replace one that is too short-lived": (24 * HOUR - 5 * MINUTE, 20 * HOUR),
    "replace one that has expired": (25 * HOUR, 19 * HOUR),
    "replace and forget": (60 * HOUR, 19 * HOUR),
}
"""When it rotates, and when it issued a leaf for four hours before."""


@pytest.mark.parametrize(("due", "issued_at"), ROTATIONS.values(), ids=ROTATIONS)
def test_a_crash_at_any_step_of_a_rotation_leaves_an_authority_that_knows_every_leaf(tmp_path, due, issued_at):
    origin, copies = tmp_path / "origin", tmp_path / "copies"
    authority = new_authority(origin)
    if due == 21 * HOUR:
        authority.rotate(NOW + 13 * HOUR)
    leaf = issued(authority, now=NOW + issued_at, ttl_ms=4 * HOUR)
    for steps in every_crash(lambda disk: rotate_copy(origin, copies, due, disk)):
        survivor = load(copies / str(steps), NOW + due)
        assert not survivor.rotate(NOW + due)
        assert is_known(survivor, issued(survivor, now=NOW + due), NOW + due)
        assert is_known(survivor, leaf, NOW + due) is (due < issued_at + 4 * HOUR)
        assert [file.name for file in (copies / str(steps)).iterdir()] == [STATE_FILE]


def rotate_copy(origin, copies, due, disk):
    directory = copies / str(disk.steps)
    shutil.copytree(origin, directory)
    authority = load(directory, NOW, disk)
    before = authority.issuers_pem()
    try:
        assert authority.rotate(NOW + due)
    except PowerLoss:
        # What is not written is not used either.
        assert authority.issuers_pem() == before
        raise


def load(directory, now, disk=None):
    options = {"operations": disk} if disk else {}
    return Authority.load_or_create(directory, DEFAULT_TRUST_DOMAIN, now, **options)


def is_known(authority, leaf, now):
    validator = PeerValidator(DEFAULT_TRUST_DOMAIN, authority.issuers_pem())
    return isinstance(validator.validate(as_envoy_sends(leaf), now), Peer)
