"""A running instance of a cluster, for the views: its gateway answers, and the API server says who its agents are."""

from collections.abc import AsyncIterator, Sequence

from tollway_cli.cluster.connection import Session, Way
from tollway_cli.cluster.forwarding import NotForwarded, Question, ask
from tollway_cli.cluster.gateway import ADMIN_PORT, gateway_pods, ready_pod
from tollway_cli.failures import Broken, WrongUsage
from tollway_cli.views.instance import TIMEOUT, Admin, Answer
from tollway_operator.cluster.kinds import AGENT_IDENTITY, AI_PROVIDER, Kind, Object


class InstanceOfCluster:
    """An `Instance`; usable within its session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.admin = Admin(Forwarded(session))

    def spiffe_id(self, agent: str) -> str:
        """Raises `WrongUsage`."""
        namespace, _, name = agent.partition("/")
        if not namespace or not name:
            raise WrongUsage(f"{agent!r} names no agent: write NAMESPACE/NAME, or a SPIFFE ID")
        asking = self._session.way.client.get(AGENT_IDENTITY, name, namespace)
        found = self._session.run(asking, f"get agentidentities in namespace {namespace}")
        if found is None:
            raise WrongUsage(f"there is no AgentIdentity {agent} in this cluster; name a SPIFFE ID for another caller")
        spiffe_id = (found.get("status") or {}).get("spiffeID")
        if not spiffe_id:
            raise WrongUsage(f"AgentIdentity {agent} has no SPIFFE ID yet, or its pods have several: name a SPIFFE ID")
        return str(spiffe_id)

    def agents(self) -> Sequence[str]:
        found = self._listed(AGENT_IDENTITY)
        return sorted(f"{each['metadata']['namespace']}/{each['metadata']['name']}" for each in found)

    def providers(self) -> Sequence[str]:
        return sorted(str(each["metadata"]["name"]) for each in self._listed(AI_PROVIDER))

    def _listed(self, kind: Kind) -> Sequence[Object]:
        return self._session.run(_all(self._session.way.client.list(kind)), f"list {kind.plural}")


async def _all(found: AsyncIterator[Object]) -> Sequence[Object]:
    return [each async for each in found]


class Forwarded:
    """A `Road` to the gateway's admin port. The pod is looked for when it is needed, and again when it is gone."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._pod = ""

    def ask(self, method: str, target: str, body: bytes | None) -> Answer:
        way, question = self._session.way, Question(method, target, body)
        if self._pod:
            try:
                return self._ask(way, question)
            except Broken:
                # It may have been replaced since.
                self._pod = ""
        where = self._session.where
        pods = self._session.run(gateway_pods(way.client, where.namespace), f"list pods in namespace {where.namespace}")
        self._pod = ready_pod(pods, where)
        return self._ask(way, question)

    def _ask(self, way: Way, question: Question) -> Answer:
        where = self._session.where
        asking = ask(way, where.namespace, self._pod, ADMIN_PORT, question, TIMEOUT)
        what = f"forward a port of pod {self._pod} (get and create pods/portforward in namespace {where.namespace})"
        try:
            return self._session.run(asking, what)
        except Broken as error:
            if isinstance(error.__cause__, NotForwarded):
                logs = f"see `{where.kubectl} -n {where.namespace} logs {self._pod} -c extauthz`"
                raise Broken(f"the gateway's pod {self._pod} does not answer ({error.__cause__}): {logs}") from error
            raise
