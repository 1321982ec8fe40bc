"""`--secret NAME/KEY=env:VAR` gives a value from the environment, and never shows it."""

import pytest

from tollway.resources.models import ROOT_NAMESPACE, Meta, ResourceSet, Secret
from tollway_cli.failures import WrongUsage
from tollway_cli.standalone.given_secrets import Absent, GivenSecret, read_option, read_options, with_secrets

KEY = "sk-very-secret"


def test_a_value_comes_from_its_variable() -> None:
    found = read_option("openai-key/api-key=env:KEY", {"KEY": KEY})
    assert found == GivenSecret("openai-key", "api-key", KEY.encode())
    assert KEY not in repr(found)


@pytest.mark.parametrize(
    "text",
    [f"openai-key/api-key={KEY}", f"openai-key={KEY}", f"/k=env:{KEY}-", "openai-key/api-key", f"A/k=env:{KEY}-"],
    ids=["the secret itself", "no key", "no name", "nothing", "a name no object may have"],
)
def test_what_is_not_understood_is_refused_without_repeating_what_may_be_a_secret(text: str) -> None:
    with pytest.raises(WrongUsage) as refused:
        read_option(text, {})
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}], ids=["absent", "empty"])
def test_when_no_variable_has_a_value_it_is_wrong_usage(environ: dict[str, str]) -> None:
    with pytest.raises(WrongUsage, match="--secret a/b: the variable KEY is not set"):
        read_options(["a/b=env:KEY"], environ)


def test_a_variable_without_a_value_does_not_stop_the_others() -> None:
    given, absent = read_options(["a/b=env:KEY", "c/d=env:NONE"], {"KEY": KEY})
    assert given == (GivenSecret("a", "b", KEY.encode()),)
    assert absent == (Absent("c", "d", "NONE"),)
    assert str(absent[0]) == "--secret c/d: the variable NONE is not set"


def test_given_values_win_over_files_and_leave_other_keys() -> None:
    declared = ResourceSet(secrets=(Secret(Meta("openai-key", ROOT_NAMESPACE), {"api-key": b"old", "other": b"kept"}),))
    (secret,) = with_secrets(declared, [GivenSecret("openai-key", "api-key", b"new")]).secrets
    assert dict(secret.data) == {"api-key": b"new", "other": b"kept"}


def test_a_secret_of_that_name_in_another_namespace_is_another_one() -> None:
    declared = ResourceSet(secrets=(Secret(Meta("openai-key", "team-a"), {"api-key": b"theirs"}),))
    found = with_secrets(declared, [GivenSecret("openai-key", "api-key", b"ours")]).secrets
    assert [(secret.meta.namespace, secret.data["api-key"]) for secret in found] == [
        ("team-a", b"theirs"),
        (ROOT_NAMESPACE, b"ours"),
    ]
