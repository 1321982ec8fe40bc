from e2e.installation import Installation

FIVE_MINUTES = 300


def test_five_minutes_after_helm_install_an_agent_has_been_refused_its_first_call(installation: Installation) -> None:
    assert installation.seconds["first call refused"] < FIVE_MINUTES


def test_that_refusal_is_one_the_sdk_understands_and_says_what_is_spent(installation: Installation) -> None:
    refused = installation.refused
    assert (refused["status"], refused["error"], refused["retry"]) == (429, "RateLimitError", "false")
    assert refused["reason"] == "quota.cost.spent"
    assert "team-a/researcher" in refused["message"]
    assert refused["call"]
