"""Whatever a pod looks like: what comes of it is safe, and asking again changes nothing."""

import copy
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from injecting.injection import IMAGE, facts, patched
from injecting.standard import violations
from tollway_operator.injecting.outcomes import LeftAlone, Patched, Refused
from tollway_operator.injecting.patching import inject
from tollway_operator.injecting.settings import InjectionSettings

Json = Any

SAFE = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESOURCES = [
    {
        "apiVersion": "tollway.dev/v1alpha1",
        "kind": "AgentIdentity",
        "metadata": {"name": name, "namespace": "team-a"},
        "spec": {"selector": {"matchLabels": {"app": name}}, **spec},
    }
    for name, spec in (
        ("kubelet", {}),
        ("secret", {"svid": {"delivery": "Secret"}}),
        ("suspended", {"suspended": True}),
        ("uncaptured", {"capture": "None"}),
    )
]
PROVIDERS = [
    {
        "apiVersion": "tollway.dev/v1alpha1",
        "kind": "AIProvider",
        "metadata": {"name": name},
        "spec": {"type": kind, "credential": {"secretRef": {"name": "k", "key": "k"}}},
    }
    for name, kind in (("openai", "OpenAI"), ("anthropic", "Anthropic"))
]
NAMESPACE = facts({}, [*RESOURCES, *PROVIDERS])
SETTINGS = InjectionSettings(IMAGE, secret_namespaces=frozenset({"team-a"}))

names = st.sampled_from(["a", "b", "tollway-sidecar", "tollway-identity", "tollway-run", "kube-api-access-x"])
variables = st.fixed_dictionaries(
    {"name": st.sampled_from(["OPENAI_BASE_URL", "OPENAI_API_KEY", "ANTHROPIC_BASE_URL", "PATH"])},
    optional={"value": st.sampled_from(["", "x", "http://127.0.0.1:15001/openai/v1"])},
)
mounts = st.fixed_dictionaries({"name": names, "mountPath": st.sampled_from(["/x", "/etc/tollway/identity"])})
containers = st.fixed_dictionaries(
    {"name": names, "image": st.just("x"), "securityContext": st.just(SAFE)},
    optional={
        "env": st.lists(variables, max_size=3, unique_by=lambda each: each["name"]),
        "envFrom": st.lists(st.just({"configMapRef": {"name": "c"}}), max_size=1),
        "ports": st.lists(st.fixed_dictionaries({"containerPort": st.sampled_from([80, 15001, 15021])}), max_size=2),
        "volumeMounts": st.lists(mounts, max_size=2),
        "restartPolicy": st.just("Always"),
    },
)
sources = st.sampled_from(
    [
        {"secret": {"name": "tollway-svid-kubelet"}},
        {"podCertificate": {"signerName": "tollway.dev/agent"}},
        {"configMap": {"name": "c"}},
    ]
)
volumes = st.one_of(
    st.fixed_dictionaries({"name": names, "emptyDir": st.just({})}),
    st.fixed_dictionaries(
        {"name": names, "secret": st.sampled_from([{"secretName": "mine"}, {"secretName": "tollway-svid-kubelet"}])}
    ),
    st.fixed_dictionaries({"name": names, "projected": st.builds(lambda each: {"sources": [each]}, sources)}),
)


def by_name(each: Json) -> str:
    return str(each["name"])


pods = st.fixed_dictionaries(
    {
        "metadata": st.fixed_dictionaries(
            {},
            optional={
                "name": st.just("pod"),
                "labels": st.dictionaries(
                    st.just("app"), st.sampled_from(["kubelet", "secret", "suspended", "uncaptured", "nobody"])
                ),
                "annotations": st.dictionaries(st.just("tollway.dev/inject"), st.sampled_from(["true", "false"])),
            },
        ),
        "spec": st.fixed_dictionaries(
            {"containers": st.lists(containers, min_size=1, max_size=3, unique_by=by_name)},
            optional={
                "initContainers": st.lists(containers, max_size=3, unique_by=by_name),
                "volumes": st.lists(volumes, max_size=4, unique_by=by_name),
                "hostNetwork": st.booleans(),
                "securityContext": st.just({"runAsUser": 1000, "fsGroup": 1000}),
                "nodeSelector": st.dictionaries(st.just("kubernetes.io/os"), st.sampled_from(["linux", "windows"])),
            },
        ),
    }
)


@given(pods)
def test_a_patched_pod_is_within_the_standard_guarded_and_needs_no_other_patch(pod: Json) -> None:
    before = copy.deepcopy(pod)
    outcome = inject(pod, NAMESPACE, SETTINGS)
    assert pod == before
    assert not isinstance(outcome, LeftAlone)
    if not isinstance(outcome, Patched):
        return
    result = patched(pod, outcome.patch)
    again = inject(result, NAMESPACE, SETTINGS)
    assert isinstance(again, Patched)
    assert not again.patch
    assert list(violations(result)) == []
    assert result["spec"]["initContainers"][0]["name"] == "tollway-sidecar"
    assert_guarded(result)
    assert_untouched(pod, result)


def assert_guarded(pod: Json) -> None:
    """One sidecar is ours, and nothing else gets at an identity."""
    everyone = [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]
    assert [each["image"] for each in everyone if each["name"] == "tollway-sidecar"] == [IMAGE]
    for volume in pod["spec"]["volumes"]:
        if volume["name"] != "tollway-identity":
            assert "tollway-svid-" not in str(volume)
            assert "tollway.dev/agent" not in str(volume)
    for each in everyone[1:]:
        assert "tollway-identity" not in {mount["name"] for mount in each.get("volumeMounts", ())}


def assert_untouched(before: Json, after: Json) -> None:
    """What is the user's stays as it is, but for variables that were not set."""
    own = [
        each
        for kind in ("initContainers", "containers")
        for each in before["spec"].get(kind, ())
        if each["name"] != "tollway-sidecar"
    ]
    kept = [*after["spec"]["initContainers"][1:], *after["spec"]["containers"]]
    assert [without_variables(each) for each in kept] == [without_variables(each) for each in own]
    for old, new in zip(own, kept, strict=True):
        mine = old.get("env", [])
        assert new.get("env", [])[len(new.get("env", [])) - len(mine) :] == mine


def without_variables(container: Json) -> Json:
    return {name: value for name, value in container.items() if name != "env"}


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["metadata", "spec", "containers", "name", "env", "volumes"]), inner)
        ),
    )
)
def test_whatever_is_no_pod_is_said_to_be_none(content: Json) -> None:
    try:
        outcome = inject(content, NAMESPACE, SETTINGS)
    except msgspec.ValidationError:
        return
    assert isinstance(outcome, (Patched, Refused))
