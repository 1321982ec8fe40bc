"""One HTTP answer out of the frames of a port-forward."""

import pytest

from tollway_cli.cluster.forwarding import NotForwarded, Question, Received, parsed

OPENED = (b"\x00\xfa\x24", b"\x01\xfa\x24")
ANSWER = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"now": 17}'


def received(*frames: bytes) -> tuple[Received, bool]:
    """All of them taken, and whether the last was the last that matters."""
    found, is_last = Received(), False
    for frame in (*OPENED, *frames):
        assert not is_last
        is_last = found.take(frame)
    return found, is_last


@pytest.mark.parametrize("size", [1, 7, 1000], ids=["bytes", "pieces", "whole"])
def test_an_answer_is_whole_when_its_length_is_there_however_it_is_cut(size: int) -> None:
    frames = [b"\x00" + ANSWER[start : start + size] for start in range(0, len(ANSWER), size)]
    found, is_last = received(*frames)
    assert is_last
    answer = parsed(found.whole())
    assert (answer.status, answer.content) == (200, b'{"now": 17}')


def test_an_answer_without_a_length_ends_with_the_connection() -> None:
    found, is_last = received(b"\x00HTTP/1.1 404 Not Found\r\n\r\nno call of this id")
    assert not is_last
    assert parsed(found.whole()).content == b"no call of this id"


def test_what_the_node_complains_of_is_told() -> None:
    found, is_last = received(b"\x01connect to localhost:9466: connection refused\n")
    assert is_last
    with pytest.raises(NotForwarded, match=r"^connect to localhost:9466: connection refused$"):
        found.whole()


@pytest.mark.parametrize("frames", [(), (b"\x00" + ANSWER[:-1],), (b"",)], ids=["nothing", "a part", "an empty frame"])
def test_an_answer_that_ends_early_is_none(frames: tuple[bytes, ...]) -> None:
    found, _ = received(*frames)
    with pytest.raises(NotForwarded, match="ended before its answer did"):
        found.whole()


def test_what_is_no_http_is_refused() -> None:
    with pytest.raises(NotForwarded, match="no HTTP"):
        parsed(b"\x16\x03\x01 hello")


def test_a_question_says_how_long_it_is_and_that_it_is_the_last() -> None:
    assert Question("GET", "/limits").encoded().endswith(b"Connection: close\r\nContent-Length: 0\r\n\r\n")
    asked = Question("POST", "/explain", b"{}").encoded()
    assert asked.startswith(b"POST /explain HTTP/1.1\r\nHost: localhost\r\n")
    assert asked.endswith(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")
