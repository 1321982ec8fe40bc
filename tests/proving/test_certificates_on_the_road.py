"""Who is heard by the gateway of a running installation: agents with a certificate in order, and nobody else.

What can be wrong with a certificate itself is in `withstanding.test_identities_refused`.
"""

import contextlib
import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest

from identity.crafting import Craft, cas_of
from installations import KEY, Installation, agent, budget, children_of, provider, quota, running, secret, wait_until
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, TrustDomain, agent_id, gateway_id
from tollway.resources.models import KeyType
from tollway_cli.demo.provider import Behaviour, ProviderSettings
from tollway_files.atomic import swap
from tollway_operator.authority.authority import SVID, Authority
from tollway_operator.authority.certificates import CA, certificate_pem, key_pem
from tollway_operator.authority.svid_files import gateway_svid_files

HOUR = 3_600_000
CALLER = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "caller", "caller")
BODY = json.dumps({"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}]}).encode()
REQUEST = (
    b"POST /openai/v1/chat/completions HTTP/1.1\r\nhost: gateway\r\ncontent-type: application/json\r\n"
    b"connection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(BODY), BODY)
)
DOCUMENTS = [
    secret(),
    provider(),
    agent("caller"),
    agent("frozen", suspended=True),
    quota("plenty", budget("50.00")),
]


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with running(DOCUMENTS, settings=ProviderSettings(key=KEY, behaviour=Behaviour(output_tokens=2))) as (started, _):
        yield started


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def ask(installation: Installation, certificates: bytes | None, key: bytes = b"") -> Answer:
    """One call on a connection of its own, straight to the gateway with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificates is not None:
        file = installation.folder / f"client-{threading.get_ident()}.pem"
        file.write_bytes(certificates + key)
        context.load_cert_chain(file)
    address = urlsplit(installation.ready["gateway"])
    with (
        socket.create_connection((address.hostname, address.port or 0), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(REQUEST)
        with contextlib.closing(HTTPResponse(connection)) as response:
            response.begin()
            response.read()
            return Answer(response.status, response.headers.get("x-tollway-reason", ""))


def is_heard(installation: Installation, certificates: bytes | None, key: bytes = b"") -> bool:
    try:
        ask(installation, certificates, key)
    except (ssl.SSLError, ConnectionError):
        return False
    return True


def cas(installation: Installation) -> tuple[CA, CA]:
    return cas_of(installation.state / "authority")


def crafted(issuer: CA, **changed: Any) -> tuple[bytes, bytes]:
    """A leaf of `issuer` that differs from a good one in what is named: its chain and its key."""
    good = Craft(uris=(str(CALLER),), not_before=now_ms() - 60_000, not_after=now_ms() + HOUR)
    craft = replace(good, **changed)
    leaf = craft.signed_by(issuer)
    return certificate_pem(leaf) + certificate_pem(issuer.certificate), key_pem(craft.key)


def test_a_good_certificate_is_served(installation: Installation) -> None:
    assert ask(installation, *crafted(cas(installation)[1])) == Answer(200, "")


def test_no_certificate_is_not_heard(installation: Installation) -> None:
    assert not is_heard(installation, None)


def test_a_certificate_of_a_foreign_root_is_not_heard(installation: Installation, tmp_path: Path) -> None:
    foreign = Authority.load_or_create(tmp_path, DEFAULT_TRUST_DOMAIN, now_ms())
    svid = foreign.issue(CALLER, KeyType.ECDSA_P256, HOUR, now_ms())
    assert not is_heard(installation, svid.chain_pem, svid.key_pem)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an agent nobody declared": (
        {"uris": (str(agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "x", "ghost")),)},
        "identity.unknown",
    ),
    "a suspended agent": (
        {"uris": (str(agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "frozen", "frozen")),)},
        "identity.suspended",
    ),
}


@pytest.mark.parametrize(("changed", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_certificate_that_envoy_takes_is_still_refused_by_us(
    installation: Installation, changed: dict[str, Any], reason: str
) -> None:
    answer = ask(installation, *crafted(cas(installation)[1], **changed))
    assert answer.reason == reason
    assert answer.status in (401, 403)


def test_an_agents_certificate_posing_as_the_gateway_gets_no_call(installation: Installation) -> None:
    """The sidecar talks to the gateway's ID only: with an agent's SVID in its place, nothing of a call is sent."""
    authority = authority_of(installation)
    identity = installation.state / "gateway" / "identity"
    impostor = authority.issue(CALLER, KeyType.ECDSA_P256, HOUR, now_ms())
    genuine = authority.issue(gateway_id(DEFAULT_TRUST_DOMAIN), KeyType.ECDSA_P256, HOUR, now_ms())
    swap(identity, gateway_svid_files(impostor, None, authority.bundle_map()))
    try:
        restart_sidecar(installation)
        wait_until(lambda: status_through_sidecar(installation) == 503, 10)
    finally:
        swap(identity, gateway_svid_files(genuine, None, authority.bundle_map()))
    wait_until(lambda: status_through_sidecar(installation) == 200, 10)


def test_renewal_under_load_with_a_new_connection_per_request_fails_no_handshake(installation: Installation) -> None:
    authority = authority_of(installation)
    current = [authority.issue(CALLER, KeyType.ECDSA_P256, HOUR, now_ms())]
    answers: list[Answer] = []
    failures: list[Exception] = []
    done = threading.Event()

    def hammer() -> None:
        while not done.is_set():
            try:
                answers.append(ask(installation, current[0].chain_pem, current[0].key_pem))
            except OSError as failure:
                failures.append(failure)

    threads = [threading.Thread(target=hammer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        current[0] = renew(installation, authority)
        time.sleep(0.1)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert set(answers) == {Answer(200, "")}
    assert len(answers) > 50


def renew(installation: Installation, authority: Authority) -> SVID:
    """New SVIDs for the gateway and for the caller's sidecar, delivered as the supervisor delivers them."""
    for directory, spiffe_id in (("gateway", gateway_id(DEFAULT_TRUST_DOMAIN)), ("agents/team-a_caller", CALLER)):
        svid = authority.issue(spiffe_id, KeyType.ECDSA_P256, HOUR, now_ms())
        swap(installation.state / directory / "identity", gateway_svid_files(svid, None, authority.bundle_map()))
    return svid


def authority_of(installation: Installation) -> Authority:
    return Authority.load_or_create(installation.state / "authority", TrustDomain("cluster.local"), now_ms())


def status_through_sidecar(installation: Installation) -> int:
    with openai.OpenAI(base_url=installation.base_url("team-a/caller"), api_key="x", max_retries=0) as client:
        try:
            client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}])
        except openai.APIStatusError as refused:
            return refused.status_code
        except openai.APIConnectionError:
            return 0
    return 200


def restart_sidecar(installation: Installation) -> None:
    """A sidecar opens new connections by itself every few minutes; a new one does at once."""
    for pid in children_of(installation.pid):
        if "team-a_caller" in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)
            return
    raise AssertionError("no sidecar of the caller is running")
