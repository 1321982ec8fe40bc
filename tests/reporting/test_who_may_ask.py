"""The usage port of a running data plane: the operator's SVID gets the report, and nobody else gets anything."""

import contextlib
import http.client
import json
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from identity.crafting import Craft, cas_of, new_authority
from installations import agent, provider, quota, wait_until
from reading_hostile.asking import Denied, Granted
from reporting.gateways import GATEWAY, HOUR, RESEARCHER, Gateway, authority_of, chain_of, gateway
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, SPIFFEID, TrustDomain, gateway_id, workload_id
from tollway.ledger.port import Source
from tollway.ledger.units import Amounts
from tollway.resources.models import KeyType
from tollway_extauthz.stores.sqlite import SQLiteLedger
from tollway_operator.asking.question import NoAnswer, ask
from tollway_operator.asking.svid import OwnSVID
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.certificates import certificate_pem, key_pem

OPERATOR = workload_id(DEFAULT_TRUST_DOMAIN, "tollway-system", "tollway-operator")
DOCUMENTS = [
    agent("researcher"),
    agent("writer"),
    provider(endpoint="http://127.0.0.1:1"),
    quota(
        "research",
        {"name": "rpm", "requests": 60, "window": "1h"},
        {"name": "budget", "cost": "1.50", "window": "Day"},
        per=["Agent"],
    ),
]

Json = Any


def now() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tollway-authority-") as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def authority(directory: Path) -> Authority:
    return new_authority(directory, now=now())


@pytest.fixture(scope="module")
def replica(authority: Authority) -> Iterator[Gateway]:
    with gateway(DOCUMENTS, authority, now()) as running:
        yield running


Shown = tuple[bytes, bytes]
"""A chain and its key, PEM."""


def issued(authority: Authority, spiffe_id: SPIFFEID = OPERATOR, ttl_ms: int = HOUR, at: int | None = None) -> Shown:
    svid = authority.issue(spiffe_id, KeyType.ECDSA_P256, ttl_ms, now() if at is None else at)
    return svid.chain_pem, svid.key_pem


def crafted(directory: Path, **changed: Any) -> Shown:
    """A certificate that our signing CA would never issue."""
    _, ca = cas_of(directory)
    life = {"not_before": now() - 60_000, "not_after": now() + HOUR}
    craft = Craft(**{"uris": (str(OPERATOR),), **life, **changed})
    return certificate_pem(craft.signed_by(ca)) + certificate_pem(ca.certificate), key_pem(craft.key)


def context(authority: Authority, shown: Shown | None) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.load_verify_locations(cadata=b"".join(map(certificate_pem, authority.bundle().roots)).decode())
    if shown is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(shown[0] + shown[1])
            file.flush()
            made.load_cert_chain(file.name)
    return made


@contextlib.contextmanager
def connected(replica: Gateway, made: ssl.SSLContext) -> Iterator[http.client.HTTPSConnection]:
    connection = http.client.HTTPSConnection(replica.address, replica.port, timeout=10, context=made)
    try:
        connection.connect()
        yield connection
    finally:
        connection.close()


def report(replica: Gateway, made: ssl.SSLContext, path: str = "/report") -> tuple[int, bytes]:
    with connected(replica, made) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def is_shut_out(replica: Gateway, made: ssl.SSLContext) -> bool:
    """Not one byte of an answer."""
    try:
        report(replica, made)
    except (ssl.SSLError, ConnectionError, http.client.RemoteDisconnected):
        return True
    return False


# --- who gets in ---------------------------------------------------------------------------------------------------


def test_the_operator_gets_the_report(authority: Authority, replica: Gateway) -> None:
    mine = OwnSVID("tollway-system").context(authority, now())
    found = ask(replica.address, replica.port, mine, GATEWAY)
    assert (found.generation, found.providers) == (1, ("openai",))
    [research] = found.quotas
    assert [(each.limit, each.key, each.amount) for each in research.counters] == [
        ("budget", "team-a/researcher", 1_500_000_000),
        ("budget", "team-a/writer", 1_500_000_000),
        ("rpm", "team-a/researcher", 60),
        ("rpm", "team-a/writer", 60),
    ]


OTHERS: dict[str, tuple[Callable[[Authority, Path], Shown | None], str]] = {
    "an agent": (lambda authority, _: issued(authority, RESEARCHER), f"{RESEARCHER} is not {OPERATOR}"),
    "the gateway itself": (lambda authority, _: issued(authority, GATEWAY), f"{GATEWAY} is not {OPERATOR}"),
    "the operator of another namespace": (
        lambda authority, _: issued(authority, workload_id(DEFAULT_TRUST_DOMAIN, "team-a", "tollway-operator")),
        f"team-a/sa/tollway-operator is not {OPERATOR}",
    ),
    "an agent called like it": (
        lambda authority, _: issued(authority, SPIFFEID(DEFAULT_TRUST_DOMAIN, f"{OPERATOR.path}/agent/a")),
        f"is not {OPERATOR}",
    ),
    "an expired one": (
        lambda _, directory: crafted(directory, not_before=now() - HOUR, not_after=now() - 5_000),
        "certificate has expired",
    ),
    "another root": (lambda *_: issued(authority_of(DEFAULT_TRUST_DOMAIN, now())), "is not trusted"),
    "another trust domain": (
        lambda *_: issued(
            authority_of(TrustDomain("other.example"), now()),
            workload_id(TrustDomain("other.example"), "tollway-system", "tollway-operator"),
        ),
        "is not trusted",
    ),
    "another trust domain by our CA": (
        lambda _, directory: crafted(directory, uris=("spiffe://other.example/ns/tollway-system/sa/tollway-operator",)),
        "identity.foreign",
    ),
    "two URIs": (
        lambda _, directory: crafted(directory, uris=(str(OPERATOR), str(RESEARCHER))),
        "must have exactly one URI",
    ),
    "a CA": (lambda _, directory: crafted(directory, ca=True), "identity.invalid"),
    "nobody": (lambda *_: None, "peer did not return a certificate"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_everybody_else_is_shut_out_and_the_log_says_who(
    authority: Authority, directory: Path, replica: Gateway, case: str
) -> None:
    show, sentence = OTHERS[case]
    assert is_shut_out(replica, context(authority, show(authority, directory)))
    wait_until(lambda: sentence in replica.said(), 10, replica.said)


def test_tls_1_2_is_refused(authority: Authority, replica: Gateway) -> None:
    made = context(authority, issued(authority))
    made.maximum_version = ssl.TLSVersion.TLSv1_2
    assert is_shut_out(replica, made)
    wait_until(lambda: "unsupported protocol" in replica.said(), 10, replica.said)


def test_plain_http_is_refused(replica: Gateway) -> None:
    with socket.create_connection((replica.address, replica.port), timeout=10) as plain:
        plain.sendall(b"GET /report HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert b"HTTP" not in plain.recv(100)


def test_nothing_else_is_served(authority: Authority, replica: Gateway) -> None:
    made = context(authority, issued(authority))
    assert [report(replica, made, path)[0] for path in ("/", "/limits", "/ledger", "/metrics")] == [404] * 4


def test_a_certificate_that_ends_while_its_connection_is_open_gets_no_further_answer(
    authority: Authority, directory: Path, replica: Gateway
) -> None:
    end = now() + 4_000
    made = context(authority, crafted(directory, not_after=end))
    with connected(replica, made) as connection:
        connection.request("GET", "/report")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        wait_until(lambda: now() > end + 1_000, 20)
        connection.request("GET", "/report")
        refused = connection.getresponse()
        assert (refused.status, refused.read().split(b":")[0]) == (403, b"identity.expired")


# --- whom the operator believes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gateway_is", "sentence"),
    [
        (gateway_id(DEFAULT_TRUST_DOMAIN, "other-system"), "and not"),
        (RESEARCHER, "and not"),
    ],
    ids=["another installation", "an agent"],
)
def test_the_operator_believes_nobody_but_the_gateway(
    authority: Authority, replica: Gateway, gateway_is: SPIFFEID, sentence: str
) -> None:
    mine = OwnSVID("tollway-system").context(authority, now())
    with pytest.raises(NoAnswer, match=sentence):
        ask(replica.address, replica.port, mine, gateway_is)


def test_the_operator_believes_no_other_root(replica: Gateway) -> None:
    other = OwnSVID("tollway-system").context(authority_of(DEFAULT_TRUST_DOMAIN, now()), now())
    with pytest.raises(NoAnswer, match="certificate is not trusted"):
        ask(replica.address, replica.port, other, GATEWAY)


def test_the_operators_own_svid_is_renewed_in_time_and_when_the_authority_changes(authority: Authority) -> None:
    mine, at = OwnSVID("tollway-system"), now()
    first = mine.context(authority, at)
    assert mine.context(authority, at + HOUR // 4) is first
    second = mine.context(authority, at + HOUR // 2)
    assert second is not first
    assert mine.context(authority_of(DEFAULT_TRUST_DOMAIN, at), at + HOUR // 2) is not second


# --- what is told --------------------------------------------------------------------------------------------------


def counters(authority: Authority, replica: Gateway, name: str) -> Json:
    status, body = report(replica, context(authority, issued(authority)))
    assert status == 200
    quotas = {each["name"]: each["counters"] for each in json.loads(body)["quotas"]}
    return {(each["limit"], each["key"]): each for each in quotas[name]}


def test_what_a_call_holds_is_told(authority: Authority, replica: Gateway) -> None:
    before = counters(authority, replica, "research")["rpm", "team-a/researcher"]
    with replica.asking(chain_of(authority, now())) as asker:
        assert isinstance(asker.ask(asker.good()), Granted)
    found = counters(authority, replica, "research")
    rpm, budget = found["rpm", "team-a/researcher"], found["budget", "team-a/researcher"]
    assert rpm["held"] + rpm["used"] == before["held"] + before["used"] + 1
    assert budget["held"] > 0
    assert budget["resetsAt"] > now()
    assert found["rpm", "team-a/writer"]["held"] == 0


def test_a_limit_is_told_as_spent_when_a_call_was_refused_for_it_and_not_while_it_is_only_held(
    authority: Authority,
) -> None:
    tiny = quota("tiny", {"name": "tokens", "tokens": 250, "window": "Lifetime"}, onShortfall="Refuse")
    documents = [agent("researcher"), provider(endpoint="http://127.0.0.1:1"), tiny]
    with gateway(documents, authority, now()) as small, small.asking(chain_of(authority, now())) as asker:
        granted, refused = asker.ask(asker.good()), asker.ask(asker.good())
        assert isinstance(granted, Granted)
        assert isinstance(refused, Denied)
        assert refused.reason == "quota.tokens.held"
        assert [each["spent"] for each in counters(authority, small, "tiny").values()] == [False]
        ledger = SQLiteLedger(small.folder / "ledger.db")
        ledger.settle(granted.call, Amounts(1, 200, 5, 0), Source.PROVIDER, now())
        ledger.close()
        refused = asker.ask(asker.good())
        assert isinstance(refused, Denied)
        assert refused.reason == "quota.tokens.spent"
        [counter] = counters(authority, small, "tiny").values()
        assert (counter["used"], counter["held"], counter["spent"]) == (205, 0, True)


# --- renewal -------------------------------------------------------------------------------------------------------


def serial(replica: Gateway, made: ssl.SSLContext) -> int:
    with connected(replica, made) as connection:
        return x509.load_der_x509_certificate(connection.sock.getpeercert(binary_form=True)).serial_number


def test_a_renewed_certificate_and_another_root_are_taken_while_it_runs(authority: Authority) -> None:
    with gateway(DOCUMENTS, authority, now()) as replica:
        mine = context(authority, issued(authority))
        first = serial(replica, mine)
        with connected(replica, mine) as kept:
            replica.believe(authority, now())
            assert serial(replica, mine) != first
            kept.request("GET", "/report")
            assert kept.getresponse().read()
        other = authority_of(DEFAULT_TRUST_DOMAIN, now())
        replica.believe(other, now())
        assert report(replica, context(other, issued(other)))[0] == 200
        with pytest.raises(NoAnswer):
            ask(replica.address, replica.port, OwnSVID("tollway-system").context(authority, now()), GATEWAY)


def test_files_that_cannot_be_read_keep_the_last_good_ones(authority: Authority) -> None:
    with gateway(DOCUMENTS, authority, now()) as replica:
        mine = context(authority, issued(authority))
        assert report(replica, mine)[0] == 200
        (replica.identity / "..data" / "tls.crt").write_bytes(b"half a certif")
        assert report(replica, mine)[0] == 200
        assert replica.said().count("cannot ask for usage by the files") == 1


def test_the_command_lines_port_is_on_loopback(replica: Gateway) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", replica.admin_port, timeout=10)
    connection.request("GET", "/status")
    assert json.loads(connection.getresponse().read())["generation"] == 1
    connection.close()
    with socket.socket() as elsewhere, pytest.raises(ConnectionRefusedError):
        elsewhere.connect(("127.0.0.2", replica.admin_port))
