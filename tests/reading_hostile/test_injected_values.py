"""Row R33: a value never becomes configuration. Whatever stands in a text of a resource is refused, or comes out of the
translation as the same text in the same place. `test_last_good` has what a running installation makes of it."""

import json
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from installations import provider
from reading_hostile.injections import BUILT_IN, INJECTIONS, ODD_KEY, PREFIX, Injected, everywhere, injected, whole
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, gateway_id
from tollway.resources.models import KeyType, ResourceSet, RuleFile
from tollway.resources.parse import Parsed, parse_files
from tollway.resources.problems import json_path
from tollway_files.atomic import swap
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.svid_files import gateway_svid_files
from tollway_operator.envoy.binary import envoy_binary
from tollway_operator.envoy.credentials import CredentialError, render_credential
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import GatewaySettings, SidecarSettings
from tollway_operator.envoy.sidecar import sidecar_files
from translating.translation import GATEWAY, SIDECAR, loaded

NAME = "called-like-nothing-else"


def parsed(*documents: object) -> Parsed:
    return parse_files({f"{number}.yaml": json.dumps(each).encode() for number, each in enumerate(documents)})


def rendered(resources: ResourceSet, key: str = "sk-1") -> dict[str, Any]:
    """Every file that resources change, as values, by its name."""
    gateway, sidecar = GatewaySettings(**GATEWAY), SidecarSettings(**SIDECAR)  # type: ignore[arg-type]
    keys = {each.meta.name: key.encode() for each in resources.providers}
    files = {**gateway_files(gateway, resources.providers, keys), **_sidecars(sidecar, resources)}
    return {name: json.loads(content) for name, content in files.items()}


def _sidecars(settings: SidecarSettings, resources: ResourceSet) -> Mapping[str, bytes]:
    return {f"sidecar/{name}": content for name, content in sidecar_files(settings, resources.providers).items()}


def named(value: Any, name: str) -> Any:
    """What was rendered of a provider called `NAME`, as it must be for one that is called `name`."""
    text = json.dumps(value).replace(NAME, name)
    return {file: _unversioned(content) for file, content in json.loads(text).items()}


def _unversioned(content: Any) -> Any:
    """The version is a digest of the rest."""
    return {key: each for key, each in content.items() if key != "versionInfo"}


@pytest.mark.parametrize("kind", [*PREFIX, *BUILT_IN])
def test_R33_a_text_in_a_resource_is_refused_in_one_line_or_comes_out_as_the_same_text(kind: str) -> None:
    taken = [each for what in INJECTIONS for each in not_refused(kind, what)]
    assert {each.what for each in taken if each.path not in OF_ANY_TEXT} <= HARMLESS
    before = rendered(parsed(renamed(kind, NAME)).resources)
    for each in {each.path: each for each in taken}.values():
        found = parsed(each.content).resources
        assert through_the_rule_file(found) == found, each
        name = each.content["metadata"]["name"]
        assert named(rendered(found), name) == named(before, name), each
    assert taken


def not_refused(kind: str, what: str) -> Iterator[Injected]:
    """What is left when the injection was tried in all places at once, tried in each of these alone."""
    content, paths = everywhere(kind, INJECTIONS[what])
    problems = parsed(content).problems
    assert all(str(problem).isprintable() for problem in problems), problems
    refused = {problem.path for problem in problems}
    for path in paths:
        if json_path(path) not in refused:
            each = injected(kind, what, path)
            if not parsed(each.content).problems:
                yield each


def renamed(kind: str, name: str) -> dict[str, Any]:
    content = whole(kind)
    return {**content, "metadata": {**content["metadata"], "name": name}}


HARMLESS = {
    *("dots", "nothing", "a path upwards", "a path to a file"),
    # A pattern of model names takes stars and dots, and none of these is more than a pattern there.
    *("a YAML alias", "any text for a regular expression", "a star"),
}
OF_ANY_TEXT = {("stringData", "other-key"), ("type",)}


def through_the_rule_file(resources: ResourceSet) -> ResourceSet:
    return msgspec.json.decode(msgspec.json.encode(RuleFile(1, resources)), type=RuleFile).resources


def test_R33_annotations_and_a_status_of_any_text_are_read_by_nobody() -> None:
    noise = {"annotations": dict.fromkeys(INJECTIONS.values(), "%REQ(authorization)%\r\nx: y")}
    content = whole("AIProvider")
    more = {**content, "metadata": {**content["metadata"], **noise}, "status": list(INJECTIONS.values())}
    assert parsed(more) == parsed(content)


@pytest.mark.parametrize("text", INJECTIONS.values(), ids=INJECTIONS)
def test_R33_a_key_of_any_text_is_sent_as_it_is_or_refused_without_being_shown(text: str) -> None:
    (declared,) = parsed(whole("AIProvider")).resources.providers
    key = f"sk-{text}-sk".encode()
    if all(0x21 <= byte <= 0x7E for byte in key):
        (credential,) = json.loads(render_credential(declared, key))["resources"]
        assert credential["genericSecret"]["secret"] == {"inlineString": f"Bearer sk-{text}-sk"}
    else:
        with pytest.raises(CredentialError) as refused:
            render_credential(declared, key)
        assert "sk-" not in str(refused.value)


def test_R33_envoy_takes_names_and_keys_of_any_signs_that_they_may_have(tmp_path: Path) -> None:
    longest = ".".join(["x" * 63] * 3 + ["y" * 61])
    names = ("a.b", longest, f"{longest[:-1]}z", "0", "a--b", "openai.example.com")
    paths = ("/v1.~_-x", "/~", "/a/b/c")
    declared = [
        provider(name, endpoint=f"https://p{number}.example{paths[number % 3]}") for number, name in enumerate(names)
    ]
    resources = parsed(*declared).resources
    settings = GatewaySettings(**GATEWAY)  # type: ignore[arg-type]
    files = gateway_files(settings, resources.providers, dict.fromkeys(names, ODD_KEY.encode()))
    identity = _identity(tmp_path)

    def place(text: str) -> str:
        return text.replace("/var/run/tollway", str(identity))

    swap(identity / "gateway" / "xds", {name: place(content.decode()).encode() for name, content in files.items()})
    config = tmp_path / "loaded.json"
    config.write_bytes(loaded(gateway_bootstrap(settings), files, place))
    done = subprocess.run([envoy_binary(), "--mode", "validate", "-c", config], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert len([name for name in files if name.startswith("credential-")]) == len(names)


def _identity(root: Path) -> Path:
    """What the gateway's configuration wants to find."""
    authority = Authority.load_or_create(root / "ca", DEFAULT_TRUST_DOMAIN, 1_800_000_000_000)
    svid = authority.issue(gateway_id(DEFAULT_TRUST_DOMAIN), KeyType.ECDSA_P256, 3_600_000, 1_800_000_000_000)
    swap(root / "identity", gateway_svid_files(svid, None, authority.bundle_map()))
    (root / "provider-ca.pem").write_bytes(authority.issuers_pem())
    return root
