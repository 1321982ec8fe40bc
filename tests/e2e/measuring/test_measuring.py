import statistics
from pathlib import Path

from e2e.installation import ASK, KEYS, Installation
from e2e.stage import LOOKING, Agent, apply, beside_sidecar, ready

STORY = Path(__file__).parent / "story.yaml"
RUNNER = Agent("runner", "team-a")
CALLS = 300
DIRECT = "http://provider.e2e-provider.svc.cluster.local:8081/v1"


def milliseconds(*more: str) -> float:
    said = RUNNER.runs(ASK, "openai", f"--calls={CALLS}", *more)
    assert all(each["ok"] for each in said)
    # The first ones open connections.
    return statistics.median(each["ms"] for each in said[20:])


def test_what_the_road_costs_is_measured(installation: Installation) -> None:
    apply(STORY)
    ready("runner", "team-a")
    direct = milliseconds(f"--base-url={DIRECT}", f"--key={KEYS[0]}")
    through = milliseconds()
    [memory] = beside_sidecar(RUNNER).runs(LOOKING / "memory.py")
    installation.figures |= {
        "a call straight to the provider, p50 in the SDK": f"{direct:.1f} ms",
        "the same call through sidecar, gateway and decision": f"{through:.1f} ms",
        "added": f"{through - direct:.1f} ms",
        f"memory of the sidecar after {CALLS} calls, its own": f"{memory['own'] / 1024:.0f} MiB",
        "with its program, which all sidecars of a node share": f"{memory['resident'] / 1024:.0f} MiB",
    }
    assert memory["own"] < 64 * 1024
