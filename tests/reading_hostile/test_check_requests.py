"""Row R30: what arrives at the check socket, however malformed, is decided or fails cleanly: never a grant, never a
crash, and other calls go on."""

import contextlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from installations import Installation, agent, budget, children_of, provider, quota, running, secret
from reading_hostile.asking import Asker, Denied, Granted, asking, is_refused
from tollway_extauthz.wire.envoy_subset_pb2 import CheckRequest

MIB = 1 << 20
DOCUMENTS = [secret(), provider(), agent("caller"), quota("plenty", budget("5000.00"))]


@dataclass(frozen=True)
class Place:
    installation: Installation
    asker: Asker

    def data_plane(self) -> int:
        def command(pid: int) -> bytes:
            with contextlib.suppress(OSError):
                return Path(f"/proc/{pid}/cmdline").read_bytes()
            return b""

        (found,) = [pid for pid in children_of(self.installation.pid) if b"extauthz/settings.json" in command(pid)]
        return found


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with running(DOCUMENTS) as (installation, _), asking(installation, "team-a/caller") as asker:
        yield Place(installation, asker)


@pytest.fixture(autouse=True)
def _calls_go_on(place: Place) -> Iterator[None]:
    """After each of these tests the same process decides as before."""
    before = place.data_plane()
    yield
    assert isinstance(place.asker.ask(place.asker.good()), Granted)
    assert place.data_plane() == before


def varint(number: int) -> bytes:
    groups = [number >> shift & 0x7F for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def member(number: int, content: bytes) -> bytes:
    """A length-delimited member of a protobuf message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def http(content: bytes) -> bytes:
    """The `CheckRequest` whose HTTP request has this content."""
    return member(1, member(4, member(2, content)))


def nested(levels: int) -> bytes:
    """An unknown member in itself, many times."""
    content = b""
    for _ in range(levels):
        content = member(4, content)
    return content


NOISE = random.Random(30)
RAW: dict[str, bytes] = {
    "an empty message": b"",
    "noise": NOISE.randbytes(1000),
    "more noise": NOISE.randbytes(100_000),
    "a member that is longer than the message": b"\x0a\xff\xff\xff\xff\x07abc",
    "a number without an end": b"\xff" * 20,
    "another type of member": b"\x08\x01",
    "a group that nobody closes": b"\x0b" * 1000,
    "a message in itself a hundred thousand times": nested(5000),
    "attributes without anything": member(1, b""),
    "attributes without a request": member(1, member(1, member(5, b"nobody"))),
    "a request without http": member(1, member(4, b"")),
    "http without anything": http(b""),
    "a method that is not UTF-8": http(member(2, b"PO\xff\xfeST")),
    "a path that is not UTF-8": http(member(2, b"POST") + member(4, b"/openai/\xc3\x28")),
    "a header's name that is not UTF-8": http(member(13, member(1, member(1, b"\xff") + member(3, b"x")))),
    "a certificate that is not UTF-8": member(1, member(1, member(5, b"\xf0\x28\x8c\x28"))),
    "an extension that is not UTF-8": member(1, member(10, member(1, b"provider") + member(2, b"\xff"))),
    "a JSON text": json.dumps({"attributes": {"request": {}}}).encode(),
}


@pytest.mark.parametrize("raw", RAW.values(), ids=RAW)
def test_R30_what_is_no_question_is_never_granted(place: Place, raw: bytes) -> None:
    assert is_refused(place.asker.ask(raw))


def big(rest: bytes = b"}") -> bytes:
    """A body that is read in a process of its own, and in order if the rest of it is."""
    prompt = b"x" * 100_000
    return b'{"model":"gpt-4o-mini","messages":[{"role":"user","content":"%b"}],"max_tokens":5%b' % (prompt, rest)


def many_headers(asker: Asker) -> CheckRequest:
    asked = asker.good()
    for number in range(100_000):
        asked.attributes.request.http.header_map.headers.add(key=f"x-{number}", raw_value=b"v" * 90)
    asked.attributes.request.http.method = "PUT"
    return asked


WRONG: dict[str, tuple[Callable[[Asker], CheckRequest], str]] = {
    "no method": (lambda a: a.good(method=""), "operation.unknown"),
    "CONNECT": (lambda a: a.good(method="CONNECT", path=""), "operation.unknown"),
    "CONNECT to a host": (lambda a: a.good(method="CONNECT", path="api.openai.com:443"), "operation.unknown"),
    "a method in lower case": (lambda a: a.good(method="post"), "operation.unknown"),
    "no path": (lambda a: a.good(path=""), "operation.unknown"),
    "a path without its provider": (lambda a: a.good(path="/v1/chat"), "operation.unknown"),
    "a path of another operation": (lambda a: a.good(path="/openai/v1/files"), "operation.unknown"),
    "a path with dots": (lambda a: a.good(path="/openai/v1/x/../chat/completions"), "operation.unknown"),
    "a path with a parameter": (lambda a: a.good(path="/openai/v1/chat/completions;x=1"), "operation.unknown"),
    "a path with a zero byte": (lambda a: a.good(path="/openai/v1/chat/completions\0"), "operation.unknown"),
    "a path of a megabyte": (lambda a: a.good(path="/openai" + "/v1" * MIB), "operation.unknown"),
    "a query": (lambda a: a.good(path="/openai/v1/chat/completions?api-version=1"), "request.malformed"),
    "no provider": (lambda a: a.good(provider=None), "provider.unknown"),
    "an empty provider": (lambda a: a.good(provider=""), "provider.unknown"),
    "a provider of a megabyte": (lambda a: a.good(provider="x" * MIB), "provider.unknown"),
    "a provider with a line break": (lambda a: a.good(provider="openai\r\nx-evil: 1"), "provider.unknown"),
    "no certificate": (lambda a: a.good(certificate=""), "identity.missing"),
    "a certificate of letters": (lambda a: a.good(certificate="x" * 1000), "identity.invalid"),
    "a certificate of ten megabytes": (lambda a: a.good(certificate="x" * 10 * MIB), "identity.invalid"),
    "two certificates": (lambda a: a.good(certificate=a.certificate * 2), "identity.invalid"),
    "half a certificate": (lambda a: a.good(certificate=a.certificate[: len(a.certificate) // 2]), "identity.invalid"),
    "no body": (lambda a: a.good(body=b""), "request.unreadable"),
    "a body that is no JSON": (lambda a: a.good(body=b"model=gpt-4o-mini"), "request.unreadable"),
    "a body that is not UTF-8": (lambda a: a.good(body=b'{"model":"\xff"}'), "request.unreadable"),
    "a compressed body": (lambda a: a.good(body=b"\x1f\x8b\x08\0\0\0\0\0"), "request.unreadable"),
    "a body of brackets": (lambda a: a.good(body=b"[" * 10 * MIB), "request.too_large"),
    "a body that is too large": (lambda a: a.good(body=b" " * (32 * MIB + 1)), "request.too_large"),
    "a big body that is cut": (lambda a: a.good(body=big()[:-1]), "request.unreadable"),
    "a big body with a key twice": (lambda a: a.good(body=big(b',"n":1,"n":1}')), "request.unreadable"),
    "a big body that is not UTF-8": (lambda a: a.good(body=big(b',"user":"\xff"}')), "request.unreadable"),
    "a big body that is nested": (lambda a: a.good(body=b'{"a":' * 100_000), "request.unreadable"),
    "a big body of many values": (lambda a: a.good(body=b"{" + b'"a":[],' * 300_000 + b"}"), "request.too_large"),
    "a big body of another kind": (lambda a: a.good(body=big(), content_type=b"text/plain"), "request.unreadable"),
    "no content type": (lambda a: a.good(content_type=None), "request.unreadable"),
    "a form": (lambda a: a.good(content_type=b"application/x-www-form-urlencoded"), "request.unreadable"),
    "a content type that is not UTF-8": (lambda a: a.good(content_type=b"application/json\xff"), "request.unreadable"),
    "two content types": (lambda a: a.good(content_type=[b"application/json"] * 2), "request.malformed"),
    "two hosts": (lambda a: a.good(**{":authority": b"gateway,provider"}), "request.malformed"),
    "two keys": (lambda a: a.good(authorization=[b"Bearer a", b"Bearer b"]), "request.malformed"),
    "a header of ten megabytes": (lambda a: a.good(method="PUT", x_long=b"v" * 10 * MIB), "operation.unknown"),
    "ten megabytes of headers": (many_headers, "operation.unknown"),
}


@pytest.mark.parametrize(("question", "reason"), WRONG.values(), ids=WRONG)
def test_R30_a_question_with_something_wrong_is_refused_by_name_in_the_provider_s_shape(
    place: Place, question: Callable[[Asker], CheckRequest], reason: str
) -> None:
    denied = place.asker.ask(question(place.asker))
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.status in range(400, 500)) == (reason, True)
    assert json.loads(denied.body)["error"].keys() == {"message", "type", "param", "code"}
    assert len(denied.body) < 10_000
    assert all(value.isprintable() for value in denied.headers.values())


NAMELESS: dict[str, Callable[[Asker], CheckRequest]] = {
    "none": lambda a: a.good(x_request_id=None),
    "an empty one": lambda a: a.good(x_request_id=b""),
    "two": lambda a: a.good(x_request_id=[b"one", b"other"]),
    "one that breaks a line": lambda a: a.good(x_request_id=b"one\r\nx-evil: 1"),
    "one that is not UTF-8": lambda a: a.good(x_request_id=b"\xff\xfe"),
    "one of a megabyte": lambda a: a.good(x_request_id=b"x" * MIB),
}


@pytest.mark.parametrize("question", NAMELESS.values(), ids=NAMELESS)
def test_R30_a_call_without_an_id_of_its_own_is_never_granted(
    place: Place, question: Callable[[Asker], CheckRequest]
) -> None:
    assert is_refused(place.asker.ask(question(place.asker)))


def test_R30_a_big_body_in_order_is_granted(place: Place) -> None:
    assert isinstance(place.asker.ask(place.asker.good(body=big())), Granted)


def test_R30_the_same_id_is_not_granted_twice(place: Place) -> None:
    question = place.asker.good(x_request_id=b"once")
    assert isinstance(place.asker.ask(question), Granted)
    assert is_refused(place.asker.ask(question))


def test_R30_a_method_that_is_not_served_is_said_to_be_none(place: Place) -> None:
    for method in ("/envoy.service.auth.v3.Authorization/Decide", "/x/y", "/"):
        assert place.asker.ask(place.asker.good(), method) is grpc.StatusCode.UNIMPLEMENTED


def test_R30_a_question_over_the_limit_of_messages_is_not_taken_in(place: Place) -> None:
    assert place.asker.ask(place.asker.good(body=b" " * 41 * MIB)) is grpc.StatusCode.RESOURCE_EXHAUSTED


# --- made up -------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=60)
PATHS = st.lists(
    st.sampled_from(["openai", "v1", "chat", "completions", "..", "%2e", "", "?", "#", ";", "é"]), max_size=6
)
BODIES = st.binary(max_size=60) | st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("model"), inner, max_size=3),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())


@st.composite
def malformed(draw: st.DrawFn) -> Callable[[Asker], CheckRequest]:
    """A question that is in order but for one part, which is anything else."""
    match draw(st.sampled_from(["method", "path", "body", "provider", "certificate", "content-type"])):
        case "method":
            method = draw(TEXT.filter(lambda text: text != "POST"))
            return lambda a: a.good(method=method)
        case "path":
            path = "/" + "/".join(draw(PATHS))
            return lambda a: a.good(path=path if path != "/openai/v1/chat/completions" else "/")
        case "body":
            body = draw(BODIES)  # none of them has messages
            return lambda a: a.good(body=body)
        case "provider":
            name = draw(TEXT.filter(lambda text: text != "openai"))
            return lambda a: a.good(provider=name, path=f"/{name}/v1/chat/completions")
        case "certificate":
            at, sign = draw(st.integers(0, 500)), draw(st.sampled_from("A%/+ \n"))
            return lambda a: a.good(certificate=_changed(a.certificate, at, sign))
    kind = draw(st.binary(max_size=40).filter(lambda value: b"json" not in value.lower()))
    return lambda a: a.good(content_type=kind)


def _changed(certificate: str, at: int, sign: str) -> str:
    """Another sign in the middle of its base64."""
    place = 60 + at
    return certificate[:place] + (sign if certificate[place] != sign else "=") + certificate[place + 1 :]


@settings(max_examples=150, deadline=None)
@given(malformed())
def test_R30_a_question_of_which_any_part_is_made_up_is_never_granted(
    place: Place, question: Callable[[Asker], CheckRequest]
) -> None:
    assert is_refused(place.asker.ask(question(place.asker)))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.builds(http, st.binary(max_size=60)))
def test_R30_made_up_bytes_are_never_granted(place: Place, raw: bytes) -> None:
    assert is_refused(place.asker.ask(raw))
