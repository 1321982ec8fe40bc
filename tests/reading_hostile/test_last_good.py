"""Rows R32 and R33 on a running installation: what is hostile in a file, or is refused by Envoy, changes nothing, and
what is odd but allowed is nothing but a text."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from functools import partial

import pytest

from installations import Installation, agent, budget, provider, quota, running, secret, wait_until
from reading_hostile.gateway import call, counter
from reading_hostile.hostile_files import FILES, HostileFile
from reading_hostile.injections import ODD_KEY
from tollway_cli.demo.provider import CALL_LOG, Behaviour, ProviderSettings
from tollway_files.atomic import swap


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    documents = [
        secret(value=ODD_KEY),
        provider(),
        provider("a.b"),
        agent("caller"),
        quota("plenty", budget("50.00")),
    ]
    settings = ProviderSettings(key=ODD_KEY, behaviour=Behaviour(output_tokens=2))
    with running(documents, settings=settings) as (started, served):
        started.served = served  # type: ignore[attr-defined]
        yield started


def test_R33_a_key_with_operators_variables_and_quotes_reaches_the_provider_as_it_is(
    installation: Installation,
) -> None:
    assert call(installation).status == 200
    served = installation.served  # type: ignore[attr-defined]
    assert served.app[CALL_LOG][-1].key == ODD_KEY


def test_R33_a_dot_in_a_name_is_a_dot_and_no_pattern(installation: Installation) -> None:
    assert call(installation, "a.b").status == 200
    refused = call(installation, "aXb")
    assert (refused.status, refused.reason) == (404, "provider.unknown")


def broken(files: Mapping[str, bytes]) -> dict[str, Mapping[str, bytes]]:
    """The gateway's files with something in them that no Envoy takes."""
    routes = json.loads(files["rds.json"])
    (one,) = routes["resources"]
    one["virtualHosts"][0]["routes"][0]["match"] = {"safeRegex": {"regex": "(("}}
    half = files["rds.json"][: len(files["rds.json"]) // 2]
    unknown = json.dumps({"resources": [{**one, "evil": True}]}).encode()
    clusters = json.loads(files["cds.json"])
    clusters["resources"][0]["lbPolicy"] = "CLUSTER_PROVIDED"
    return {
        "half a file": {**files, "rds.json": half},
        "a regular expression that is none": {**files, "rds.json": json.dumps(routes).encode()},
        "an unknown field": {**files, "rds.json": unknown},
        "a cluster that contradicts itself": {**files, "cds.json": json.dumps(clusters).encode()},
    }


def test_R33_what_envoy_refuses_changes_nothing_in_what_it_runs(installation: Installation) -> None:
    directory = installation.state / "gateway" / "xds"
    good = {path.name: path.read_bytes() for path in directory.iterdir() if not path.name.startswith(".")}
    with contextlib.ExitStack() as afterwards:
        afterwards.callback(swap, directory, good)
        for what, files in broken(good).items():
            before = counter(installation, "update_(rejected|failure)")
            swap(directory, files)
            refused = partial(_refused_more_than, installation, before)
            wait_until(refused, 10, partial(str, what))
            assert [call(installation, name).status for name in ("openai", "a.b")] == [200, 200], what


def _refused_more_than(installation: Installation, before: int) -> bool:
    return counter(installation, "update_(rejected|failure)") > before


@pytest.mark.parametrize("hostile", FILES.values(), ids=FILES)
def test_R32_a_hostile_file_is_named_and_what_was_in_force_stays(
    installation: Installation, hostile: HostileFile
) -> None:
    before = len(installation.output.read_text())

    def said() -> str:
        return installation.output.read_text()[before:]

    (installation.config / "hostile.yaml").write_bytes(hostile.content)
    wait_until(lambda: hostile.said in said(), 20, said)
    assert "stays in force" in said()
    assert len(said()) < 20_000
    assert call(installation).status == 200
    (installation.config / "hostile.yaml").unlink()
    wait_until(lambda: "in order again" in said(), 20, said)
    assert call(installation).status == 200
