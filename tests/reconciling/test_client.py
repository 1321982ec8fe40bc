"""The client of the API server: what answers mean, and that it waits when it is asked to."""

import pytest

from tollway_operator.cluster.client import Answer, Client, Gate
from tollway_operator.cluster.errors import Conflict, NotFound, NotLeading, Refused, Unavailable
from tollway_operator.cluster.kinds import LEASE, POD, SECRET, Object
from tollway_operator.cluster.lease import Sighting, may_take


class Server:
    """Answers what it is told to, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str, str]] = []

    async def send(self, method: str, url: str, _body: Object | None, content_type: str) -> Answer:
        self.asked.append((method, url, content_type))
        return self.answers.pop(0) if self.answers else Answer(200, b'{"metadata": {}}')


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def client(server: Server, clock: Clock | None = None) -> Client:
    return Client(server, Gate(clock or Clock(), jitter=lambda: 0.5))


CONTENT = SECRET.new("a", "team", metadata={"resourceVersion": "7"})


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, NotFound),
        (409, Conflict),
        (410, Conflict),
        (403, Refused),
        (422, Refused),
        (429, Unavailable),
        (408, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
    ],
)
async def test_each_answer_has_one_meaning(status: int, error: type[Exception]) -> None:
    server = Server(Answer(status, b'{"message": "because"}'))
    with pytest.raises(error):
        await client(server).replace(SECRET, CONTENT)
    assert len(server.asked) == 1, "it is never repeated by the client"


async def test_an_answer_that_is_cut_off_is_no_answer() -> None:
    with pytest.raises(Unavailable):
        await client(Server(Answer(200, b'{"metadata": {'))).get(POD, "a", "team")


async def test_what_the_server_asks_to_wait_holds_for_everybody() -> None:
    clock = Clock()
    gate = Gate(clock)
    with pytest.raises(Unavailable) as raised:
        await Client(Server(Answer(429, b"", retry_after=7.0)), gate).create(SECRET, CONTENT)
    assert raised.value.retry_after == 7.0
    assert gate._opens == clock.now + 7.0


async def test_pauses_grow_while_nobody_answers_and_end_with_an_answer() -> None:
    gate = Gate(Clock(), jitter=lambda: 0.5)
    pauses = [gate.failed() for _ in range(10)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert max(pauses) == 15.0
    gate.answered()
    assert gate.failed() == 0.2


async def test_nothing_is_written_without_the_right_to_but_everything_is_read() -> None:
    server = Server()
    reader = client(server).writing_if(lambda: False)
    await reader.get(POD, "a", "team")
    for write in (reader.create, reader.replace, reader.apply, reader.merge):
        with pytest.raises(NotLeading):
            await write(SECRET, CONTENT)
    assert [method for method, _, _ in server.asked] == ["GET"]


async def test_state_is_never_replaced_without_the_version_that_was_read() -> None:
    with pytest.raises(ValueError, match="resourceVersion"):
        await client(Server()).replace(SECRET, SECRET.new("a", "team"))


async def test_an_apply_names_us_as_the_manager_of_its_fields() -> None:
    server = Server()
    await client(server).apply(SECRET, CONTENT, "status")
    [(method, url, content_type)] = server.asked
    assert (method, content_type) == ("PATCH", "application/apply-patch+yaml")
    assert url == "/api/v1/namespaces/team/secrets/a/status?fieldManager=tollway-operator&force=true"


async def test_a_name_cannot_lead_a_request_elsewhere() -> None:
    assert LEASE.path("a/../b", "c?d") == "/apis/coordination.k8s.io/v1/namespaces/a%2F..%2Fb/leases/c%3Fd"


@pytest.mark.parametrize(
    ("seen", "after", "may"),
    [
        (None, 0, True),
        (Sighting("", "1", 15, 100), 0, True),
        (Sighting("me", "1", 15, 100), 0, True),
        (Sighting("other", "1", 15, 100), 14.9, False),
        (Sighting("other", "1", 15, 100), 15, True),
    ],
    ids=["none", "given back", "mine", "renewed lately", "silent for its duration"],
)
def test_a_lease_is_taken_when_its_holder_was_seen_silent_for_so_long(
    seen: Sighting | None, after: float, may: bool
) -> None:
    assert may_take(seen, "me", 100 + after) is may
