"""Ports of this machine for tests."""

import contextlib
import socket
from functools import cache


def free_ports(count: int) -> list[int]:
    """Different ones that nobody has at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def free_port() -> int:
    return free_ports(1)[0]


def nobodys_port() -> int:
    """One that refuses every connection: it is taken for as long as the tests run, and nobody listens on it."""
    port: int = _taken().getsockname()[1]
    return port


@cache
def _taken() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken
