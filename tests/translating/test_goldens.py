"""Resources and settings to Envoy's configuration: what is expected lies beside what is given."""

import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, gateway_id
from tollway.resources.models import KeyType
from tollway_files.atomic import swap
from tollway_operator.authority.authority import Authority
from tollway_operator.authority.svid_files import gateway_svid_files
from tollway_operator.envoy.binary import envoy_binary
from translating.translation import ROOT, Translation, loaded, read

INPUTS = sorted(Path(__file__).parent.glob("**/*.in.yaml"))
NOW = 1_800_000_000_000


@pytest.fixture(params=INPUTS, ids=lambda path: path.name.removesuffix(".in.yaml"))
def given(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_the_configuration_is_the_expected_one(given: Path, update_golden: bool) -> None:
    expected = given.with_name(given.name.replace(".in.yaml", ".out.yaml"))
    rendered = read(given).as_yaml()
    if update_golden:
        expected.write_text(rendered)
    assert rendered == expected.read_text(), "if this is meant: pytest tests/translating --update-golden"


def test_envoy_accepts_the_configuration(given: Path, tmp_path: Path) -> None:
    translation = read(given)
    place = prepared(tmp_path, translation)
    changing = translation.changing()
    for name, bootstrap in translation.bootstraps().items():
        program = name.removesuffix(".json")
        own = {path: content for path, content in changing.items() if path.startswith(program)}
        (tmp_path / name).write_text(place(bootstrap.decode()))
        (tmp_path / f"loaded-{name}").write_bytes(loaded(bootstrap, own, place))
        for config in (tmp_path / name, tmp_path / f"loaded-{name}"):
            done = subprocess.run([envoy_binary(), "--mode", "validate", "-c", config], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-2000:]
            assert "deprecated" not in done.stderr.lower()


def prepared(root: Path, translation: Translation) -> Callable[[str], str]:
    """Puts everything that the configuration names below `root`; returns what moves a text there."""

    def place(text: str) -> str:
        return text.replace(ROOT, str(root))

    authority = Authority.load_or_create(root / "ca", DEFAULT_TRUST_DOMAIN, NOW)
    svid = authority.issue(gateway_id(DEFAULT_TRUST_DOMAIN), KeyType.ECDSA_P256, 3_600_000, NOW)
    swap(root / "identity", gateway_svid_files(svid, None, authority.bundle_map()))
    (root / "provider-ca.pem").write_bytes(authority.issuers_pem())
    for directory, files in by_directory(translation.changing()).items():
        swap(root / directory, {name: place(content.decode()).encode() for name, content in files.items()})
    return place


def by_directory(files: Mapping[str, bytes]) -> Mapping[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    for path, content in files.items():
        directory, _, name = path.rpartition("/")
        found.setdefault(directory, {})[name] = content
    return found
