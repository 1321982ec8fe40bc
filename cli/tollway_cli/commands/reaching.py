"""From what somebody said of an instance to the instance, on this machine or in a cluster."""

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tollway_cli.failures import Broken
from tollway_cli.place import InCluster, Place, Said, place
from tollway_cli.surroundings import Surroundings

if TYPE_CHECKING:
    from tollway_cli.views.instance import Instance


@contextlib.contextmanager
def place_said(here: Surroundings, said: Said) -> Iterator[Place]:
    """Where to look. What fails where nobody said to look says so."""
    where = place(said, here.environ)
    try:
        yield where
    except Broken as failure:
        if isinstance(where, InCluster) and where.assumed:
            assumed = "No instance runs on this machine, so the cluster of your kubeconfig was looked at"
            raise Broken(f"{failure}. {assumed}; --state DIR names an instance here") from failure
        raise


@contextlib.contextmanager
def instance_said(here: Surroundings, said: Said) -> "Iterator[Instance]":
    """The running instance. Raises `Broken` where there is none."""
    with place_said(here, said) as where:
        if isinstance(where, InCluster):
            from tollway_cli.cluster.connection import Session
            from tollway_cli.cluster.instance import InstanceOfCluster

            with Session(where) as session:
                yield InstanceOfCluster(session)
            return
        from tollway_cli.views.instance import InstanceHere, find

        yield InstanceHere(find(where.state))
