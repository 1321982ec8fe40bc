"""What an instance takes as given, and tests and experiments set otherwise. No option of the command changes it."""

from dataclasses import dataclass
from typing import Final

from tollway.identity.rotation import USUAL as USUAL_PACE
from tollway.identity.rotation import Pace

RENEWALS: Final = 4
"""How often, within the life of a hold, the gateway says that its call still runs."""


@dataclass(frozen=True, slots=True)
class Tuning:
    """Times of a call, and the module that decides.

    `headers_s`, `arrival_s`: within which a request's headers, and all of it, must have come in. `hold_ms`: for how
    long a hold lasts unless its call is seen to run. `silence_s`: for how long a provider may be silent.
    `longest_stream_s`: after which an answer is cut. `gateway_heap`: bytes that the gateway's Envoy may use.
    `pace`: of the authority. `calls_per_connection`: after so many a sidecar makes another one to the gateway; 0: it
    has no such limit. `trial_every_s`: how often a sidecar tries the next root.
    """

    headers_s: int = 10
    arrival_s: int = 120
    hold_ms: int = 60_000
    silence_s: int = 600
    longest_stream_s: int = 3_600
    gateway_heap: int = 1 << 30
    data_plane: str = "tollway_extauthz"
    pace: Pace = USUAL_PACE
    calls_per_connection: int = 0
    trial_every_s: int = 1

    @property
    def still_open_ms(self) -> int:
        return self.hold_ms // RENEWALS


USUAL: Final = Tuning()
