"""What the webhook answers when something is wrong: never that a pod may start without a sidecar."""

import base64
import json
import random
import time
from typing import Any

import pytest

from injecting.injection import IMAGE
from injecting.injectors import review
from tollway_operator.cluster.client import Answer, Client, Gate
from tollway_operator.cluster.errors import Unavailable
from tollway_operator.cluster.kinds import Object
from tollway_operator.injecting.outcomes import LeftAlone, Patched
from tollway_operator.injecting.review import answer, read_review
from tollway_operator.injecting.server import Injector
from tollway_operator.injecting.settings import InjectionSettings, NamespaceFacts
from tollway_operator.injecting.view import View
from tollway_operator.watching.feeds import Patience

POD = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "agent"}]}}
REVIEW = read_review(review(POD))

Json = Any


class Silent:
    """An API server that nobody reaches."""

    async def send(self, _method: str, _url: str, _body: Object | None, _content_type: str) -> Answer:
        raise Unavailable("nobody answers")


def a_view(complete: bool = True) -> View:
    view = View(Client(Silent(), Gate(time.monotonic, random.random)), 600, Patience())
    view.is_complete = complete
    return view


async def asked(view: View) -> Json:
    injector = Injector(view, InjectionSettings(IMAGE))
    return json.loads(await injector.answer(REVIEW))["response"]


async def test_before_the_cluster_was_read_nothing_is_allowed() -> None:
    response = await asked(a_view(complete=False))
    assert (response["allowed"], response["uid"]) == (False, "1")
    assert "pod team-a/x: the injector cannot read the cluster" in response["status"]["message"]


async def test_a_namespace_of_which_nothing_is_known_is_not_taken_for_one_that_is_free() -> None:
    started = time.monotonic()
    response = await asked(a_view())
    assert not response["allowed"]
    assert time.monotonic() - started < 30


async def test_a_failure_of_our_own_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    view = a_view()

    def broken(_: str) -> NamespaceFacts:
        raise KeyError("a surprise")

    monkeypatch.setattr(view, "namespace", broken)
    response = await asked(view)
    assert not response["allowed"]
    assert response["status"]["code"] == 403
    assert "see the log of tollway-injector" in response["status"]["message"]
    assert "surprise" not in response["status"]["message"]


def test_a_patch_is_sent_in_base64_and_none_where_there_is_nothing_to_do() -> None:
    operation = {"op": "add", "path": "/spec/volumes", "value": []}
    response = json.loads(answer(REVIEW, Patched([operation], ["careful"]), "x"))["response"]
    assert (response["allowed"], response["patchType"], response["warnings"]) == (True, "JSONPatch", ["careful"])
    assert json.loads(base64.b64decode(response["patch"])) == [operation]
    for outcome in (Patched([]), LeftAlone()):
        response = json.loads(answer(REVIEW, outcome, "x"))["response"]
        assert response == {"uid": "1", "allowed": True, "warnings": []}
