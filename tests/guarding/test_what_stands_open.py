"""What an installation leaves open to others on the machine: files, sockets, ports, numbers; and what stays behind."""

import contextlib
import http.client
import json
import os
import re
import socket
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from installations import KEY, Installation, agent, budget, children_of, provider, quota, running, secret, wait_until
from tollway_cli.standalone.state import StateUnusable, prepare

PROMPT = "canary-of-the-prompt"
DOCUMENTS = [secret(), provider(), agent("caller"), agent("other"), quota("plenty", budget("50.00"))]


class AnyoneMayRead(Installation):
    """Started with umask 000."""

    program = ("-c", "import os; os.umask(0); from tollway_cli.__main__ import main; main()")


class OwnerOnly(Installation):
    """Started with umask 077."""

    program = ("-c", "import os; os.umask(0o077); from tollway_cli.__main__ import main; main()")


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running(DOCUMENTS, kind=AnyoneMayRead) as (started, _):
        assert call(started) == 200
        yield started


def call(installation: Installation, model: str = "gpt-4o-mini", agent: str = "team-a/caller") -> int:
    address = urlsplit(installation.base_url(agent))
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=20)
    asked = {"model": model, "messages": [{"role": "user", "content": PROMPT}], "max_completion_tokens": 5}
    with contextlib.closing(connection):
        headers = {"content-type": "application/json"}
        connection.request("POST", f"{address.path}/chat/completions", json.dumps(asked), headers)
        response = connection.getresponse()
        response.read()
        return response.status


def ask(installation: Installation, name: str, method: str, path: str) -> tuple[int, bytes]:
    """On one of its sockets."""
    connection = http.client.HTTPConnection("localhost", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    with contextlib.closing(connection):
        connection.sock.connect(str(installation.state / "run" / f"{name}.sock"))
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read()


def others_may(root: Path) -> dict[str, str]:
    """Whatever below `root` is open to anybody but its owner, links aside."""
    found = ((path, path.lstat().st_mode) for path in (root, *root.rglob("*")))
    return {str(path): stat.filemode(mode) for path, mode in found if not stat.S_ISLNK(mode) and mode & 0o077}


def test_with_umask_000_everything_in_the_state_is_for_its_owner_alone(installation: Installation) -> None:
    kinds = {stat.S_IFMT(path.lstat().st_mode) for path in installation.state.rglob("*")}
    assert {stat.S_IFREG, stat.S_IFDIR, stat.S_IFSOCK} <= kinds
    assert others_may(installation.state) == {}
    assert others_may(installation.ready_file) == {}


def test_every_socket_is_private_whoever_made_it(installation: Installation) -> None:
    sockets = {path.name: path.lstat().st_mode for path in (installation.state / "run").iterdir()}
    assert {"admin.sock", "check.sock", "gateway.sock"} < sockets.keys()
    assert {stat.filemode(mode) for mode in sockets.values()} == {"srw-------"}


def test_the_only_ports_are_the_gateway_the_sidecars_and_the_numbers_all_on_loopback(
    installation: Installation,
) -> None:
    urls = [installation.ready["gateway"], *(installation.base_url(f"team-a/{name}") for name in ("caller", "other"))]
    known = {("127.0.0.1", urlsplit(url).port) for url in urls}
    assert listening(installation, "tcp") == known | {("127.0.0.1", metrics_port(installation))}
    for other in ("tcp6", "udp", "udp6"):
        assert listening(installation, other) == set()


def metrics_port(installation: Installation) -> int:
    port: int = json.loads((installation.state / "memory.json").read_text())["ports"]["metrics"]
    return port


def listening(installation: Installation, protocol: str) -> set[tuple[str, int]]:
    """Where processes of the installation wait for others, as the kernel tells it."""
    inodes = {inode for pid in (installation.pid, *children_of(installation.pid)) for inode in sockets_of(pid)}
    lines = [line.split() for line in Path(f"/proc/net/{protocol}").read_text().splitlines()[1:]]
    is_listening = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}[protocol]
    return {_address(line[1]) for line in lines if line[3] == is_listening and line[9] in inodes}


def sockets_of(pid: int) -> set[str]:
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            if match := re.fullmatch(r"socket:\[(\d+)\]", str(descriptor.readlink())):
                found.add(match[1])
    return found


def _address(text: str) -> tuple[str, int]:
    address, _, port = text.partition(":")
    shown = socket.inet_ntoa(struct.pack("=I", int(address, 16))) if len(address) == 8 else address
    return shown, int(port, 16)


def numbers(installation: Installation, path: str = "/metrics", method: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", metrics_port(installation), timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def series(installation: Installation) -> set[str]:
    lines = numbers(installation)[1].splitlines()
    return {line.rpartition(" ")[0] for line in lines if line and not line.startswith("#")}


def test_numbers_name_no_agent_no_model_no_prompt_and_no_key_and_are_as_many_after_many_names(
    installation: Installation,
) -> None:
    def after(*models: str) -> set[str]:
        assert {call(installation, model) for model in models} <= {200, 403, 404}
        return series(installation)

    before = after("gpt-4o-mini", "unknown-1")
    wait_until(lambda: "tollway_settlements" in numbers(installation)[1], 10)
    after(*(f"unknown-{n}" for n in range(50)), "gpt-4o", "gpt-4.1-mini")
    call(installation, agent="team-a/other")
    shown = numbers(installation)[1]
    assert {line.partition("{")[0] for line in series(installation)} >= {"tollway_checks_total"}
    assert len(series(installation)) <= len(before) + 8
    for word in (PROMPT, KEY, "caller", "team-a", "unknown-", "gpt-4", "spiffe"):
        assert word not in shown


def test_the_port_of_numbers_serves_nothing_else(installation: Installation) -> None:
    assert {numbers(installation, path)[0] for path in ("/metrics", "/healthz", "/readyz")} == {200}
    for path in ("/", "/limits", "/ledger", "/status", "/explain/x", "/config", "/metrics/../limits", "/%6dim"):
        assert numbers(installation, path)[0] == 404
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert numbers(installation, "/metrics", method)[0] == 405


READ_ONLY = ("/status", "/standing", "/limits", "/top", "/ledger", "/ledger/verify", "/explain/x")


def test_nothing_that_is_asked_of_a_running_data_plane_changes_it(installation: Installation) -> None:
    for path in (*READ_ONLY, "/", "/config", "/rules", "/quotas", "/keys"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert ask(installation, "admin", method, path)[0] in {404, 405}
    before = ask(installation, "admin", "GET", "/limits")
    question = {"agent": "team-a/caller", "provider": "openai", "path": "", "body": "{}"}
    assert installation.tollway(
        "explain", "-f", str(written(installation, question)), "--agent", "team-a/caller", codes=(0, 1)
    )
    assert ask(installation, "admin", "GET", "/limits") == before


def written(installation: Installation, question: Mapping[str, str]) -> Path:
    path = installation.folder / "question.json"
    path.write_text(json.dumps(question))
    return path


@pytest.mark.parametrize("name", ["'; DROP TABLE journal; --", "x' OR '1'='1", "%", "../../ledger", "a\nb"])
def test_names_that_people_ask_for_are_only_names(installation: Installation, name: str) -> None:
    assert (
        json.loads(installation.tollway("ledger", f"--agent={name}", "-o", "json", codes=(0, 2)) or "{}").get(
            "calls", []
        )
        == []
    )
    installation.tollway("explain", name, codes=(1, 2))
    assert installation.calls()


def test_no_process_that_dies_leaves_its_memory_on_disk(installation: Installation) -> None:
    for pid in children_of(installation.pid):
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert re.search(r"^Max core file size +0 +0 ", limits, re.MULTILINE)


def test_after_a_clean_stop_no_providers_key_is_left_in_the_state() -> None:
    with running(DOCUMENTS, kind=OwnerOnly) as (installation, _):
        assert call(installation) == 200
        assert holding(installation) == {"gateway"}
        installation.stop()
        assert holding(installation) == set()
        assert others_may(installation.state) == {}


def holding(installation: Installation) -> set[str]:
    """The parts of the state that have the key in them."""
    files = [path for path in installation.state.rglob("*") if path.is_file()]
    return {path.relative_to(installation.state).parts[0] for path in files if KEY.encode() in path.read_bytes()}


def test_a_state_that_belongs_to_another_user_is_refused(tmp_path: Path) -> None:
    theirs = Path("/")
    if os.getuid() == 0:
        theirs = tmp_path / "theirs"
        theirs.mkdir()
        os.chown(theirs, 65534, 65534)
    mode = theirs.stat().st_mode
    with pytest.raises(StateUnusable, match="--state"):
        prepare(theirs)
    assert theirs.stat().st_mode == mode
    assert not (theirs / "gateway").exists()
