"""Two operators and one stored change of the root: whoever read an old version writes nothing, and looks again."""

import asyncio
import copy

import pytest

from identity.crafting import HOUR, MINUTE, NOW
from tollway.identity.root_change import Event, Observed, Phase, RefusedCommand, Sidecar
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway_operator.authority.root_changes import advanced, commanded, published
from tollway_operator.authority.stored import StoredAuthority
from tollway_operator.cluster.errors import Conflict


class Secrets:
    """What an API server does with Secrets, in memory: versions, and 409 for who has not read the last."""

    def __init__(self):
        self.found = {}
        self.versions = 0
        self.while_reading = lambda: None

    async def get(self, kind, name, namespace=""):
        found = copy.deepcopy(self.found.get((kind, namespace, name)))
        await asyncio.sleep(0)
        self.while_reading()
        return found

    async def create(self, kind, content):
        if place(kind, content) in self.found:
            raise Conflict("it is there already")
        return self._keep(kind, content)

    async def replace(self, kind, content):
        await asyncio.sleep(0)
        there = self.found[place(kind, content)]
        if content["metadata"]["resourceVersion"] != there["metadata"]["resourceVersion"]:
            raise Conflict("it is another version")
        return self._keep(kind, content)

    def _keep(self, kind, content):
        self.versions += 1
        kept = copy.deepcopy(content)
        kept["metadata"]["resourceVersion"] = str(self.versions)
        self.found[place(kind, content)] = kept
        return copy.deepcopy(kept)


def place(kind, content):
    return kind, content["metadata"]["namespace"], content["metadata"]["name"]


def all_follow(state):
    proof = published(state)
    return Observed({"gw-0": proof}, {"team-a/one": Sidecar(proof.bundle)})


def obey(command, now):
    return lambda state: commanded(state, command, all_follow(state), now)


def follow(now):
    return lambda state: advanced(state, all_follow(state), now)


def operators(secrets):
    return [StoredAuthority(secrets, DEFAULT_TRUST_DOMAIN, "tollway-system") for _ in range(2)]


async def trusted(operator):
    await operator.stepped(NOW, obey(Event.PREPARE, NOW))
    return await operator.stepped(NOW + 1, follow(NOW + 1))


async def test_R03_R11_of_an_activation_and_an_abort_at_once_one_is_done_and_the_other_looks_again():
    secrets, later = Secrets(), NOW + 2 * MINUTE
    first, second = operators(secrets)
    await trusted(first)
    assert (await second.ready(later)).state.change.phase is Phase.TRUSTED
    await first.stepped(later, obey(Event.ABORT, later))
    with pytest.raises(Conflict):
        await second.stepped(later, obey(Event.ACTIVATE, later))
    # It looks again by itself.
    with pytest.raises(RefusedCommand, match="prepare one first"):
        await second.stepped(later, obey(Event.ACTIVATE, later))
    assert (await second.ready(later)).bundle().roots == (await first.ready(later)).bundle().roots


async def test_R02_two_preparations_make_one_next_root():
    secrets = Secrets()
    first, second = operators(secrets)
    await first.ready(NOW)
    await second.ready(NOW)
    await first.stepped(NOW, obey(Event.PREPARE, NOW))
    with pytest.raises(Conflict):
        await second.stepped(NOW, obey(Event.PREPARE, NOW))
    again = await second.stepped(NOW, obey(Event.PREPARE, NOW))
    assert again.bundle().map() == first.current().bundle().map()


async def test_R11_an_operator_that_is_started_again_goes_on_where_the_change_stood():
    secrets = Secrets()
    first, second = operators(secrets)
    await trusted(first)
    later = NOW + 2 * MINUTE
    active = await first.stepped(later, obey(Event.ACTIVATE, later))
    resumed = await second.stepped(later + MINUTE, follow(later + MINUTE))
    assert (active.state.change.phase, resumed.state.change.phase) == (Phase.ACTIVE, Phase.DRAINING)
    assert resumed.bundle_map() == active.bundle_map()


async def test_a_step_that_is_refused_writes_nothing():
    secrets = Secrets()
    operator, _ = operators(secrets)
    await operator.ready(NOW)
    with pytest.raises(RefusedCommand):
        await operator.stepped(NOW, obey(Event.ABORT, NOW))
    assert secrets.versions == 1


async def test_an_authority_without_anything_to_do_is_not_written_again():
    secrets = Secrets()
    operator, _ = operators(secrets)
    await operator.ready(NOW)
    await operator.stepped(NOW + MINUTE, follow(NOW + MINUTE))
    assert secrets.versions == 1


async def test_of_several_that_need_the_authority_at_once_one_writes_and_all_have_what_was_written():
    secrets = Secrets()
    operator, _ = operators(secrets)
    first = await asyncio.gather(*(operator.ready(NOW) for _ in range(8)))
    operator.forget()
    later = NOW + 13 * HOUR
    then = await asyncio.gather(*(operator.ready(later) for _ in range(8)))
    assert secrets.versions == 2
    assert [len({each.issuers_pem() for each in some}) for some in (first, then)] == [1, 1]


async def test_what_was_changed_while_it_was_read_is_read_again():
    secrets = Secrets()
    first, second = operators(secrets)
    await first.ready(NOW)
    [(kept, old)] = secrets.found.items()
    await first.stepped(NOW, obey(Event.PREPARE, NOW))
    new, secrets.found[kept] = secrets.found[kept], old

    def somebody_writes():
        secrets.found[kept], secrets.while_reading = new, lambda: None
        second.forget()

    secrets.while_reading = somebody_writes
    assert (await second.ready(NOW)).state.change.phase is Phase.PREPARED
