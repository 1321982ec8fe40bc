"""R08, R09, R11: whoever drives it is killed in every phase of a change of the root, and whoever certifies is away."""

import base64
import contextlib
import http.client
import json
import os
import signal
import socket
import ssl
import time
from pathlib import Path

from cryptography import x509

from changing_roots.calling import BODY, Calls
from changing_roots.test_R10_while_calls_go_on import AGENTS, activate, calling, fast, goes_to, phase
from installations import Installation, wait_until

GATEWAY = "gateway"


def kill_and_start_again(installation: Installation) -> None:
    installation.stop(signal.SIGKILL)
    check(installation)
    installation.ready_file.unlink(missing_ok=True)
    installation.start()


def identity(installation: Installation, of: str) -> Path:
    where = of if of == GATEWAY else f"agents/{of.replace('/', '_')}"
    return installation.state / where / "identity" / "..data"


def roots(installation: Installation, of: str) -> list[x509.Certificate]:
    bundle = json.loads((identity(installation, of) / "bundle.json").read_text())
    keys = [key for each in bundle["trust_domains"].values() for key in each["keys"]]
    return [x509.load_der_x509_certificate(base64.b64decode(key["x5c"][0])) for key in keys]


def is_trusted(installation: Installation, who: str, by: str) -> bool:
    """Whether the root of who's certificate is in the bundle that the other is shown."""
    _, issuer = x509.load_pem_x509_certificates((identity(installation, who) / "tls.crt").read_bytes())
    return any(root.subject == issuer.issuer for root in roots(installation, by))


def check(installation: Installation) -> None:
    """What lies there signs nobody under a root that his peer was not shown."""
    for agent in AGENTS:
        assert is_trusted(installation, agent, GATEWAY), "an agent's root is not at the gateway"
        assert is_trusted(installation, GATEWAY, agent), "the gateway's root is not at a sidecar"


def serves(installation: Installation) -> None:
    """Sidecars may have to make connections anew first, where starting took longer than certificates live."""
    wait_until(lambda: not some_calls(installation).failures, 60, installation.output.read_text)


def some_calls(installation: Installation) -> Calls:
    with calling(installation, per_second=20) as calls:
        wait_until(lambda: bool(calls.failures) or sum(calls.answered.values()) >= 10, 60)
    return calls


def test_R11_a_change_goes_on_where_it_stood_when_the_instance_was_killed() -> None:
    with fast() as installation:
        installation.tollway("root", "prepare")
        assert phase(installation) in {"Prepared", "Trusted"}
        kill_and_start_again(installation)
        goes_to(installation, "Trusted")
        serves(installation)
        kill_and_start_again(installation)
        activate(installation)
        kill_and_start_again(installation)
        goes_to(installation, "Draining")
        serves(installation)
        kill_and_start_again(installation)
        goes_to(installation, "Removed", "None")
        kill_and_start_again(installation)
        goes_to(installation, "None")
        serves(installation)
        assert len(roots(installation, GATEWAY)) == len(roots(installation, AGENTS[0])) == 1


def test_R11_an_aborted_change_leaves_the_root_that_was_there_also_when_killed_on_the_way() -> None:
    with fast() as installation:
        [before] = roots(installation, GATEWAY)
        installation.tollway("root", "prepare")
        activate(installation)
        installation.tollway("root", "abort")
        assert phase(installation) == "RollingBack"
        kill_and_start_again(installation)
        serves(installation)
        goes_to(installation, "None")
        serves(installation)
        assert roots(installation, GATEWAY) == [before]


# --- nobody certifies ----------------------------------------------------------------------------------------------


class Kept:
    """A connection of an agent's straight to the gateway, which stays open."""

    def __init__(self, installation: Installation, agent: str) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        shown = identity(installation, agent).resolve()
        context.load_cert_chain(shown / "tls.crt", shown / "tls.key")
        self.not_after = x509.load_pem_x509_certificate((shown / "tls.crt").read_bytes()).not_valid_after_utc
        host, _, port = installation.ready["gateway"].removeprefix("https://").partition(":")
        self._connection = http.client.HTTPConnection(host)
        self._connection.sock = context.wrap_socket(socket.create_connection((host, int(port)), 10))

    def close(self) -> None:
        self._connection.close()

    def call(self) -> tuple[int, str]:
        self._connection.request(
            "POST", "/openai/v1/chat/completions", BODY, {"content-type": "application/json", "host": "gateway"}
        )
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("x-tollway-reason", "")


def lives_left(installation: Installation) -> list[float]:
    """Of each certificate, seconds."""
    ends = []
    for who in (GATEWAY, *AGENTS):
        leaf = x509.load_pem_x509_certificate((identity(installation, who) / "tls.crt").read_bytes())
        ends.append(leaf.not_valid_after_utc.timestamp())
    return [end - time.time() for end in ends]


def test_R08_R09_without_an_authority_all_goes_on_past_half_of_a_life_and_ends_closed_at_its_end() -> None:
    with fast() as installation, contextlib.closing(Kept(installation, AGENTS[0])) as kept:
        assert kept.call() == (200, "")
        os.kill(installation.pid, signal.SIGSTOP)
        try:
            with calling(installation, per_second=40) as calls:
                # Of 20 s they have 12 at least, when nobody renews them any more: these are their second half.
                wait_until(lambda: min(lives_left(installation)) < 3, 30)
            assert calls.failures == [], calls.failures[:3]
            assert sum(calls.answered.values()) > 50
            wait_until(lambda: max(lives_left(installation)) < -1, 40)
            assert kept.call() == (401, "identity.expired")
            with calling(installation, per_second=20) as late:
                wait_until(lambda: len(late.failures) >= 5, 30)
            assert not late.answered
        finally:
            os.kill(installation.pid, signal.SIGCONT)
        wait_until(lambda: min(lives_left(installation)) > 5, 60)
        serves(installation)
