"""The examples work as they are: they never rot."""

from pathlib import Path

import pytest

from tollway.pricing.data import default_book
from tollway.resources.models import ResourceSet
from tollway.resources.notices import notices
from tollway.resources.parse import parse_files
from tollway_cli.doctor.seeing import prices
from tollway_cli.standalone.config_files import read_directory
from tollway_cli.standalone.given_secrets import GivenSecret, with_secrets

EXAMPLES = Path(__file__).parents[2] / "examples" / "standalone"
KEYS = [GivenSecret(f"{name}-key", "api-key", b"sk-given") for name in ("openai", "anthropic")]


@pytest.fixture
def resources() -> ResourceSet:
    files, problems = read_directory(EXAMPLES)
    parsed = parse_files(files)
    assert (problems, parsed.problems) == ((), ())
    return parsed.resources


def test_nobody_has_to_be_told_anything_about_them_once_the_keys_are_given(resources: ResourceSet) -> None:
    found = notices(with_secrets(resources, KEYS))
    surprising = [notice for notice in found if notice.reason != "BoundAsProvable"]
    assert surprising == []


def test_without_a_key_a_provider_is_said_not_to_be_served(resources: ResourceSet) -> None:
    said = [str(notice) for notice in notices(with_secrets(resources, KEYS[:1])) if notice.kind == "AIProvider"]
    unserved = "there is no Secret anthropic-key in tollway-system, so it is not served: declare it there"
    assert said == [f"AIProvider anthropic: {unserved}"]


def test_every_model_that_they_allow_has_a_price(resources: ResourceSet) -> None:
    assert prices(default_book(), resources, 0).unpriced == {}


def test_they_render_both_providers_with_verified_tls(tollway) -> None:
    ran = tollway("render", "-f", EXAMPLES, "-o", "json")
    assert ran.code == 0
    clusters = {cluster["name"]: cluster for cluster in ran.json["gateway/xds/cds.json"]["resources"]}
    for name, host in (("openai", "api.openai.com"), ("anthropic", "api.anthropic.com")):
        tls = clusters[f"provider/{name}"]["transportSocket"]["typedConfig"]
        (san,) = tls["commonTlsContext"]["validationContext"]["matchTypedSubjectAltNames"]
        assert (tls["sni"], san["sanType"], san["matcher"]["exact"]) == (host, "DNS", host)
        assert tls["commonTlsContext"]["validationContext"]["trustedCa"]
