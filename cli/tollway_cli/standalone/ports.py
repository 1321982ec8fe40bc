"""Ports on loopback: remembered, so that URLs survive a restart, and never shared with another instance.

Envoy listens with SO_REUSEPORT, so a second Envoy of the same user would take half of the first one's connections in
silence. Therefore a port is reserved for the life of this process, under a name that the kernel frees when it ends.
"""

import contextlib
import socket
from collections.abc import Mapping
from typing import Final

LOOPBACK: Final = "127.0.0.1"
FIRST_AGENT: Final = 15001
FIRST_OWN: Final = 14001
"""Of the gateway and of metrics: below the agents', so that those stay in one row."""
_LAST: Final = 65535


class NoPortFree(Exception):  # noqa: N818 - named for what happened
    """Every port from the first one upwards is taken."""


class Ports:
    """Process name -> port. Ports of names that are gone stay remembered: they may come back."""

    def __init__(self, remembered: Mapping[str, int]) -> None:
        self._chosen = dict(remembered)
        self._reserved: dict[str, socket.socket] = {}

    @property
    def chosen(self) -> Mapping[str, int]:
        return dict(self._chosen)

    def of(self, name: str, first: int) -> int:
        """The port of `name`: the one it had, if that is still free, else the next free one from `first`."""
        if name in self._reserved:
            return self._chosen[name]
        others = {port for other, port in self._chosen.items() if other != name}
        wanted = [self._chosen[name]] if name in self._chosen else []
        for port in (*wanted, *(port for port in range(first, _LAST + 1) if port not in others)):
            if (reservation := _reserve(port)) is not None:
                self._chosen[name] = port
                self._reserved[name] = reservation
                return port
        raise NoPortFree(f"no port from {first} upwards is free on {LOOPBACK}")

    def release(self) -> None:
        for reservation in self._reserved.values():
            reservation.close()
        self._reserved.clear()


def _reserve(port: int) -> socket.socket | None:
    """A reservation of `port`, or None if another instance has it or anything listens there."""
    reservation = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        reservation.bind(f"\0tollway-port-{port}")  # abstract: per network namespace, as ports are
    except OSError:
        reservation.close()
        return None
    if _is_free(port):
        return reservation
    reservation.close()
    return None


def _is_free(port: int) -> bool:
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as probe:
        # A connection of the last run in TIME_WAIT does not make the port taken; a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
