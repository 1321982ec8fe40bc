"""A directory of files changes as a whole: a reader sees all old or all new ones, also after a power loss."""

import shutil
import stat
from itertools import count

import pytest

from identity.crafting import HOUR, NOW, RESEARCHER, new_authority
from rotating.dying_disk import DyingDisk, PowerLoss
from tollway.resources.models import KeyType
from tollway_files.atomic import swap, write_file
from tollway_operator.authority.svid_files import svid_files

OLD = {"tls.crt": b"certificate 1", "tls.key": b"key 1"}
NEW = {"tls.crt": b"certificate 2", "tls.key": b"key 2", "bundle.json": b"{}"}
FEWER = {"tls.key": b"key 3"}


def seen(directory):
    """What a reader finds under the stable names."""
    names = [path for path in directory.iterdir() if not path.name.startswith("..")] if directory.exists() else []
    return {path.name: path.read_bytes() for path in names if path.exists()}


def test_a_reader_sees_the_files_under_their_names(tmp_path):
    assert swap(tmp_path / "new" / "directory", OLD)
    assert seen(tmp_path / "new" / "directory") == OLD


def test_the_names_are_links_through_one_link_that_is_renamed_over(tmp_path):
    swap(tmp_path, OLD)
    assert str((tmp_path / "tls.crt").readlink()) == "..data/tls.crt"
    before = (tmp_path / "..data").readlink()
    swap(tmp_path, NEW)
    assert (tmp_path / "..data").readlink() != before


@pytest.mark.parametrize("files", [NEW, FEWER, {}], ids=["more", "fewer", "none"])
def test_a_swap_shows_the_new_files_and_leaves_nothing_of_the_old(tmp_path, files):
    swap(tmp_path, OLD)
    assert swap(tmp_path, files)
    assert seen(tmp_path) == files
    content = str((tmp_path / "..data").readlink())
    assert {path.name for path in tmp_path.iterdir()} == {"..data", content, *files}


def test_going_back_to_earlier_files_works(tmp_path):
    for files in (OLD, NEW, OLD):
        assert swap(tmp_path, files)
        assert seen(tmp_path) == files


def test_the_same_files_again_change_nothing_on_disk(tmp_path):
    swap(tmp_path, NEW)
    before = {path: path.lstat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())}
    assert not swap(tmp_path, dict(reversed(NEW.items())))
    assert {path: path.lstat().st_mtime_ns for path in (tmp_path, *tmp_path.iterdir())} == before


def test_a_name_that_was_lost_comes_back(tmp_path):
    swap(tmp_path, NEW)
    (tmp_path / "tls.key").unlink()
    assert swap(tmp_path, NEW)
    assert seen(tmp_path) == NEW


def test_content_that_was_removed_by_hand_comes_back(tmp_path):
    swap(tmp_path, NEW)
    (tmp_path / "..data" / "tls.key").unlink()
    assert swap(tmp_path, NEW)
    assert seen(tmp_path) == NEW
    shutil.rmtree(tmp_path / str((tmp_path / "..data").readlink()))
    assert swap(tmp_path, NEW)
    assert seen(tmp_path) == NEW


def test_a_plain_file_in_the_place_of_a_name_is_replaced_and_other_files_stay(tmp_path):
    (tmp_path / "tls.key").write_bytes(b"by hand")
    (tmp_path / "notes.txt").write_bytes(b"mine")
    swap(tmp_path, OLD)
    assert seen(tmp_path) == {**OLD, "notes.txt": b"mine"}


def test_files_and_directories_are_for_their_owner_only(tmp_path):
    directory = tmp_path / "svid"
    swap(directory, OLD)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert stat.S_IMODE((directory / "..data").stat().st_mode) == 0o700
    assert {stat.S_IMODE((directory / name).stat().st_mode) for name in OLD} == {0o600}


@pytest.mark.parametrize("name", ["", ".", "..", "..data", "a/b", "/etc/passwd", "a\0"])
def test_a_name_that_is_no_plain_file_name_is_refused_before_anything_is_written(tmp_path, name):
    with pytest.raises(ValueError, match="plain file name"):
        swap(tmp_path, {**OLD, name: b""})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("before", [{}, OLD, NEW], ids=["nothing", "old", "the same names and more"])
@pytest.mark.parametrize("after", [NEW, FEWER], ids=["more", "fewer"])
def test_a_power_loss_at_any_step_shows_all_old_or_all_new_files_and_the_next_swap_mends_it(tmp_path, before, after):
    for steps in count():
        directory = tmp_path / str(steps)
        if before:
            swap(directory, before)
        try:
            swap(directory, after, DyingDisk(steps))
        except PowerLoss:
            assert seen(directory) in (before, after)
            swap(directory, after)
            content = str((directory / "..data").readlink())
            assert {path.name for path in directory.iterdir()} == {"..data", content, *after}
            assert seen(directory) == after
        else:
            assert before == after or steps > 8
            return


def test_a_power_loss_while_one_file_is_replaced_shows_the_old_or_the_new_one(tmp_path):
    file = tmp_path / "state" / "authority.json"
    write_file(file, b"old" * 100)
    for steps in count():
        try:
            write_file(file, b"new" * 100, DyingDisk(steps))
        except PowerLoss:
            assert file.read_bytes() in (b"old" * 100, b"new" * 100)
        else:
            assert steps > 4
            break
    assert [path.name for path in file.parent.iterdir()] == ["authority.json"]


def test_an_svid_is_shown_as_certificate_key_and_bundle(tmp_path):
    authority = new_authority(tmp_path / "authority")
    svid = authority.issue(RESEARCHER, KeyType.ECDSA_P256, HOUR, NOW)
    swap(tmp_path / "svid", svid_files(svid, authority.bundle_map()))
    assert seen(tmp_path / "svid") == {
        "tls.crt": svid.chain_pem,
        "tls.key": svid.key_pem,
        "bundle.json": authority.bundle_map(),
    }
