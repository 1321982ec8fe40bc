"""In a cluster: a command is an annotation of the ConfigMap in which the operator says how a change of the root stands.

Whoever may patch that ConfigMap may change the root; nothing else is needed.
"""

import asyncio
import secrets
import time
from typing import Final

from tollway.identity.root_standing import RootStanding, read_standing
from tollway_cli.cluster.connection import explained, opened
from tollway_cli.failures import AnswerIsNo, Broken
from tollway_cli.place import InCluster
from tollway_operator.cluster.client import Client
from tollway_operator.cluster.errors import ClusterError
from tollway_operator.cluster.kinds import CONFIG_MAP
from tollway_operator.names import COMMAND, ROOT_CHANGE, STANDING_FILE

_PATIENCE_S: Final = 45.0
_POLL_S: Final = 0.25


def status(where: InCluster) -> RootStanding:
    """How it stands. Raises `Broken`."""
    return asyncio.run(_ask(where, ""))


def command(where: InCluster, action: str) -> RootStanding:
    """Give a command, and wait until it is answered. Raises `AnswerIsNo` with the refusal, and `Broken`."""
    # A word more, so that the same command can be given again later.
    answer = asyncio.run(_ask(where, f"{action} {secrets.token_hex(4)}"))
    if answer.refused:
        raise AnswerIsNo(answer.refused)
    return answer


async def _ask(where: InCluster, order: str) -> RootStanding:
    way = await opened(where)
    try:
        return await _through(way.client, where.namespace, order)
    except ClusterError as error:
        what = f"{'patch' if order else 'get'} the ConfigMap {ROOT_CHANGE} in namespace {where.namespace}"
        raise Broken(explained(error, where, what)) from error
    finally:
        await way.close()


async def _through(client: Client, namespace: str, order: str) -> RootStanding:
    found = await _standing(client, namespace)
    if not order:
        return found
    annotated = CONFIG_MAP.new(ROOT_CHANGE, namespace, metadata={"annotations": {COMMAND: order}})
    await client.merge(CONFIG_MAP, annotated)
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        found = await _standing(client, namespace)
        if found.answered == order:
            return found
        await asyncio.sleep(_POLL_S)
    raise Broken("the operator does not answer: see its log, and whether it runs")


async def _standing(client: Client, namespace: str) -> RootStanding:
    content = await client.get(CONFIG_MAP, ROOT_CHANGE, namespace)
    text = ((content or {}).get("data") or {}).get(STANDING_FILE, "")
    found = read_standing(text)
    if found is None:
        raise Broken(
            f"there is no ConfigMap {ROOT_CHANGE} of Tollway's in namespace {namespace}: name the namespace of the "
            "installation with --namespace, and see whether its operator runs"
        )
    return found
