"""What the demo's agents ask, and what the SDKs have in common for them."""

from collections.abc import Mapping
from typing import Final, Protocol

CAP: Final = 400
QUESTIONS: Final = (
    "Tell me about the bridge where two roads meet.",
    "Who counted the coins, and how often?",
    "What did the sign on the wall say?",
    "Why was the gate closed until morning?",
)


class Refused(Exception):  # noqa: N818 - named for what happened
    """The SDK raised; `is_final` says that it was told that trying again is of no use."""

    def __init__(self, said: Mapping[str, object], headers: Mapping[str, str]) -> None:
        super().__init__()
        self.said = {**said, "reason": headers.get("x-tollway-reason"), "call": headers.get("x-tollway-call")}
        self.is_final = headers.get("x-should-retry") == "false"


class Caller(Protocol):
    """One way to ask with one SDK. Both return what the SDK saw of the call, and raise `Refused`."""

    def ask(self, question: str) -> Mapping[str, object]: ...

    def stream(self, question: str) -> Mapping[str, object]: ...
