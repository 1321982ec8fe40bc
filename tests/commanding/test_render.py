"""`tollway render` shows what Envoy would be told, may be shown to anybody, and starts nothing."""

from pathlib import Path

import yaml

from installations import KEY, agent, budget, provider, quota, secret

DOCUMENTS = [agent("researcher"), provider(endpoint="https://api.example.com"), quota("q", budget("1.00")), secret()]


def declare(directory: Path, documents: list[dict[str, object]]) -> Path:
    (directory / "resources.yaml").write_text(yaml.safe_dump_all(documents))
    return directory


def test_every_file_of_the_gateway_and_of_each_sidecar_is_shown(tollway, tmp_path) -> None:
    ran = tollway("render", "-f", declare(tmp_path, DOCUMENTS), "--state", tmp_path / "state", "-o", "json")
    assert ran.code == 0
    assert sorted(ran.json) == [
        "agents/team-a_researcher/bootstrap.json",
        "agents/team-a_researcher/xds/cds.json",
        "agents/team-a_researcher/xds/identity.json",
        "agents/team-a_researcher/xds/rds.json",
        "gateway/bootstrap.json",
        "gateway/xds/cds.json",
        "gateway/xds/credential-openai.json",
        "gateway/xds/identity.json",
        "gateway/xds/rds.json",
        "gateway/xds/trial.json",
    ]
    assert "api.example.com" in str(ran.json["gateway/xds/cds.json"])
    assert not (tmp_path / "state").exists()


def test_no_credential_is_shown(tollway, tmp_path) -> None:
    ran = tollway("render", "-f", declare(tmp_path, DOCUMENTS))
    assert KEY not in ran.out
    assert "Bearer PLACEHOLDER" in str(yaml.safe_load(ran.out))


def test_unusable_resources_are_1_with_each_problem(tollway, tmp_path) -> None:
    ran = tollway("render", "-f", declare(tmp_path, [agent("a"), agent("a")]))
    assert (ran.code, ran.out) == (1, "")
    assert "resources.yaml: AgentIdentity team-a/a: is declared already" in ran.err
