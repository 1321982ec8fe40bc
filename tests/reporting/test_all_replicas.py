"""The operator asks every replica of the gateway, and knows what to think of one that does not answer."""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any

import pytest

from installations import agent, provider, quota, wait_until
from ports import free_port
from reporting.gateways import Gateway, authority_of, chain_of, gateway
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN
from tollway_operator.asking.replicas import KEPT_MS, Replicas
from tollway_operator.authority.authority import Authority
from tollway_operator.reconciling.reporting import Report

ONE, TWO = "127.0.0.1", "127.0.0.2"
OPENAI = provider(endpoint="http://127.0.0.1:1")
NEW = provider("new", endpoint="http://127.0.0.1:1")
RESEARCH = quota("research", {"name": "tpm", "tokens": 100_000, "window": "1h"})


def now() -> int:
    return time.time_ns() // 1_000_000


class Clock:
    """That of this machine, and what a test adds."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return now() + self.ahead


@pytest.fixture(scope="module")
def authority() -> Authority:
    return authority_of(DEFAULT_TRUST_DOMAIN, now())


@pytest.fixture(scope="module")
def both(authority: Authority) -> Iterator[tuple[Gateway, Gateway]]:
    documents, port = [agent("researcher"), OPENAI, RESEARCH], free_port()
    with contextlib.ExitStack() as stack:
        yield tuple(
            stack.enter_context(gateway(documents, authority, now(), address=address, port=port))
            for address in (ONE, TWO)
        )


def asking(both: tuple[Gateway, Gateway], *addresses: str) -> tuple[Replicas, Clock]:
    clock = Clock()

    async def resolve(*_: object) -> frozenset[str]:
        if "nowhere" in addresses:
            raise OSError("no such name")
        return frozenset(addresses)

    return Replicas("gateways", both[0].port, "tollway-system", clock, resolve), clock


def rule(replica: Gateway, *documents: Any) -> None:
    replica.rule(documents)
    sentence = f"rules of generation {replica.generation} are in force"
    wait_until(lambda: sentence in replica.said(), 10, replica.said)


async def test_a_provider_is_served_once_the_last_replica_serves_it(
    authority: Authority, both: tuple[Gateway, Gateway]
) -> None:
    source, _ = asking(both, ONE, TWO)
    assert (await source.ask(authority)).providers == {"openai"}
    rule(both[0], agent("researcher"), OPENAI, NEW, RESEARCH)
    assert (await source.ask(authority)).providers == {"openai"}
    rule(both[1], agent("researcher"), OPENAI, NEW, RESEARCH)
    found = await source.ask(authority)
    assert (found.providers, found.quotas) == ({"openai", "new"}, {("team-a", "research")})


async def test_of_what_replicas_count_the_tightest_is_told(authority: Authority, both: tuple[Gateway, Gateway]) -> None:
    with both[1].asking(chain_of(authority, now())) as asker:
        asker.ask(asker.good())
    source, _ = asking(both, ONE, TWO)
    [counter] = (await source.ask(authority)).usage["team-a", "research"]
    assert int(counter.used) + int(counter.held) > 0


async def test_a_replica_that_does_not_answer_keeps_its_last_report_for_a_while_and_is_named_once(
    authority: Authority, both: tuple[Gateway, Gateway], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    addresses = [ONE]
    clock = Clock()

    async def resolve(*_: object) -> frozenset[str]:
        return frozenset(addresses)

    source = Replicas("gateways", both[0].port, "tollway-system", clock, resolve)
    answered = await source.ask(authority)
    assert answered.providers
    addresses.append("127.0.0.3")
    clock.ahead = KEPT_MS // 2
    assert (await source.ask(authority)).silent == 1
    await source.ask(authority)
    said = [record.getMessage() for record in caplog.records if "127.0.0.3" in record.getMessage()]
    assert len(said) == 1
    assert "refused" in said[0].lower()


async def test_when_none_answers_nothing_is_known_after_a_while(
    authority: Authority, both: tuple[Gateway, Gateway]
) -> None:
    source, clock = asking(both, "127.0.0.3")
    assert await source.ask(authority) == Report()
    clock.ahead = KEPT_MS
    found = await source.ask(authority)
    assert (found.providers, found.silent) == (None, 1)


async def test_a_name_that_cannot_be_looked_up_is_said_once(
    authority: Authority, both: tuple[Gateway, Gateway], caplog: pytest.LogCaptureFixture
) -> None:
    source, clock = asking(both, "nowhere")
    assert await source.ask(authority) == Report()
    clock.ahead = KEPT_MS
    assert (await source.ask(authority)).silent == 1
    assert [record.getMessage() for record in caplog.records] == [
        "the gateway's replicas are not found by gateways: no such name"
    ]


async def test_an_operator_that_does_not_lead_asks_nobody(both: tuple[Gateway, Gateway]) -> None:
    source, _ = asking(both, "nowhere")
    assert await source.ask(None) == Report()


async def test_a_gateway_with_another_root_is_not_believed(
    both: tuple[Gateway, Gateway], caplog: pytest.LogCaptureFixture
) -> None:
    source, _ = asking(both, ONE)
    assert await source.ask(authority_of(DEFAULT_TRUST_DOMAIN, now())) == Report()
    assert "its certificate is not trusted" in caplog.text
