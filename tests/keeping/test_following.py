"""Lists and watches, of a server that does what servers do; only it and the passing of time are the test's."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

import pytest

from tollway_extauthz.keeping.api_server import Failed, Gone
from tollway_extauthz.keeping.following import Follower
from tollway_extauthz.keeping.messages import Object, Unreadable, read_line, read_page
from tollway_extauthz.keeping.pace import LONGEST_S, Pace
from tollway_extauthz.keeping.watched import AGENTS, Watched


class EndOfScript(Exception):  # noqa: N818 - named for what happened
    """The script is over."""


class Script:
    """Answers one after the other: of lists bytes or what is raised, of watches lines and what is raised then."""

    def __init__(self, *answers: object) -> None:
        self._answers = list(answers)
        self.asked: list[Mapping[str, str]] = []

    def _next(self, query: Mapping[str, str]) -> object:
        self.asked.append(dict(query))
        if not self._answers:
            raise EndOfScript
        return self._answers.pop(0)

    async def get(self, _path: str, query: Mapping[str, str]) -> bytes:
        answer = self._next(query)
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, bytes)
        return answer

    async def watch(self, _path: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        answer = self._next(query)
        assert isinstance(answer, list)
        for line in answer:
            if isinstance(line, Exception):
                raise line
            yield line


class Heard:
    def __init__(self) -> None:
        self.told: list[object] = []

    def listed(self, _watched: Watched, objects: Sequence[Object]) -> None:
        self.told.append([each.metadata.name for each in objects])

    def seen(self, _watched: Watched, seen: Object, removed: bool) -> None:
        self.told.append((seen.metadata.name, removed))


def page(*names: str, version: str = "1", more: str = "") -> bytes:
    items = [{"metadata": {"name": name, "resourceVersion": "1"}} for name in names]
    return json.dumps({"metadata": {"resourceVersion": version, "continue": more}, "items": items}).encode()


def line(kind: str, name: str = "a", version: str = "2") -> bytes:
    return json.dumps({"type": kind, "object": {"metadata": {"name": name, "resourceVersion": version}}}).encode()


def error(code: int) -> bytes:
    return json.dumps({"type": "ERROR", "object": {"kind": "Status", "code": code, "message": "so it is"}}).encode()


@dataclass
class Followed:
    asked: list[Mapping[str, str]]
    told: list[object]
    pauses: list[float]


async def followed(*answers: object) -> Followed:
    """What came of it; the pauses take no time."""
    server, heard, pauses = Script(*answers), Heard(), list[float]()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    with pytest.raises(EndOfScript):
        await Follower(AGENTS, server, heard, lambda: 0.0, sleep).run()
    return Followed(server.asked, heard.told, pauses)


async def test_pages_make_one_list_and_the_watch_begins_where_it_ended() -> None:
    found = await followed(page("a", more="next"), page("b", version="5"), [line("ADDED", "c", "6")])
    assert found.told == [["a", "b"], ("c", False)]
    assert [query.get("continue") for query in found.asked[:2]] == [None, "next"]
    assert found.asked[2]["resourceVersion"] == "5"
    assert found.asked[3]["resourceVersion"] == "6"


async def test_a_bookmark_moves_the_version_and_tells_nothing() -> None:
    found = await followed(page(), [line("BOOKMARK", version="9"), line("DELETED", "a", "10")])
    assert found.told == [[], ("a", True)]
    assert found.asked[-1]["resourceVersion"] == "10"


@pytest.mark.parametrize("lost", [[error(410)], [Gone("410")]], ids=["an event", "an answer"])
async def test_what_the_server_does_not_know_any_more_is_listed_anew(lost: list[object]) -> None:
    found = await followed(page("a"), lost, page("b"))
    assert found.told == [["a"], ["b"]]
    assert "watch" not in found.asked[2]
    assert found.pauses


async def test_a_watch_that_breaks_goes_on_from_what_was_seen_last() -> None:
    cut = Failed("it is cut")
    found = await followed(page(), [line("ADDED", version="4"), cut], [error(500)], [b"{", line("ADDED")])
    assert [query["resourceVersion"] for query in found.asked[2:]] == ["4", "4", "4"]


async def test_a_server_that_answers_nothing_good_is_asked_ever_more_seldom() -> None:
    pauses = (await followed(*[Failed("no") for _ in range(20)])).pauses
    assert pauses == sorted(pauses)
    assert pauses[0] > 0
    assert pauses[-1] == LONGEST_S


async def test_watches_that_end_at_once_are_not_asked_for_in_a_hurry() -> None:
    found = await followed(page(), *[[] for _ in range(20)])
    assert found.pauses[-1] == LONGEST_S


async def test_the_server_says_how_long_to_wait() -> None:
    found = await followed(Failed("429", 7.0), Failed("429", 10_000.0))
    assert found.pauses == [7.0, 120.0]


def test_those_who_were_cut_off_together_come_back_one_by_one() -> None:
    assert Pace(lambda: 0.9).pause() > Pace(lambda: 0.1).pause()


@pytest.mark.parametrize("body", [b"", b"[]", b'{"metadata": 5}', b"\xff", b'{"metadata": {}, "items": [{}]}'])
def test_what_no_server_sends_is_no_page_and_no_line(body: bytes) -> None:
    with pytest.raises(Unreadable):
        read_page(body)
    with pytest.raises(Unreadable):
        read_line(body)


def test_an_error_about_what_cannot_be_read_quotes_nothing_of_it() -> None:
    with pytest.raises(Unreadable) as caught:
        read_page(b'{"metadata": {}, "items": [{"metadata": {}, "data": "c2VjcmV0"}]}')
    assert "c2Vj" not in str(caught.value)
