"""R27: where a request ends, and for whom it is, has one reading, or there is an error.

Sent as bytes to the sidecar and, past it, to the gateway. Envoy takes some sloppy spellings of HTTP/1 (a bare LF, a
folded line); what they mean is then written anew for the next hop, so that nobody behind can read them differently. The
provider is one that reads strictly.
"""

import itertools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from withstanding import frames
from withstanding.ground import BODY, CHAT, HOPS, JSON, Answer, Ground, head, request
from withstanding.recording_provider import Received

LENGTH = f"content-length: {len(BODY)}"
CHUNKED = "transfer-encoding: chunked"
SECRET = request(CHAT, "user-agent: smuggled")


def chunks(*pieces: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end


REFUSED = {
    "a length and chunks": head(CHAT, JSON, LENGTH, CHUNKED) + chunks(BODY),
    "a length and chunks around another request": head(CHAT, JSON, "content-length: 5", CHUNKED) + chunks() + SECRET,
    "chunks and a length that covers another": head(CHAT, JSON, CHUNKED, f"content-length: {len(SECRET) + 5}")
    + chunks()
    + SECRET,
    "two lengths": head(CHAT, JSON, LENGTH, "content-length: 1") + BODY,
    "twice the same length": head(CHAT, JSON, LENGTH, LENGTH) + BODY,
    "a list of lengths": head(CHAT, JSON, f"{LENGTH}, {len(BODY)}") + BODY,
    "a length with a sign": head(CHAT, JSON, f"content-length: +{len(BODY)}") + BODY,
    "a length below zero": head(CHAT, JSON, "content-length: -1") + BODY,
    "a length in hexadecimal": head(CHAT, JSON, f"content-length: {len(BODY):#x}") + BODY,
    "a length over 64 bits": head(CHAT, JSON, f"content-length: {2**64 + len(BODY)}") + BODY,
    "an empty length": head(CHAT, JSON, "content-length:") + BODY,
    "a space before the colon of the length": head(CHAT, JSON, f"content-length : {len(BODY)}") + BODY,
    "a space before the colon of the encoding": head(CHAT, JSON, "transfer-encoding : chunked", LENGTH) + BODY,
    "an unknown encoding": head(CHAT, JSON, "transfer-encoding: xchunked", LENGTH) + BODY,
    "a vertical tab before the encoding": head(CHAT, JSON, "transfer-encoding: \x0bchunked") + chunks(BODY),
    "the encoding identity": head(CHAT, JSON, LENGTH, "transfer-encoding: identity") + BODY,
    "two encodings": head(CHAT, JSON, "transfer-encoding: gzip, chunked") + chunks(BODY),
    "twice the same encoding": head(CHAT, JSON, CHUNKED, CHUNKED) + chunks(BODY),
    "a line feed in a chunk's extension": head(CHAT, JSON, CHUNKED)
    + b"%x;a=\nb\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "bare line feeds around chunks": head(CHAT, JSON, CHUNKED) + b"%x\n%b\n0\n\n" % (len(BODY), BODY),
    "a chunk's size with 0x": head(CHAT, JSON, CHUNKED) + b"0x%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "a chunk's size below zero": head(CHAT, JSON, CHUNKED) + b"-1\r\n%b\r\n0\r\n\r\n" % BODY,
    "a chunk's size over 64 bits": head(CHAT, JSON, CHUNKED) + b"fffffffffffffffff\r\n%b\r\n0\r\n\r\n" % BODY,
    "a chunk longer than it says": head(CHAT, JSON, CHUNKED) + b"%x\r\n%b0\r\n\r\n" % (len(BODY), BODY),
    "two hosts": request(CHAT, "host: api.evil.example"),
    "no host": request(CHAT, host=None),
    "a list of hosts": request(CHAT, host="localhost,api.evil.example"),
    "a space in the host": request(CHAT, host="a b"),
    "an absolute address": request(f"http://api.evil.example{CHAT}"),
    "an absolute address without a path": request("http://api.evil.example"),
    "an authority": request("api.evil.example:443"),
    "a tunnel": request("api.evil.example:443", method="CONNECT"),
    "an asterisk": request("*", method="OPTIONS"),
    "a folded first line": head()[:-2].replace(b"\r\nhost", b"\r\n host")
    + f"{LENGTH}\r\n{JSON}\r\n\r\n".encode()
    + BODY,
    "a zero byte in a value": request(CHAT, "user-agent: a\0b"),
    "a zero byte in a name": request(CHAT, "x\0a: b"),
    "a space in a name": request(CHAT, "x a: b"),
    "a line without a colon": request(CHAT, "nonsense"),
    "a pseudo header": request(CHAT, ":path: /anthropic/v1/messages"),
    "an underscore": request(CHAT, "content_length: 3"),
    "a space in the path": request(f"{CHAT} x"),
    "HTTP/0.9": f"GET {CHAT}\r\n\r\n".encode(),
    "HTTP/1.0": request().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "HTTP/1.2": request().replace(b"HTTP/1.1", b"HTTP/1.2"),
    "HTTP/2.0 in a line": request().replace(b"HTTP/1.1", b"HTTP/2.0"),
    "http in lower case": request().replace(b"HTTP/1.1", b"http/1.1"),
    "a method in lower case": request(method="post"),
    "a protocol to change to": request(CHAT, "connection: upgrade", "upgrade: websocket"),
    "a length that the connection's header takes away": request(CHAT, "connection: host, x-request-id"),
    "a body without a length": head(CHAT, JSON) + BODY,
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_R27_an_ambiguous_request_is_refused_and_nothing_of_it_goes_on(ground: Ground, hop: str, sent: bytes) -> None:
    with ground.unmoved():
        answer = ground.send(hop, sent)
        assert answer.status in {400, 404, 421, 426}, answer
        assert answer.is_shaped()
        assert answer.reason


SLOPPY = {
    "chunks": head(CHAT, JSON, CHUNKED) + chunks(BODY[:10], BODY[10:]),
    "chunks in capitals": head(CHAT, JSON, "Transfer-Encoding: CHUNKED") + chunks(BODY),
    "a tab before the encoding": head(CHAT, JSON, "transfer-encoding:\tchunked") + chunks(BODY),
    "a chunk's extension": head(CHAT, JSON, CHUNKED) + b"%x;a=b\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    "trailers": head(CHAT, JSON, CHUNKED, "trailer: x-a")
    + chunks(BODY, end=b"0\r\nx-tollway-family: Anthropic\r\nauthorization: x\r\ncontent-length: 3\r\n\r\n"),
    "zeros before the length": head(CHAT, JSON, f"content-length: 000{len(BODY)}") + BODY,
    "bare line feeds": request().replace(b"\r\n", b"\n"),
    "one bare line feed": request().replace(b"\r\ncontent-type", b"\ncontent-type"),
    "a bare line feed inside of a value": request(CHAT, "x-a: b\nx-tollway-call: forged"),
    "a bare carriage return": request(CHAT, "x-a: b\rx-tollway-call: forged"),
    "a folded line": request(CHAT, "x-a: b\r\n x-tollway-call: forged"),
    "a folded content type": request(content_type="content-type: application/json;\r\n charset=utf-8"),
    "empty lines in front": b"\r\n\r\n" + request(),
    "two spaces in the first line": request().replace(b"POST /", b"POST  /"),
    "a tab in the first line": request().replace(b"POST /", b"POST\t/"),
    "a length named by the connection's header": request(CHAT, "connection: content-length"),
    "a protocol that nobody changes to": request(CHAT, "connection: upgrade, http2-settings", "upgrade: h2c"),
    "te": request(CHAT, "te: gzip"),
    "a proxy's connection": request(CHAT, "proxy-connection: keep-alive", "keep-alive: 1"),
    "a wish to be told to go on": request(CHAT, "expect: 100-continue"),
    "another method beside": request(CHAT, "x-http-method-override: DELETE", "x-method-override: GET"),
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("sent", SLOPPY.values(), ids=SLOPPY)
def test_R27_what_is_sloppy_but_clear_is_one_call_and_reaches_the_provider_clean(
    ground: Ground, hop: str, sent: bytes
) -> None:
    with ground.one_call() as received:
        answer = ground.send(hop, sent)
        assert answer.status == 200, answer
    assert_is_clean(received[0])


EVERY_TIME = {"accept-encoding", "authorization", "content-length", "content-type", "host", "x-request-id"}
"""The headers of a call that names none."""


def assert_is_clean(received: Received) -> None:
    """The call that everybody makes, and nothing else."""
    assert received.request_line == "POST /v1/chat/completions HTTP/1.1"
    names = [name for name, _ in received.headers]
    assert sorted(names) == sorted(EVERY_TIME), received.head
    assert received.all("content-length") == [str(len(received.body))]
    assert received.all("content-type")[0].replace(" ", "") in {"application/json", "application/json;charset=utf-8"}
    assert received.body.endswith(BODY[1:])
    assert b"\n" not in received.head.replace(b"\r\n", b"")


@pytest.mark.parametrize("hop", HOPS)
def test_R27_requests_in_one_piece_are_so_many_calls_and_each_is_charged(ground: Ground, hop: str) -> None:
    requests, before = ground.counters()["team-a/plenty/requests"], len(ground.provider.received)
    with ground.connection(hop) as connection:
        connection.sendall(3 * request())
        connection.settimeout(10)
        read = b""
        while read.count(b'"total_tokens"') < 3:
            read += connection.recv(65536)
    assert len(ground.provider.received) == before + 3
    assert len({received.call for received in ground.provider.received[before:]}) == 3
    assert ground.counters()["team-a/plenty/requests"] == requests + 3


USUAL = {
    ":method": "POST",
    ":scheme": "http",
    ":path": CHAT,
    ":authority": "localhost",
    "content-type": "application/json",
}


def h2(*more: tuple[str, str], first: tuple[tuple[str, str], ...] = (), **pseudo: str | None) -> list[tuple[str, str]]:
    """The headers of a call, with pseudo headers replaced or (None) left out."""
    changed = USUAL | {f":{name}": value for name, value in pseudo.items()}
    return [*first, *((name, value) for name, value in changed.items() if value is not None), *more]


Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Frames:
    """A request in HTTP/2."""

    headers: Headers
    trailers: Headers = field(default_factory=list)

    def asking(self, prompt: str = "hi") -> bytes:
        return frames.call(self.headers, BODY.replace(b'"hi"', json.dumps(prompt).encode()), self.trailers)


REFUSED_FRAMES = {
    "a length that is too small": Frames(h2(("content-length", "5"))),
    "a length that is too large": Frames(h2(("content-length", "5000"))),
    "two lengths": Frames(h2(("content-length", str(len(BODY))), ("content-length", "5"))),
    "chunks": Frames(h2(("transfer-encoding", "chunked"))),
    "a connection header": Frames(h2(("connection", "close"))),
    "keep-alive": Frames(h2(("keep-alive", "1"))),
    "a proxy's connection": Frames(h2(("proxy-connection", "close"))),
    "an upgrade": Frames(h2(("upgrade", "websocket"))),
    "te of anything but trailers": Frames(h2(("te", "gzip"))),
    "a name in capitals": Frames(h2(("X-Upper", "1"))),
    "an unknown pseudo header": Frames(h2((":provider", "anthropic"))),
    "a pseudo header behind others": Frames(h2()[4:] + h2()[:4]),
    "two paths": Frames(h2(first=((":path", "/anthropic/v1/messages"),))),
    "two methods": Frames(h2(first=((":method", "GET"),))),
    "two authorities": Frames(h2(first=((":authority", "api.evil.example"),))),
    "a list of authorities": Frames(h2(authority="localhost,api.evil.example")),
    "two hosts": Frames(h2(("host", "localhost"), ("host", "b"), authority=None)),
    "no path": Frames(h2(path=None)),
    "an empty path": Frames(h2(path="")),
    "a path that does not begin at the root": Frames(h2(path=CHAT[1:])),
    "an absolute address": Frames(h2(path=f"http://api.evil.example{CHAT}")),
    "an asterisk": Frames(h2(path="*")),
    "no method": Frames(h2(method=None)),
    "a request in the method": Frames(h2(method=f"POST {CHAT} HTTP/1.1\r\nhost: x\r\n\r\nGET")),
    "no scheme": Frames(h2(scheme=None)),
    "a line in the scheme": Frames(h2(scheme="http\r\nx: y")),
    "an address in the scheme": Frames(h2(scheme="http://api.evil.example/?")),
    "no authority": Frames(h2(authority=None)),
    "a line in the authority": Frames(h2(authority="localhost\r\nx: y")),
    "a request in the path": Frames(h2(path=f"{CHAT} HTTP/1.1\r\nhost: x\r\n\r\n")),
    "a space in the path": Frames(h2(path=f"{CHAT} x")),
    "a fragment": Frames(h2(path=f"{CHAT}#x")),
    "a zero byte in the path": Frames(h2(path=f"{CHAT}\0")),
    "a byte over 127 in the path": Frames(h2(path=f"{CHAT}\xe4")),
    "a segment up": Frames(h2(path="/openai/../anthropic/v1/messages")),
    "a line in a value": Frames(h2(("user-agent", "a\r\nx: y"))),
    "a line feed in a value": Frames(h2(("user-agent", "a\nx: y"))),
    "a carriage return in a value": Frames(h2(("user-agent", "a\rx: y"))),
    "a zero byte in a value": Frames(h2(("user-agent", "a\0b"))),
    "a line in a name": Frames(h2(("a\r\nx", "y"))),
    "a colon in a name": Frames(h2(("a:b", "y"))),
    "an empty name": Frames(h2(("", "y"))),
    "an underscore": Frames(h2(("content_length", "3"))),
    "a tunnel": Frames([(":method", "CONNECT"), (":authority", "api.evil.example:443")]),
    "a tunnel with a protocol": Frames(h2((":protocol", "websocket"), method="CONNECT")),
    "a pseudo header in the trailers": Frames(h2(), [(":path", "/anthropic/v1/messages")]),
    "an encoding in the trailers": Frames(h2(), [("transfer-encoding", "chunked")]),
    "a length in the trailers": Frames(h2(), [("content-length", "3")]),
    "two content types": Frames(h2(("content-type", "text/plain"))),
    "a compressed body": Frames(h2(("content-encoding", "gzip"))),
}


@pytest.fixture(scope="module")
def frames_refused(ground: Ground) -> Mapping[tuple[str, str], Answer]:
    """What came of each at each hop, all at once: some only end when Envoy's patience with the connection does."""
    before = len(ground.provider.received)
    cases = list(itertools.product(REFUSED_FRAMES, HOPS))
    with ground.unmoved(), ThreadPoolExecutor(len(cases)) as senders:
        found = dict(zip(cases, senders.map(lambda case: send_frames(ground, *case), cases), strict=True))
        assert [received.json["messages"] for received in ground.provider.received[before:]] == []
    return found


def send_frames(ground: Ground, name: str, hop: str) -> Answer:
    with ground.connection(hop, alpn=["h2"]) as connection:
        connection.sendall(REFUSED_FRAMES[name].asking(name))
        return frames.read_call(connection)


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("name", REFUSED_FRAMES)
def test_R27_frames_that_another_protocol_would_read_differently_are_refused(
    frames_refused: Mapping[tuple[str, str], Answer], name: str, hop: str
) -> None:
    """By an error in the provider's shape, or, where HTTP/2 wants it, by the end of the stream or the connection."""
    answer = frames_refused[name, hop]
    assert answer.status in {0, 400, 404, 421}
    assert answer.status == 0 or answer.is_shaped()


CLEAN_FRAMES = {
    "as everybody": Frames(h2()),
    "with a length": Frames(h2(("content-length", str(len(BODY))))),
    "with a host beside the authority": Frames(h2(("host", "api.evil.example"))),
    "with another scheme": Frames(h2(scheme="https")),
    "with cookies": Frames(h2(("cookie", "a=1"), ("cookie", "b=2"))),
    "with trailers": Frames(h2(), [("x-tollway-family", "Anthropic"), ("authorization", "forged")]),
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("sent", CLEAN_FRAMES.values(), ids=CLEAN_FRAMES)
def test_R27_frames_that_are_clear_are_one_call_and_reach_the_provider_clean(
    ground: Ground, hop: str, sent: Frames
) -> None:
    with ground.one_call() as received, ground.connection(hop, alpn=["h2"]) as connection:
        connection.sendall(sent.asking())
        answer = frames.read_call(connection)
        assert answer.status == 200, answer
    assert_is_clean(received[0])


LARGE = {
    "many headers": tuple(f"x-{number}: 1" for number in range(120)),
    "long headers": (f"user-agent: {'a' * 70_000}",),
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("headers", LARGE.values(), ids=LARGE)
def test_R27_too_many_headers_are_refused_as_that(ground: Ground, hop: str, headers: tuple[str, ...]) -> None:
    with ground.unmoved():
        answer = ground.send(hop, request(CHAT, *headers))
        assert (answer.status, answer.reason) == (431, "request.headers_too_large")
        assert answer.is_shaped()


@pytest.mark.parametrize("number", range(80, 104, 2))
def test_R27_as_many_headers_as_the_sidecar_takes_the_gateway_takes_from_it(ground: Ground, number: int) -> None:
    """What it adds itself must not make them too many: the gateway would only reset the stream."""
    answer = ground.send("sidecar", request(CHAT, *(f"x-{each}: 1" for each in range(number))))
    assert answer.status in {200, 431}


@pytest.mark.parametrize("number", range(90, 104, 2))
def test_R27_headers_that_are_too_many_with_ours_hold_nothing(ground: Ground, number: int) -> None:
    requests = ground.counters()["team-a/plenty/requests"]
    answer = ground.send("gateway", request(CHAT, *(f"x-{each}: 1" for each in range(number))))
    assert answer.status in {200, 431, 503}
    assert ground.counters()["team-a/plenty/requests"] == requests + (answer.status == 200)


def test_R27_the_books_are_in_order_after_all_of_it(ground: Ground) -> None:
    ground.counters()
    assert ground.in_order()
