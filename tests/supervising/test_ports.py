"""Ports are remembered, and never shared with another listener or another instance."""

import contextlib
import socket
from collections.abc import Iterator

import pytest

from tollway_cli.standalone.ports import NoPortFree, Ports

FIRST = 38_500


@pytest.fixture
def ports() -> Iterator[Ports]:
    found = Ports({})
    yield found
    found.release()


def test_names_get_ports_upwards_and_keep_them(ports: Ports) -> None:
    first, second = ports.of("a", FIRST), ports.of("b", FIRST)
    assert FIRST <= first < second
    assert (ports.of("a", FIRST), ports.of("b", FIRST)) == (first, second)


def test_a_remembered_port_is_taken_again(ports: Ports) -> None:
    later = Ports({"a": FIRST + 77})
    with contextlib.closing(_Releasing(later)):
        assert later.of("a", FIRST) == FIRST + 77


def test_a_port_that_is_remembered_for_another_is_left_to_it() -> None:
    later = Ports({"gone for now": FIRST})
    with contextlib.closing(_Releasing(later)):
        assert later.of("new", FIRST) > FIRST


def test_a_port_where_something_listens_is_not_taken(ports: Ports) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = listener.getsockname()[1]
        later = Ports({"a": taken})
        with contextlib.closing(_Releasing(later)):
            assert later.of("a", FIRST) != taken


def test_two_instances_never_choose_the_same_port(ports: Ports) -> None:
    other = Ports({})
    with contextlib.closing(_Releasing(other)):
        assert ports.of("gateway", FIRST) != other.of("gateway", FIRST)


def test_a_released_port_is_free_for_others(ports: Ports) -> None:
    port = ports.of("a", FIRST)
    ports.release()
    other = Ports({"b": port})
    with contextlib.closing(_Releasing(other)):
        assert other.of("b", FIRST) == port


def test_no_port_left_is_an_error_of_its_own(ports: Ports) -> None:
    with pytest.raises(NoPortFree):
        ports.of("a", 65_536)


class _Releasing:
    def __init__(self, ports: Ports) -> None:
        self.close = ports.release
