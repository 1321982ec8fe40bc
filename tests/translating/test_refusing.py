"""What cannot be rendered, and how that is said."""

import dataclasses
import json

import pytest

from tollway.resources.models import AIProvider, Endpoint, Meta, ProviderType, SecretKeyRef
from tollway_operator.envoy.binary import EnvoyNotFoundError, envoy_binary
from tollway_operator.envoy.credentials import CredentialError
from tollway_operator.envoy.gateway import gateway_bootstrap, gateway_files
from tollway_operator.envoy.settings import GatewaySettings, SettingsError, SidecarSettings
from translating.translation import GATEWAY, SIDECAR

SETTINGS = GatewaySettings(**GATEWAY)  # type: ignore[arg-type]
PROVIDER = AIProvider(
    Meta("openai"),
    ProviderType.OPENAI,
    Endpoint(True, "api.openai.com", 443),
    credential=SecretKeyRef("keys", "openai"),
)


@pytest.mark.parametrize(
    "named",
    [
        lambda path: {"check_sockets": ("/short", path)},
        lambda path: {"admin_socket": path},
    ],
    ids=["check", "admin"],
)
def test_a_socket_path_that_the_kernel_cannot_bind_is_refused_with_its_size(named) -> None:
    fits = "/" + "x" * 106
    dataclasses.replace(SETTINGS, **named(fits))
    with pytest.raises(SettingsError, match="108 bytes"):
        dataclasses.replace(SETTINGS, **named(fits + "x"))


def test_the_limit_of_a_socket_path_counts_bytes() -> None:
    with pytest.raises(SettingsError, match="109 bytes"):
        SidecarSettings(**(SIDECAR | {"admin_socket": "/" + "ü" * 54}))  # type: ignore[arg-type]


@pytest.mark.parametrize("key", [b"", b" \n", b"sk-a\nx-evil: 1", b"sk-a sk-b", "sk-ü".encode(), b"sk-\0"])
def test_a_key_that_no_header_carries_is_refused_without_showing_it(key: bytes) -> None:
    with pytest.raises(CredentialError, match="AIProvider openai") as caught:
        gateway_files(SETTINGS, [PROVIDER], {"openai": key})
    assert "sk-" not in str(caught.value)


def test_a_newline_at_the_end_of_a_key_is_forgiven() -> None:
    files = gateway_files(SETTINGS, [PROVIDER], {"openai": b"sk-a\n"})
    assert json.loads(files["credential-openai.json"])["resources"][0]["genericSecret"] == {
        "secret": {"inlineString": "Bearer sk-a"}
    }


def test_the_same_resources_in_any_order_give_the_same_bytes() -> None:
    other = dataclasses.replace(PROVIDER, meta=Meta("another"))
    keys = {"openai": b"sk-a", "another": b"sk-b"}
    assert gateway_files(SETTINGS, [PROVIDER, other], keys) == gateway_files(SETTINGS, [other, PROVIDER], keys)
    assert gateway_bootstrap(SETTINGS) == gateway_bootstrap(SETTINGS)


def test_a_key_is_in_no_file_but_its_own() -> None:
    files = gateway_files(SETTINGS, [PROVIDER], {"openai": b"sk-a"})
    assert [name for name, content in files.items() if b"sk-a" in content] == ["credential-openai.json"]


def test_the_program_is_found_in_its_wheel_or_on_the_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    try:
        assert envoy_binary().name == "envoy"
    except EnvoyNotFoundError as missing:
        pytest.fail(str(missing))
