"""Answers of a broken or hostile provider: no process of ours dies, every call ends, and no budget is given back.

What a provider says of its own usage is believed within reason; what cannot be true is charged as if it had said none.
"""

import gzip
import http.client
import json
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

import pytest

from ending.stage import Stage
from guarding.scripted_provider import OPENING, ScriptedProvider, answer, usage
from installations import agent, budget, children_of, provider, quota, running, secret

AGENT = "team-a/caller"
CAP = 20
TRUE = usage(prompt_tokens=7, completion_tokens=9, total_tokens=16)
EVENTS = "text/event-stream"


def event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def deep(levels: int, begin: bytes = b"[", end: bytes = b"]") -> bytes:
    """A true answer with something of this depth beside its usage."""
    return TRUE.removesuffix(b"}") + b',"x":' + begin * levels + b"1" + end * levels + b"}"


UNTRUE = {
    "a negative number": usage(prompt_tokens=-5, completion_tokens=9),
    "a negative sum": usage(prompt_tokens=7, completion_tokens=-9, total_tokens=-2),
    "no number": usage(prompt_tokens="NaN", completion_tokens=9),
    "infinity": usage(prompt_tokens="1e400", completion_tokens=9),
    "beyond a double": usage(prompt_tokens=10**40, completion_tokens=9),
    "more than there can be": usage(prompt_tokens=2**41, completion_tokens=9),
    "half a token": usage(prompt_tokens=7.5, completion_tokens=9),
    "a text": usage(prompt_tokens='"7"', completion_tokens=9),
    "a truth": usage(prompt_tokens="true", completion_tokens=9),
    "a list": usage(prompt_tokens="[7]", completion_tokens=9),
    "an object": usage(prompt_tokens='{"a":7}', completion_tokens=9),
    "nothing": usage(prompt_tokens="null", completion_tokens=9),
    "10,000 levels": deep(10_000),
    "10,000 objects": deep(10_000, b'{"a":', b"}"),
    "100,000 levels that never end": b'{"x":' + b"[" * 100_000,
    "half of it": TRUE[:-20],
    "other encoding": TRUE.decode().encode("utf-16"),
}
WHOLE = {name: answer(body) for name, body in UNTRUE.items()}
STREAMED = {f"{name}, streamed": answer(event(body), EVENTS) for name, body in UNTRUE.items()}
PACKED = {
    "gzip": answer(gzip.compress(TRUE), "application/json", "content-encoding: gzip"),
    "gzip that unpacks to 64 MiB": answer(gzip.compress(bytes(64 << 20)), "application/json", "content-encoding: gzip"),
    "zstd that unpacks to 4 GiB": answer(bytes.fromhex("28b52ffda0ffffffff"), EVENTS, "content-encoding: zstd"),
}
UNENDING = {
    "a line of 4 MiB": answer(b"data: " + b"x" * (4 << 20), EVENTS),
    "an event of 300,000 lines": answer(b"data: x\n" * 300_000, EVENTS),
    "a million empty lines": answer(b"\n" * 1_000_000 + event(b"x"), EVENTS),
    "300,000 comments": answer(b": x\n\n" * 300_000, EVENTS),
    "a word of 900,000 letters": answer(event(TRUE.replace(b"gpt-4o-mini", b"m" * 900_000, 1)[:-2]), EVENTS),
}
TOO_LARGE = {"33 MiB of JSON": answer(TRUE[:-1] + b',"x":"' + b"x" * (33 << 20) + b'"}')}
UNFRAMED = {
    "no HTTP": b"220 mail.example ESMTP\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nhello",
    "two lengths": OPENING + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}x",
    "a length and chunks": OPENING + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk of no length": OPENING + b"transfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a header of 1 MiB": OPENING + b"x-long: " + b"x" * (1 << 20) + b"\r\ncontent-length: 2\r\n\r\n{}",
    "1,000 headers": OPENING + b"".join(b"x-%d: 1\r\n" % n for n in range(1000)) + b"content-length: 2\r\n\r\n{}",
    "a zero in a header": OPENING + b"x-zero: a\0b\r\ncontent-length: 2\r\n\r\n{}",
}
SECOND = OPENING + b"content-type: application/json\r\nx-forged: yes\r\ncontent-length: 8\r\n\r\n" + b'{"f": 1}'
ODD = {
    "early hints": b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" * 200 + answer(TRUE),
    "an answer that nobody asked for": answer(TRUE) + SECOND,
}
ACTS = WHOLE | STREAMED | PACKED | UNENDING | TOO_LARGE | UNFRAMED | ODD
LARGE = {
    "as much as there can be": usage(prompt_tokens=2**39, completion_tokens=9),
    "more details than tokens": usage(
        prompt_tokens=7, completion_tokens=9, prompt_tokens_details='{"cached_tokens":1000000}'
    ),
}


@pytest.fixture(scope="module")
def place() -> Iterator["Place"]:
    acts = {"true": answer(TRUE)} | ACTS | {name: answer(body) for name, body in LARGE.items()}
    with ScriptedProvider(acts) as scripted:
        documents = [secret(), provider(endpoint=scripted.endpoint), agent("caller"), quota("q", budget("9000000"))]
        with running(documents) as (installation, _):
            yield Place(Stage(installation, None), scripted)  # type: ignore[arg-type]


class Place:
    def __init__(self, stage: Stage, scripted: ScriptedProvider) -> None:
        self.stage = stage
        self.scripted = scripted
        self.processes = children_of(stage.installation.pid)

    def ask(self, act: str) -> tuple[int, Mapping[str, str], bytes]:
        """Status, headers and body; (0, …) where the answer was cut."""
        address = urlsplit(self.stage.installation.base_url(AGENT))
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        asked = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": act}], "max_completion_tokens": CAP}
        asked |= {"stream": True} if act in STREAMED or act in UNENDING else {}
        headers = {"content-type": "application/json"}
        connection.request("POST", f"{address.path}/chat/completions", json.dumps(asked), headers)
        response = connection.getresponse()
        told = {name.lower(): value for name, value in response.getheaders()}
        try:
            return response.status, told, response.read()
        except http.client.HTTPException:
            return 0, told, b""
        finally:
            connection.close()

    def books(self, act: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The call that asked for this, once it has ended, and the hold that it had."""
        self.ask(act)
        # A sidecar that answers by itself does not know the id.
        call = self.stage.calls()[-1]["id"]
        found = self.stage.ended(call, 20)
        rows = self.stage.ask(f"/explain/{call}")["rows"]
        held = {entry["counter"]["limit"]: entry["held"] for entry in rows[0]["entries"]}
        return found, held


@pytest.mark.parametrize("act", ACTS)
def test_an_answer_that_cannot_be_true_is_charged_at_what_it_can_have_been(place: Place, act: str) -> None:
    call, held = place.books(act)
    if act in ODD:
        assert (call["source"], call["input_tokens"], call["output_tokens"]) == ("provider", 7, 9)
    else:
        assert call["outcome"] == "settled"
        assert call["source"] in {"bounded", "ceiling"}
        assert 0 < call["cost"] <= held["budget"]
        assert call["output_tokens"] <= CAP


@pytest.mark.parametrize("act", [*WHOLE, *PACKED])
def test_the_caller_gets_the_answer_as_the_provider_gave_it(place: Place, act: str) -> None:
    status, _, body = place.ask(act)
    assert (status, body) == (200, ACTS[act].partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("act", UNFRAMED)
def test_an_answer_that_is_no_http_is_a_failure_in_the_providers_shape(place: Place, act: str) -> None:
    status, headers, body = place.ask(act)
    assert status in {0, 502, 503}
    if status:
        assert headers["x-tollway-reason"] == "provider.unreachable"
        assert json.loads(body)["error"].keys() == {"message", "type", "param", "code"}


def test_an_answer_larger_than_is_kept_for_reading_its_usage_is_not_passed_on(place: Place) -> None:
    status, headers, body = place.ask("33 MiB of JSON")
    assert (status, headers["x-tollway-reason"]) == (503, "tollway.failed")
    assert headers["x-should-retry"] == "false"
    assert len(body) < 1000


def test_an_answer_that_nobody_asked_for_is_nobodys(place: Place) -> None:
    for _ in range(10):
        place.ask("an answer that nobody asked for")
        status, headers, body = place.ask("true")
        assert (status, body) == (200, TRUE)
        assert "x-forged" not in headers


def test_a_large_number_that_can_be_true_is_believed(place: Place) -> None:
    call, held = place.books("as much as there can be")
    assert (call["source"], call["input_tokens"]) == ("provider", 2**39)
    assert call["cost"] > held["budget"]


def test_details_never_make_an_answer_cheaper_than_its_total(place: Place) -> None:
    call, _ = place.books("more details than tokens")
    assert (call["source"], call["input_tokens"], call["output_tokens"]) == ("provider", 7, 9)
    assert call["cost"] > 0


def test_the_provider_is_never_asked_twice_for_an_answer_that_it_gave_badly(place: Place) -> None:
    before = len(place.scripted.served)
    for act in UNFRAMED:
        place.ask(act)
    assert place.scripted.served[before:] == list(UNFRAMED)


def test_after_all_of_it_everything_runs_on_and_adds_up(place: Place) -> None:
    began = time.monotonic()
    call, _ = place.books("true")
    assert (call["source"], call["input_tokens"], call["output_tokens"]) == ("provider", 7, 9)
    assert time.monotonic() - began < 10
    assert children_of(place.stage.installation.pid) == place.processes
    assert place.stage.ask("/ledger/verify")["ok"]
