"""R13, R14: a certificate that is not, or no longer, an SVID of an agent gets no call, and its holder is told why.

All are signed by the installation's own authority, which would never issue them. Some Envoy refuses in the handshake,
with an alert; what it lets through is refused call by call, in the provider's shape.
"""

import ssl
import time
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from identity.crafting import usage
from identity.test_peer_validation import der_names
from proving.test_certificates_on_the_road import CALLER, HOUR, cas, crafted, now_ms
from withstanding.ground import CHAT, MESSAGE, MESSAGES, VERSION, Answer, Ground, client_context, read_answer, request

ID = str(CALLER)
URI, MAIL, DNS = 0x86, 0x81, 0x82
"""Tags of names in a certificate."""


def certificate(ground: Ground, **changed: Any) -> bytes:
    """A good one but for what is named, with its key."""
    chain, key = crafted(cas(ground.installation)[1], **changed)
    return chain + key


def uri(text: str) -> dict[str, Any]:
    return {"raw_names": der_names((URI, text.encode()))}


REFUSED: dict[str, dict[str, Any]] = {
    "two URIs": {"uris": (ID, "https://example.org/x")},
    "two agents": {"uris": (ID, ID.replace("caller", "poor"))},
    "twice the same agent": {"uris": (ID, ID)},
    "a path of nothing": {"uris": ("spiffe://cluster.local/",)},
    "a path that is not ours": {"uris": ("spiffe://cluster.local/somebody",)},
    "a segment up": {"uris": (ID.replace("/sa/caller/", "/sa/x/../caller/"),)},
    "a segment up, escaped": {"uris": (ID.replace("/sa/caller/", "/sa/x/%2e%2e/caller/"),)},
    "a segment of one dot": {"uris": (ID.replace("/sa/", "/./sa/"),)},
    "an empty segment": {"uris": (ID.replace("/sa/", "//sa/"),)},
    "a slash at the end": {"uris": (f"{ID}/",)},
    "an escaped letter": {"uris": (ID.replace("caller", "c%61ller"),)},
    "a query": {"uris": (f"{ID}?x=y",)},
    "a fragment": {"uris": (f"{ID}#x",)},
    "a space behind": {"uris": (f"{ID} ",)},
    "a zero byte behind": uri(f"{ID}\0"),
    "a zero byte inside": uri(f"{ID}\0.evil.example"),
    "a zero byte in another name": {"raw_names": der_names((URI, ID.encode()), (DNS, b"x.pod.cluster.local\0.evil"))},
    "a zero byte in a mail address": {"raw_names": der_names((URI, ID.encode()), (MAIL, b"a\0@b.example"))},
    "a letter beyond ASCII": uri(ID.replace("caller", "c\u0430ller")),
    "names that are not critical": {"names_critical": False},
    "for servers only": {"purposes": (ExtendedKeyUsageOID.SERVER_AUTH,)},
    "for clients only": {"purposes": (ExtendedKeyUsageOID.CLIENT_AUTH,)},
    "the gateway's own ID": {"uris": ("spiffe://cluster.local/ns/tollway-system/sa/tollway-gateway",)},
    "an agent of the root namespace": {"uris": ("spiffe://cluster.local/ns/tollway-system/sa/a/agent/b",)},
}


@pytest.mark.parametrize("changed", REFUSED.values(), ids=REFUSED)
def test_R14_a_certificate_that_is_no_svid_of_an_agent_is_refused_with_the_reason(
    ground: Ground, changed: dict[str, Any]
) -> None:
    for path, sent in {CHAT: request(), MESSAGES: request(MESSAGES, VERSION, body=MESSAGE)}.items():
        with ground.unmoved():
            answer = asked_with(ground, certificate(ground, **changed), sent)
            assert (answer.status, answer.reason) == (401, "identity.invalid")
            assert answer.is_shaped(path)


def asked_with(ground: Ground, shown: bytes, sent: bytes) -> Answer:
    with ground.to_gateway(shown) as connection:
        connection.sendall(sent)
        return read_answer(connection)


UNHEARD: dict[str, dict[str, Any]] = {
    "a CA": {"ca": True},
    "a CA that may sign": {"ca": True, "usage": usage(digital_signature=True, key_cert_sign=True)},
    "a leaf that may sign certificates": {"usage": usage(digital_signature=True, key_cert_sign=True)},
    "a leaf that may sign revocations": {"usage": usage(digital_signature=True, crl_sign=True)},
    "no usage": {"usage": None},
    "no names": {"uris": ()},
    "no URI": {"uris": (), "names": (x509.DNSName("cluster.local"),)},
    "another URI first": {"uris": ("https://example.org/x", ID)},
    "no path": {"uris": ("spiffe://cluster.local",)},
    "another trust domain": {"uris": (ID.replace("cluster.local", "elsewhere.org"),)},
    "a trust domain that begins like ours": {"uris": (ID.replace("cluster.local", "cluster.local.evil.example"),)},
    "a trust domain that ends like ours": {"uris": (ID.replace("cluster.local", "a.cluster.local"),)},
    "a trust domain in capitals": {"uris": (ID.replace("cluster.local", "CLUSTER.LOCAL"),)},
    "a trust domain with a port": {"uris": (ID.replace("cluster.local", "cluster.local:443"),)},
    "a trust domain with a user": {"uris": (ID.replace("cluster.local", "x@cluster.local"),)},
    "a trust domain cut by a zero byte": uri(ID.replace("cluster.local", "cluster.local\0.evil.example")),
    "a zero byte in front": uri(f"\0{ID}"),
    "a scheme in capitals": uri(ID.replace("spiffe", "SPIFFE")),
}


@pytest.mark.parametrize("changed", UNHEARD.values(), ids=UNHEARD)
def test_R14_a_certificate_that_breaks_a_rule_envoy_knows_is_refused_in_the_handshake(
    ground: Ground, changed: dict[str, Any]
) -> None:
    with ground.unmoved():
        assert "ALERT" in alert(ground, certificate(ground, **changed))


def alert(ground: Ground, shown: bytes) -> str:
    return alert_in(ground, client_context(shown))


def alert_in(ground: Ground, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> str:
    """What ends the handshake. (In TLS 1.3 a client learns that with the first byte that it reads.)"""
    with pytest.raises(ssl.SSLError) as refused, ground.handshake(context, session=session) as connection:
        connection.recv(1)
    return refused.value.reason


def test_R13_an_expired_certificate_is_refused_in_a_fresh_handshake(ground: Ground) -> None:
    expired = {"not_before": now_ms() - 2 * HOUR, "not_after": now_ms() - 1000}
    with ground.unmoved():
        assert "ALERT" in alert(ground, certificate(ground, **expired))


def test_R13_a_certificate_that_is_not_valid_yet_is_refused_in_a_fresh_handshake(ground: Ground) -> None:
    with ground.unmoved():
        assert "ALERT" in alert(ground, certificate(ground, not_before=now_ms() + HOUR // 2))


LIFE_MS = 5_000


def test_R13_a_certificate_that_expires_is_refused_on_its_open_connection_and_never_comes_back(ground: Ground) -> None:
    """It had a call before. Afterwards neither its connection nor its session gets another."""
    expires = now_ms() + LIFE_MS
    context = client_context(certificate(ground, not_after=expires))
    with ground.handshake(context) as connection:
        with ground.one_call():
            assert ask(connection).status == 200
        session = connection.session
        # A certificate's end is said in whole seconds, and it is valid until then.
        time.sleep(max(0, expires // 1000 + 1 - time.time()))
        for _ in range(2):
            with ground.unmoved():
                answer = ask(connection)
                assert (answer.status, answer.reason) == (401, "identity.expired")
                assert answer.is_shaped()
    with ground.unmoved():
        assert "ALERT" in alert_in(ground, context, session)
        assert "ALERT" in alert_in(ground, context)


def ask(connection: ssl.SSLSocket) -> Answer:
    connection.sendall(request())
    return read_answer(connection)


def test_R13_no_session_is_ever_resumed(ground: Ground) -> None:
    """Each connection proves its certificate."""
    context = client_context(certificate(ground))
    session = None
    for _ in range(3):
        with ground.handshake(context, session=session) as connection:
            assert ask(connection).status == 200
            assert not connection.session_reused
            session = connection.session
            assert session is None or not session.has_ticket


def test_R14_the_books_are_in_order_after_all_of_it(ground: Ground) -> None:
    ground.counters()
    assert ground.in_order()
