"""Which files count, how a change is seen, and what cannot be read."""

import os
from pathlib import Path

from tollway_cli.standalone.config_files import MAX_FILE, ConfigWatch, read_directory


def changes(watch: ConfigWatch, looks: int = 3) -> int:
    return sum(watch.changed() for _ in range(looks))


def test_yaml_and_json_files_count_and_hidden_ones_and_folders_do_not(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yml", "c.json", "d.txt", ".e.yaml", "f.yaml~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "g.yaml").write_text("g")
    files, problems = read_directory(tmp_path)
    assert (list(files), problems) == (["a.yaml", "b.yml", "c.json"], ())


def test_a_ready_file_in_the_same_directory_is_no_resource(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    watch = ConfigWatch(tmp_path, {ready})
    ready.write_text("{}")
    assert changes(watch) == 0
    assert read_directory(tmp_path, {ready}) == ({}, ())


def test_a_mounted_configmap_is_read_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "a.yaml").write_text("one")
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert read_directory(tmp_path)[0] == {"a.yaml": b"one"}


def test_what_cannot_be_read_is_said_by_name(tmp_path: Path) -> None:
    (tmp_path / "big.yaml").write_bytes(b"#" * (MAX_FILE + 1))
    (tmp_path / "dead.yaml").symlink_to("nowhere")
    (tmp_path / "folder.yaml").mkdir()
    os.mkfifo(tmp_path / "pipe.yaml")
    _, problems = read_directory(tmp_path)
    assert [str(problem) for problem in problems] == [
        "big.yaml: is larger than 1024 KiB",
        "dead.yaml: cannot be read: No such file or directory",
        "folder.yaml: is not a regular file",
        "pipe.yaml: is not a regular file",
    ]


def test_a_directory_that_is_gone_is_a_problem_and_no_empty_set(tmp_path: Path) -> None:
    (_, (problem,)) = read_directory(tmp_path / "gone")
    assert "cannot be read" in str(problem)


def test_each_change_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    watch = ConfigWatch(tmp_path)
    assert changes(watch) == 0
    (tmp_path / "a.yaml").write_text("two!")
    assert changes(watch) == 1
    (tmp_path / "b.yaml").write_text("new")
    assert changes(watch) == 1
    (tmp_path / "b.yaml").unlink()
    assert changes(watch) == 1


def test_a_replaced_file_of_the_same_size_and_time_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("one")
    watch = ConfigWatch(tmp_path)
    before = (tmp_path / "a.yaml").stat()
    (tmp_path / "new").write_text("two")
    os.utime(tmp_path / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (tmp_path / "new").rename(tmp_path / "a.yaml")
    assert changes(watch) == 1


def test_a_file_that_is_still_being_written_is_not_taken(tmp_path: Path) -> None:
    watch = ConfigWatch(tmp_path)
    for length in range(1, 5):
        (tmp_path / "a.yaml").write_text("x" * length)
        assert not watch.changed()
    assert watch.changed()


def test_other_files_are_no_change(tmp_path: Path) -> None:
    watch = ConfigWatch(tmp_path)
    (tmp_path / ".a.yaml.swp").write_text("x")
    (tmp_path / "notes.txt").write_text("x")
    assert changes(watch) == 0
