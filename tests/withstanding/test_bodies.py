"""R25: a body that is too large, or may be, is a 413 before anybody decides about it, and costs next to no memory."""

import contextlib
import gzip
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import anthropic
import openai
import pytest

from withstanding.ground import (
    BODY,
    CHAT,
    HOPS,
    JSON,
    MESSAGES,
    VERSION,
    Answer,
    Ground,
    forget_peak,
    head,
    peak,
    read_answer,
    request,
)

MIB = 1 << 20
LIMIT = 32 * MIB
PATHS = {"openai": CHAT, "anthropic": MESSAGES}
CHUNKED = "transfer-encoding: chunked"


def of_size(size: int) -> bytes:
    """A call in order of so many bytes."""
    front, back = BODY.split(b"hi")
    return front + b"x" * (size - len(front) - len(back)) + back


def in_chunks(body: bytes, size: int = MIB) -> bytes:
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@contextlib.contextmanager
def nobody_asked(ground: Ground) -> Iterator[None]:
    """No decision, no call, no charge, no hold."""
    with ground.unmoved():
        asked = ground.asked()
        yield
        assert ground.asked() == asked


def assert_too_large(answer: Answer, path: str = CHAT) -> None:
    assert (answer.status, answer.reason) == (413, "request.too_large")
    assert answer.is_shaped(path)
    assert answer.headers["x-tollway-call"] == answer.call


def test_R25_a_body_exactly_at_the_limit_is_decided_and_arrives_whole(ground: Ground) -> None:
    body = of_size(LIMIT)
    with ground.one_call() as received:
        assert answered_in_time(ground, request(body=body)).status == 200
    assert received[0].body.endswith(body[1:])


def answered_in_time(ground: Ground, sent: bytes) -> Answer:
    """A machine that is busy may need longer for so large a body than the gateway waits; then it is a 503."""
    answers = (ground.send("sidecar", sent) for _ in range(10))
    return next(answer for answer in answers if answer.status != 503)


def test_R25_a_body_in_chunks_one_byte_over_the_limit_is_a_413(ground: Ground) -> None:
    with ground.unmoved():
        assert_too_large(answered_in_time(ground, head(CHAT, JSON, CHUNKED) + in_chunks(of_size(LIMIT + 1))))


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_R25_a_body_declared_one_byte_over_the_limit_is_a_413_and_never_asks(
    ground: Ground, hop: str, path: str
) -> None:
    with nobody_asked(ground):
        assert_too_large(ground.send(hop, request(path, VERSION, body=of_size(LIMIT + 1))), path)


@pytest.mark.parametrize("hop", HOPS)
def test_R25_a_body_in_chunks_over_the_limit_is_a_413_and_never_asks(ground: Ground, hop: str) -> None:
    """Not from the first byte over it: Envoy counts by what it reads at once, and the last of that may end the body."""
    with nobody_asked(ground):
        assert_too_large(ground.send(hop, head(CHAT, JSON, CHUNKED) + in_chunks(of_size(LIMIT + MIB))))


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_R25_a_body_declared_as_5_gb_is_a_413_before_any_of_it_is_sent(ground: Ground, hop: str, path: str) -> None:
    with nobody_asked(ground):
        assert_too_large(ground.send(hop, head(path, JSON, VERSION, f"content-length: {5 << 30}")), path)


@pytest.mark.parametrize("length", [LIMIT + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_R25_no_length_is_too_large_to_be_too_large(ground: Ground, length: int) -> None:
    with nobody_asked(ground):
        answer = ground.send("gateway", head(CHAT, JSON, f"content-length: {length}"))
        assert answer.status in {413, 400}
        assert answer.is_shaped()


@pytest.mark.parametrize("hop", HOPS)
def test_R25_chunks_without_an_end_are_a_413_at_the_limit(ground: Ground, hop: str) -> None:
    with nobody_asked(ground):
        assert_too_large(never_ending(ground, hop))


def never_ending(ground: Ground, hop: str) -> Answer:
    """Chunks for as long as they are taken."""
    chunk = b"100000\r\n" + b"x" * MIB + b"\r\n"
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON, CHUNKED))
        with contextlib.suppress(OSError):
            for _ in range(1024):
                connection.sendall(chunk)
        return read_answer(connection)


BOMB = gzip.compress(b" " * LIMIT + BODY)
ENCODINGS = {
    "gzip": ("gzip", BOMB),
    "x-gzip": ("x-gzip", BOMB),
    "deflate": ("deflate", zlib.compress(b" " * LIMIT + BODY)),
    "several": ("gzip, gzip", gzip.compress(BOMB)),
    "unknown": ("zstd", b"\x28\xb5\x2f\xfd"),
    "said of a plain body": ("br", BODY),
    "none": ("identity", BODY),
}


@pytest.mark.parametrize("hop", HOPS)
@pytest.mark.parametrize(("encoding", "body"), ENCODINGS.values(), ids=ENCODINGS)
def test_R25_a_compressed_body_is_refused_unopened(ground: Ground, hop: str, encoding: str, body: bytes) -> None:
    with nobody_asked(ground):
        answer = ground.send(hop, request(CHAT, f"content-encoding: {encoding}", body=body))
        assert (answer.status, answer.reason) == (400, "request.unreadable")
        assert answer.is_shaped()


def test_R25_a_compressed_body_that_does_not_say_so_is_refused(ground: Ground) -> None:
    with ground.unmoved():
        answer = ground.send("sidecar", request(body=BOMB))
        assert (answer.status, answer.reason) == (400, "request.unreadable")


def writes_before_reading(ground: Ground, hop: str) -> Answer:
    """All of a body of 64 MiB, and only then, or when writing fails, a look at the answer."""
    return ground.send(hop, request(body=of_size(64 * MIB)))


def declares_5_gb(ground: Ground, hop: str) -> Answer:
    with ground.connection(hop) as connection:
        connection.sendall(head(CHAT, JSON, f"content-length: {5 << 30}"))
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(b"x" * MIB)
        return read_answer(connection)


def bombs(ground: Ground, hop: str) -> Answer:
    return ground.send(hop, request(CHAT, "content-encoding: gzip", body=BOMB))


@pytest.mark.parametrize("hop", HOPS)
def test_R25_who_writes_64_mib_before_reading_finds_the_413(ground: Ground, hop: str) -> None:
    """The connection is reset under the writer, but the answer has arrived before that."""
    with nobody_asked(ground):
        assert_too_large(writes_before_reading(ground, hop))


ATTACKS: tuple[Callable[[Ground, str], Answer], ...] = (declares_5_gb, writes_before_reading, bombs, never_ending)
TIMES = 3
SLACK = 16 * MIB


def test_R25_memory_stays_flat(ground: Ground) -> None:
    """What says its size costs nothing. What does not is kept up to the limit for each such call in the gateway, which
    its heap limit bounds, and nowhere else."""
    parts = {"gateway": ground.gateway, "sidecar": ground.sidecar, "extauthz": ground.data_plane}
    for pid in parts.values():
        forget_peak(pid)
    before = {name: peak(pid) for name, pid in parts.items()}
    jobs = [(attack, hop) for attack in ATTACKS for hop in HOPS for _ in range(TIMES)]
    with ThreadPoolExecutor(len(jobs)) as attackers:
        answers = list(attackers.map(lambda job: job[0](ground, job[1]), jobs))
    grown = {name: peak(pid) - before[name] for name, pid in parts.items()}
    assert {answer.status for answer in answers} == {413, 400}
    assert grown["extauthz"] < SLACK
    assert grown["sidecar"] < SLACK
    assert grown["gateway"] < len(HOPS) * TIMES * (LIMIT + MIB) + SLACK
    ground.counters()


def test_R25_the_openai_sdk_reads_the_413(ground: Ground) -> None:
    url = ground.installation.base_url("team-a/caller")
    with nobody_asked(ground), openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(openai.APIStatusError) as refused:
            client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "x" * (64 * MIB)}]
            )
        assert refused.value.status_code == 413


def test_R25_the_anthropic_sdk_reads_the_413(ground: Ground) -> None:
    url = ground.installation.base_url("team-a/caller", "anthropic")
    with nobody_asked(ground), anthropic.Anthropic(base_url=url, api_key="x", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as refused:
            client.messages.create(
                model="claude-sonnet-5", max_tokens=5, messages=[{"role": "user", "content": "x" * (64 * MIB)}]
            )
        assert refused.value.status_code == 413


def test_R25_the_books_are_in_order_after_all_of_it(ground: Ground) -> None:
    ground.counters()
    assert ground.in_order()
