"""The state directory: private, used by one instance at a time, its sockets never too long for the kernel."""

import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tollway_cli.standalone.state import (
    Held,
    Lock,
    Memory,
    StateDirectory,
    StateUnusable,
    default_state,
    prepare,
    recall,
    remember,
    remove_sockets,
)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"XDG_STATE_HOME": "/var/x", "HOME": "/home/me"}, "/var/x/tollway"),
        ({"HOME": "/home/me"}, "/home/me/.local/state/tollway"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/home/me"}, "/home/me/.local/state/tollway"),
    ],
    ids=["stated", "home", "a relative path is ignored"],
)
def test_the_state_is_where_the_xdg_specification_says(environ: dict[str, str], expected: str) -> None:
    assert default_state(environ) == Path(expected)


def test_nobody_else_can_look_into_the_state(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    state = prepare(tmp_path / "state")
    for directory in (state.root, state.sockets, state.gateway, state.extauthz):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_state_that_cannot_be_made_is_said_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateUnusable, match="--state"):
        prepare(tmp_path / "file" / "state")


def test_where_the_path_is_too_long_sockets_live_in_a_short_private_directory(tmp_path: Path) -> None:
    root = tmp_path / ("long" * 30)
    state = prepare(root)
    try:
        path = state.agent_socket("team-a/researcher")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
        assert (root / "run").resolve() == state.sockets.resolve()
        assert (root / "run" / path.name).exists()
        assert stat.S_IMODE(state.sockets.stat().st_mode) == 0o700
        assert prepare(root).sockets == state.sockets
    finally:
        remove_sockets(state)
    assert not state.sockets.exists()
    assert not (root / "run").is_symlink()


def test_a_link_to_a_directory_that_is_not_ours_alone_is_not_used(tmp_path: Path) -> None:
    root, foreign = tmp_path / ("long" * 30), tmp_path / "foreign"
    root.mkdir()
    foreign.mkdir(mode=0o755)
    foreign.chmod(0o777)
    (root / "run").symlink_to(foreign)
    state = prepare(root)
    assert state.sockets != foreign
    remove_sockets(state)
    assert foreign.exists()


def test_agents_never_share_a_directory_however_long_their_names_are(tmp_path: Path) -> None:
    state = StateDirectory.at(tmp_path)
    names = ["a/b-c", "a-b/c", "a/" + "x" * 250, "a/" + "x" * 251]
    directories = [state.agent(name) for name in names]
    assert len(set(directories)) == len(names)
    for directory in directories:
        directory.mkdir(parents=True)


def test_a_second_instance_on_the_same_state_is_told_who_holds_it(tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from tollway_cli.standalone.state import Lock\n"
        "lock = Lock.take(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    path = tmp_path / "lock"
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    with holder.stdout:
        holder.stdout.readline()
        try:
            with pytest.raises(Held, match=f"process {holder.pid}"):
                Lock.take(path)
        finally:
            holder.kill()
            holder.wait()
    Lock.take(path).release()


def test_what_was_remembered_survives_and_a_broken_memory_is_forgotten(tmp_path: Path) -> None:
    state = prepare(tmp_path)
    remember(state, Memory(7, {"team-a/researcher": 15003}))
    assert recall(state) == Memory(7, {"team-a/researcher": 15003})
    state.memory_file.write_text("{broken")
    assert recall(state) == Memory()
