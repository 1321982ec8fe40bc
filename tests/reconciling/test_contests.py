"""When the same is written again and again, because somebody else undoes it."""

from tollway.resources.models import KeyType
from tollway_operator.cluster.kinds import AGENT_IDENTITY, CONFIG_MAP
from tollway_operator.reconciling.actions import Action, Apply, IssueSVID, WriteStatus
from tollway_operator.reconciling.contests import AT_ONCE, Contests
from tollway_operator.watching.facts import Identity

NOW = 1_790_000_000_000


def config(content: str = "a", name: str = "tollway-sidecar") -> Apply:
    return Apply(CONFIG_MAP, CONFIG_MAP.new(name, "team", data={"rds.json": content}))


def written(contests: Contests, action: Action, times: int, now: int = NOW) -> int:
    """Written as often, each time as soon as it may be; returns the time then."""
    for _ in range(times):
        now += contests.wait(action, now) + 100
        contests.wrote(action, now)
    return now


def test_the_first_few_times_it_is_put_right_at_once() -> None:
    contests = Contests()
    assert written(contests, config(), AT_ONCE) == NOW + AT_ONCE * 100
    assert contests.wait(config(), NOW + AT_ONCE * 100) == 0


def test_then_ever_more_rarely_up_to_five_minutes() -> None:
    contests = Contests()
    now = written(contests, config(), AT_ONCE + 1)
    pauses = []
    for _ in range(10):
        pauses.append(contests.wait(config(), now))
        now += pauses[-1]
        contests.wrote(config(), now)
    assert pauses == [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]


def test_it_is_said_once_when_it_begins() -> None:
    contests = Contests()
    said = [contests.wrote(config(), NOW + number) for number in range(AT_ONCE + 4)]
    assert said == [number == AT_ONCE for number in range(AT_ONCE + 4)]


def test_what_is_new_is_written_at_once_and_other_objects_are_not_concerned() -> None:
    contests = Contests()
    now = written(contests, config(), AT_ONCE + 3)
    assert contests.wait(config(), now) > 0
    assert contests.wait(config("b"), now) == 0
    assert contests.wait(config(name="tollway-gateway"), now) == 0


def test_a_quarter_of_an_hour_of_peace_ends_it() -> None:
    contests = Contests()
    now = written(contests, config(), AT_ONCE + 3) + 900_000
    assert contests.wait(config(), now) == 0
    assert [contests.wrote(config(), now + 1), contests.wait(config(), now + 2)] == [False, 0]


def test_another_certificate_for_the_same_identity_is_the_same_again() -> None:
    contests, owner = Contests(), Identity("a", "team", "uid", "1")
    versions = (IssueSVID("tollway-svid-a", "team", "spiffe://x/ns/team", KeyType.ECDSA_P256, 1, str(number), owner)
                for number in range(AT_ONCE + 1))  # fmt: skip
    assert [contests.wrote(action, NOW) for action in versions][-1]


def test_a_status_that_differs_only_in_when_its_conditions_changed_is_the_same_again() -> None:
    contests, me = Contests(), Identity("a", "team", "uid", "1")
    statuses = ({"conditions": [{"type": "Ready", "lastTransitionTime": str(n)}]} for n in range(AT_ONCE + 1))
    assert [contests.wrote(WriteStatus(AGENT_IDENTITY, me, status), NOW) for status in statuses][-1]


def test_a_clock_that_jumps_back_makes_nobody_wait_for_longer_than_the_pause() -> None:
    contests = Contests()
    now = written(contests, config(), AT_ONCE + 1)
    assert contests.wait(config(), now - 3_600_000) == 2_000
