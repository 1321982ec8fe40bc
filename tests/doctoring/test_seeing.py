"""What the doctor sees on this machine: locks and who has them, sockets, prices, endpoints that never answer."""

import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from doctoring.builders import NOW, RESOURCES
from tollway.pricing.data import default_book
from tollway.resources.models import Endpoint, ModelRule, PriceOverride, ResourceSet
from tollway_cli.doctor import reaching, seeing
from tollway_cli.doctor.snapshot import StateFacts
from tollway_cli.standalone.envoys import provider_authorities
from tollway_cli.standalone.state import Lock, StateDirectory, prepare

PROVIDER = RESOURCES.providers[0]


@pytest.fixture
def state(tmp_path: Path) -> StateDirectory:
    return prepare(tmp_path / "state")


def facts(state: StateDirectory, agents: Sequence[str] = ()) -> StateFacts:
    return seeing.state_facts(state, state.ledger, agents)


def test_a_state_that_nobody_uses_has_no_holder(state: StateDirectory) -> None:
    found = facts(state)
    assert (found.exists, found.is_held, found.holder, found.mode, found.is_ours) == (True, False, None, 0o700, True)
    assert found.free_bytes.keys() == {str(state.root)}


def test_a_lock_is_seen_with_who_holds_it_and_looking_does_not_take_it(state: StateDirectory) -> None:
    lock = Lock.take(state.lock_file)
    found = facts(state)
    assert (found.is_held, found.holder, found.holder_lives) == (True, os.getpid(), True)
    assert os.getpid() in found.real_holders
    lock.release()
    assert not facts(state).is_held
    Lock.take(state.lock_file).release()


def test_a_lock_whose_taker_is_gone_is_told_from_one_that_is_not(state: StateDirectory) -> None:
    lock = Lock.take(state.lock_file)
    state.lock_file.write_text("4194304\n")  # above the largest process id
    found = facts(state)
    assert (found.is_held, found.holder_lives) == (True, False)
    assert found.real_holders == (os.getpid(),)
    lock.release()


def test_sockets_are_expected_of_what_is_ready_only(state: StateDirectory) -> None:
    assert facts(state, ["team-a/x"]).sockets == {}
    state.ready_file.write_text("{}")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(state.socket("admin")))
    state.socket("admin").chmod(0o600)
    state.socket("check").write_text("no socket")
    found = {Path(path).name.partition("-")[0]: mode for path, mode in facts(state, ["team-a/x"]).sockets.items()}
    assert found == {"admin.sock": 0o600, "check.sock": None, "gateway.sock": None, "agent": None}
    listening.close()


def test_a_link_to_a_directory_that_was_cleaned_away_is_seen(state: StateDirectory, tmp_path: Path) -> None:
    run = state.root / "run"
    if run.is_symlink():  # the path of this test was too long for sockets
        run.unlink()
    state.sockets.rmdir()
    run.symlink_to(tmp_path / "gone")
    assert facts(state).run_link == str(tmp_path / "gone")


def test_this_machine_has_what_it_takes() -> None:
    found = seeing.programs()
    assert found.envoy is not None
    assert found.envoy_version is not None
    assert found.envoy_version.startswith("1.40.")


@pytest.mark.parametrize(
    ("rule", "is_priced"),
    [
        (ModelRule("gpt-4o"), True),
        (ModelRule("gpt-4o-2024-08-06"), True),
        (ModelRule("gpt-4o*"), True),
        (ModelRule("*"), True),
        (ModelRule("my-deployment", model="gpt-4o"), True),
        (ModelRule("in-house"), True),
        (ModelRule("gpt-of-tomorrow"), False),
        (ModelRule("gpt-of-tomorrow-*"), False),
        (ModelRule("my-deployment", model="gpt-of-tomorrow"), False),
    ],
    ids=str,
)
def test_a_line_of_an_allow_list_has_a_price(rule: ModelRule, is_priced: bool) -> None:
    provider = replace(PROVIDER, models=(rule,), prices=(PriceOverride("in-house", 1, 1),))
    found = seeing.prices(default_book(), ResourceSet(providers=(provider,)), NOW)
    assert found.unpriced == ({} if is_priced else {"openai": (rule.name,)})


def test_an_endpoint_that_never_answers_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = Endpoint(tls=True, host="127.0.0.1", port=silent.getsockname()[1])
        found = reaching.try_one(replace(PROVIDER, endpoint=place), "", timeout=0.1)
    assert (found.failed_at, found.address) == ("tls", f"127.0.0.1:{place.port}")


def test_authorities_of_ones_own_stand_beside_those_of_the_machine(state: StateDirectory, tmp_path: Path) -> None:
    (tmp_path / "machine.pem").write_text("the machine's")
    (tmp_path / "own.pem").write_text("one's own")
    environ = {"SSL_CERT_FILE": str(tmp_path / "machine.pem")}
    assert provider_authorities(state, environ, None) == str(tmp_path / "machine.pem")
    both = Path(provider_authorities(state, environ, tmp_path / "own.pem"))
    assert both.read_text() == "the machine's\none's own"
