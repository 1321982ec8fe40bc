"""A trust domain while its root changes: gateways and sidecars that read late, or never, and an operator that crashes.

What is real is `tollway.identity.root_change`; keys and certificates are left away. `check` is the promise.
"""

from dataclasses import dataclass, field, replace
from random import Random

from tollway.identity import root_change
from tollway.identity.root_change import Change, Event, Observed, Phase, Proof, RefusedCommand, Root, Sidecar, Situation
from tollway.identity.rotation import MAX_LEAF_TTL_MS, Validity
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, agent_id, gateway_id

SECOND = 1_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
NOW = 1_790_000_000_000
FOREVER = Validity(NOW - 86_400_000, NOW * 3)
A_GATEWAY = gateway_id(DEFAULT_TRUST_DOMAIN)
AN_AGENT = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "sa", "researcher")
READ_LATE = 30 * SECOND
"""A pod that starts reads an object as it was at most so long ago."""
SEEN_LATE = 20 * SECOND
"""What the operator knows of pods is at most so old."""
STRAGGLES = MINUTE
"""An operator that lost its Lease signs at most so long."""


@dataclass(frozen=True)
class Leaf:
    root: str
    not_after: int


@dataclass
class Pod:
    bundle: tuple[str, ...]
    source: str
    born: int
    reads: bool = True
    talks: bool = True


@dataclass(frozen=True)
class Stored:
    """What the operator wrote down. Roots are names: who made how many."""

    change: Change
    made: int
    current: str
    next: str

    @property
    def bundle(self) -> tuple[str, ...]:
        return tuple(self.named(root) for root in self.change.rule.bundle)

    def named(self, root: Root) -> str:
        return self.current if root is Root.CURRENT else self.next

    def became(self, change: Change) -> "Stored":
        if change.has_next and not self.change.has_next:
            return Stored(change, self.made + 1, self.current, f"root {self.made + 1}")
        if change.phase is Phase.REMOVED and self.change.has_next:
            return Stored(change, self.made, self.next, "")
        return replace(self, change=change, next=self.next if change.has_next else "")


class BrokenHandshake(AssertionError):  # noqa: N818 - named for what happened
    """Somebody shows a certificate to somebody who does not trust its root."""


@dataclass
class World:
    random: Random
    now: int = NOW
    stored: Stored = field(default_factory=lambda: Stored(root_change.NO_CHANGE, 0, "root 0", ""))
    memories: list[tuple[int, Stored]] = field(default_factory=list)
    sources: dict[str, list[tuple[int, tuple[str, ...]]]] = field(default_factory=dict)
    gateways: dict[str, Pod] = field(default_factory=dict)
    sidecars: dict[str, Pod] = field(default_factory=dict)
    agent_leaves: dict[str, Leaf] = field(default_factory=dict)
    gateway_leaf: Leaf = Leaf("root 0", NOW)
    seen: list[tuple[int, Observed]] = field(default_factory=list)
    moves: set[tuple[Phase, Phase]] = field(default_factory=set)
    born: int = 0

    def __post_init__(self) -> None:
        self.sources = {name: [(NOW - HOUR, self.stored.bundle)] for name in ("gateway", "team-a", "team-b")}
        for start in (self.start_gateway, self.start_gateway, self.start_sidecar, self.start_sidecar):
            start()
        self.gateway_renews()

    # What happens

    def run(self, steps: int) -> None:
        actions = [action for action, weight in _ACTIONS for _ in range(weight)]
        for _ in range(steps):
            self.random.choice(actions)(self)
            self.check()

    def waits(self) -> None:
        self.now += self.random.choice([SECOND, 10 * SECOND, MINUTE, 10 * MINUTE, HOUR, 3 * HOUR])

    def publishes(self) -> None:
        """One object is written; the others may have to wait."""
        self.sources[self.random.choice(sorted(self.sources))].append((self.now, self.stored.bundle))

    def publishes_all(self) -> None:
        for versions in self.sources.values():
            versions.append((self.now, self.stored.bundle))

    def a_pod_reads(self) -> None:
        self._reads(self.random.choice(sorted({**self.gateways, **self.sidecars})))

    def all_read(self) -> None:
        for name in sorted({**self.gateways, **self.sidecars}):
            self._reads(name)

    def _reads(self, name: str) -> None:
        pod = {**self.gateways, **self.sidecars}[name]
        if pod.reads:
            pod.bundle = self.sources[pod.source][-1][1]

    def a_pod_goes_silent(self) -> None:
        pods = {**self.gateways, **self.sidecars}
        pod = pods[self.random.choice(sorted(pods))]
        pod.reads, pod.talks = self.random.choice([(True, True), (True, True), (False, True), (False, False)])

    def start_gateway(self) -> None:
        self._start(self.gateways, "gateway")

    def start_sidecar(self) -> None:
        name = self._start(self.sidecars, self.random.choice(["team-a", "team-b"]))
        self.agent_leaves[name] = self._issued(self.stored, AN_AGENT)

    def _start(self, pods: dict[str, Pod], source: str) -> str:
        self.born += 1
        name = f"pod {self.born:03}"
        read_at = self.now - self.random.randrange(READ_LATE)
        readable = [bundle for at, bundle in self.sources[source] if at <= read_at]
        pods[name] = Pod(readable[-1], source, self.now, talks=self.random.random() < 0.8)
        return name

    def a_pod_ends(self) -> None:
        pods = self.random.choice([self.gateways, self.sidecars])
        if len(pods) > 1:
            gone = self.random.choice(sorted(pods))
            del pods[gone]
            self.agent_leaves.pop(gone, None)

    def an_agent_renews(self) -> None:
        self.agent_leaves[self.random.choice(sorted(self.sidecars))] = self._issued(self.stored, AN_AGENT)

    def gateway_renews(self) -> None:
        self.gateway_leaf = self._issued(self.stored, A_GATEWAY)

    def a_straggler_signs(self) -> None:
        """Somebody who was the leader a moment ago."""
        fresh = [stored for until, stored in self.memories if self.now <= until + STRAGGLES]
        if not fresh:
            return
        stored = self.random.choice(fresh)
        if self.random.random() < 0.5:
            self.agent_leaves[self.random.choice(sorted(self.sidecars))] = self._issued(stored, AN_AGENT)
        else:
            self.gateway_leaf = self._issued(stored, A_GATEWAY)

    def _issued(self, stored: Stored, spiffe_id: object) -> Leaf:
        root = root_change.signer_of(stored.change, spiffe_id)
        return Leaf(stored.named(root), self.now + self.random.choice([HOUR, MAX_LEAF_TTL_MS]))

    # The operator

    def looks_around(self) -> None:
        gateways = {name: Proof(_digest(pod.bundle), "") if pod.talks else None for name, pod in self.gateways.items()}
        sidecars = {
            name: Sidecar(_digest(pod.bundle) if pod.talks else None, pod.born) for name, pod in self.sidecars.items()
        }
        sources = {name: _digest(versions[-1][1]) for name, versions in self.sources.items()}
        self.seen.append((self.now, Observed(gateways, sidecars, sources)))

    def situation(self, stored: Stored) -> Situation | None:
        recent = [observed for at, observed in self.seen if self.now <= at + SEEN_LATE]
        if not recent:
            return None
        observed = self.random.choice(recent)
        return Situation(FOREVER, True, Proof(_digest(stored.bundle), ""), observed, self.now)

    def operator_goes_on(self) -> None:
        """It may crash before it wrote: then nothing has happened. After that there is nothing but what is stored."""
        self._writes(self._advanced())

    def operator_obeys(self) -> None:
        stored = self._advanced()
        situation = self.situation(stored)
        if situation is None:
            return
        # Who wants to get there activates more often than he aborts.
        command = self.random.choice([Event.PREPARE, Event.ACTIVATE, Event.ACTIVATE, Event.ACTIVATE, Event.ABORT])
        if command is Event.ABORT and self.random.random() < 0.6:
            return
        try:
            stored = stored.became(root_change.commanded(stored.change, command, situation))
        except RefusedCommand:
            return
        self._writes(stored)

    def _advanced(self) -> Stored:
        stored = self.stored
        while situation := self.situation(stored):
            event = root_change.next_event(stored.change, situation)
            if event is None:
                break
            stored = stored.became(root_change.after(stored.change, event, self.now))
        return stored

    def _writes(self, stored: Stored) -> None:
        crashes_before = self.random.random() < 0.1
        if crashes_before or stored is self.stored:
            return
        self.moves.add((self.stored.change.phase, stored.change.phase))
        self.memories.append((self.now, self.stored))
        self.stored = stored

    # The promise

    def check(self) -> None:
        """No certificate in use is shown to anybody who must check it and does not trust its root."""
        for agent, leaf in self.agent_leaves.items():
            self._check(leaf, agent, self.gateways)
        self._check(self.gateway_leaf, "the gateway", self.sidecars)

    def _check(self, leaf: Leaf, whose: str, peers: dict[str, Pod]) -> None:
        for name, pod in peers.items():
            if self.now <= leaf.not_after and leaf.root not in pod.bundle:
                raise BrokenHandshake(f"{name} ({pod.bundle}) is shown {leaf.root} by {whose}: {self.stored}")


def _digest(bundle: tuple[str, ...]) -> str:
    return "+".join(bundle)


_ACTIONS = (
    (World.waits, 4),
    (World.publishes, 2),
    (World.publishes_all, 3),
    (World.a_pod_reads, 3),
    (World.all_read, 3),
    (World.a_pod_goes_silent, 1),
    (World.start_gateway, 1),
    (World.start_sidecar, 1),
    (World.a_pod_ends, 2),
    (World.an_agent_renews, 3),
    (World.gateway_renews, 2),
    (World.a_straggler_signs, 1),
    (World.looks_around, 4),
    (World.operator_goes_on, 4),
    (World.operator_obeys, 2),
)
