"""A call's usage in the status of its quota: a real API server, the operator and a gateway's data plane as processes.

The gateway lives by what the operator wrote for it: its SVID, and the signing CAs.
"""

import base64
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clusters import Client, Cluster, path_of
from installations import provider, quota
from operating.operators import TOLLWAY, Running, agent, condition, install, now, operating, status, wait_for
from ports import free_port
from reading_hostile.asking import Denied, Granted
from reporting.gateways import Gateway
from tollway.ledger.port import Source
from tollway.ledger.units import Amounts
from tollway_extauthz.stores.sqlite import SQLiteLedger

ROOT, TEAM = "tollway-reports", "reports-team"


def keyless(name: str) -> dict[str, Any]:
    made = provider(name, endpoint="http://127.0.0.1:1")
    del made["spec"]["credential"]
    return made


OPENAI, LATER = keyless("reports-openai"), keyless("reports-later")
RESEARCHER = agent("researcher", TEAM, svid={"delivery": "Secret"})
BUDGET = {"name": "budget", "cost": "1.50", "window": "Year"}
RESEARCH = quota("research", BUDGET, {"name": "rpm", "requests": 60, "window": "1h"}, namespace=TEAM)

Json = Any


def read(admin: Client, kind: str, namespace: str, name: str) -> dict[str, bytes]:
    data = admin.get(path_of("v1", kind, namespace, name)).expect()["data"]
    return {file: base64.b64decode(text) if kind == "Secret" else text.encode() for file, text in data.items()}


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def operator(cluster: Cluster, port: int) -> Iterator[Running]:
    account = install(cluster, ROOT, (TEAM,))
    reports = {"TOLLWAY_REPORTS": f"127.0.0.1:{port}", "TOLLWAY_REPORT_SECONDS": "1"}
    with operating(account, ROOT, TOLLWAY_SECRET_NAMESPACES=TEAM, **reports) as running:
        yield running


@pytest.fixture(scope="module")
def admin(cluster: Cluster, operator: Running) -> Iterator[Client]:
    created = [RESEARCHER, OPENAI, LATER, RESEARCH]
    for document in created:
        cluster.admin.create(document).expect()
    for secret, namespace in (("tollway-gateway-svid", ROOT), ("tollway-svid-researcher", TEAM)):
        wait_for(lambda: cluster.admin.get(path_of("v1", "Secret", namespace, secret)).ok, f"no {secret}")  # noqa: B023
    yield cluster.admin
    for document in (OPENAI, LATER):
        cluster.admin.send("DELETE", path_of(TOLLWAY, "AIProvider", name=document["metadata"]["name"])).expect()


@pytest.fixture(scope="module")
def replica(admin: Client, port: int) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="tollway-gateway-") as folder:
        made = Gateway(Path(folder), [RESEARCHER, OPENAI, RESEARCH], port=port, root_namespace=ROOT)
        wait_for(lambda: admin.get(path_of("v1", "ConfigMap", ROOT, "tollway-gateway")).ok, "no ConfigMap")
        issuers = read(admin, "ConfigMap", ROOT, "tollway-gateway")["issuers.pem"]
        made.take(read(admin, "Secret", ROOT, "tollway-gateway-svid"), issuers)
        with made.running():
            yield made


def quota_says(admin: Client, kind: str) -> tuple[str, str]:
    return condition(status(admin, "AIQuota", "research", TEAM), kind)


def programmed(admin: Client, name: str) -> tuple[str, str]:
    return condition(status(admin, "AIProvider", name), "Programmed")


def row(admin: Client, *wide: str) -> dict[str, str]:
    """The quota as kubectl prints it, by the titles of its columns."""
    titles, line = admin.kubectl("get", "aiq", "research", "-n", TEAM, *wide).splitlines()
    starts = [each.start() for each in re.finditer(r"\S+", titles)]
    cells = (line[begin:end].strip() for begin, end in zip(starts, [*starts[1:], None], strict=True))
    return dict(zip(titles.split(), cells, strict=True))


def test_before_any_gateway_answers_status_says_so(admin: Client) -> None:
    wait_for(lambda: programmed(admin, "reports-openai") == ("Unknown", "NotReported"), "nothing is said")
    wait_for(lambda: quota_says(admin, "Enforced") == ("Unknown", "NotReported"), "nothing is said")


def test_a_provider_is_programmed_once_the_gateway_serves_it(admin: Client, replica: Gateway) -> None:
    wait_for(lambda: programmed(admin, "reports-openai") == ("True", "Programmed"), "it is not")
    wait_for(lambda: programmed(admin, "reports-later") == ("False", "Pending"), "it is")
    assert "every replica" in admin.kubectl("get", "aip", "reports-openai", "-o", "yaml")


def test_a_calls_usage_appears_in_kubectl_get_aiq(admin: Client, replica: Gateway) -> None:
    wait_for(lambda: quota_says(admin, "Enforced") == ("True", "Enforced"), "it is not enforced")
    assert row(admin)["USED"] in {"0", "0.00"}
    chain = read(admin, "Secret", TEAM, "tollway-svid-researcher")["tls.crt"].decode()
    with replica.asking(chain) as asker:
        granted = asker.ask(asker.good(provider="reports-openai", path="/reports-openai/v1/chat/completions"))
        assert isinstance(granted, Granted), granted
        end_with(replica, granted, Amounts(1, 1_000, 500, 1_499_999_000))
        refused = asker.ask(asker.good(provider="reports-openai", path="/reports-openai/v1/chat/completions"))
        assert isinstance(refused, Denied)
        assert refused.reason == "quota.cost.spent"
    wait_for(lambda: quota_says(admin, "Exceeded") == ("True", "Spent"), "it is not said")
    shown = row(admin, "-o", "wide")
    assert (shown["TIGHTEST"], shown["USED"], shown["LIMIT"]) == ("budget", "1.499999", "1.50")
    assert re.fullmatch(r"20\d\d-01-01T00:00:00Z", shown["RESETS"])
    assert (shown["EXCEEDED"], shown["ENFORCED"], shown["HELD"], shown["AGENTS"]) == ("True", "True", "0.00", "1")
    year, rpm = status(admin, "AIQuota", "research", TEAM)["limits"]
    assert (year["name"], year["key"], rpm["name"], rpm["used"]) == ("budget", "", "rpm", "1")
    assert "resetsAt" in rpm
    events = admin.get(path_of("v1", "Event", TEAM), fieldSelector="involvedObject.name=research").expect()["items"]
    assert ("Warning", "Spent") in [(event["type"], event["reason"]) for event in events]


def end_with(replica: Gateway, granted: Granted, amounts: Amounts) -> None:
    ledger = SQLiteLedger(replica.folder / "ledger.db")
    ledger.settle(granted.call, amounts, Source.PROVIDER, now())
    ledger.close()


def test_usage_that_did_not_change_is_not_written_again(admin: Client, operator: Running, replica: Gateway) -> None:
    wait_for(lambda: quota_says(admin, "Exceeded") == ("True", "Spent"), "it is not said")

    def written() -> list[Json]:
        quota = admin.get(path_of(TOLLWAY, "AIQuota", TEAM, "research")).expect()
        provider = admin.get(path_of(TOLLWAY, "AIProvider", name="reports-openai")).expect()
        return [(each["metadata"]["resourceVersion"], each["status"]) for each in (quota, provider)]

    def reported(*served: Json, expected: tuple[str, str]) -> None:
        """Until the operator heard of other providers."""
        replica.rule([RESEARCHER, OPENAI, *served, RESEARCH])
        wait_for(lambda: programmed(admin, "reports-later") == expected, "the operator does not ask", 120)

    before = written()
    reported(LATER, expected=("True", "Programmed"))
    reported(expected=("False", "Pending"))
    assert written() == before
    # Nor by one that starts anew.
    operator.kill()
    operator.start_again()
    reported(LATER, expected=("True", "Programmed"))
    reported(expected=("False", "Pending"))
    assert written() == before
