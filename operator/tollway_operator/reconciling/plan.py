"""What is missing, for one key: snapshot and time in, actions out. Pure."""

from tollway.pricing.table import PriceBook
from tollway_operator.cluster.kinds import POD_CERTIFICATE_REQUEST
from tollway_operator.reconciling.actions import AnswerRequest, Key, Plan, Topic
from tollway_operator.reconciling.agents import plan_agents
from tollway_operator.reconciling.egress import plan_egress
from tollway_operator.reconciling.gateway import plan_gateway
from tollway_operator.reconciling.injector import plan_injector
from tollway_operator.reconciling.providers import plan_providers
from tollway_operator.reconciling.quotas import plan_quotas
from tollway_operator.reconciling.sidecars import plan_sidecar
from tollway_operator.reconciling.snapshot import Snapshot
from tollway_operator.reconciling.trust import plan_trust
from tollway_operator.watching.facts import RequestFact


def plan(key: Key, snapshot: Snapshot, prices: PriceBook, now: int) -> Plan:
    match key.topic:
        case Topic.TRUST:
            return plan_trust(snapshot, now)
        case Topic.GATEWAY:
            return plan_gateway(snapshot, now)
        case Topic.PROVIDERS:
            return plan_providers(snapshot, prices, now)
        case Topic.QUOTAS:
            return plan_quotas(snapshot, now)
        case Topic.SIDECAR:
            return plan_sidecar(snapshot, key.namespace)
        case Topic.AGENTS:
            return plan_agents(snapshot, key.namespace, now)
        case Topic.EGRESS:
            return plan_egress(snapshot, key.namespace)
        case Topic.INJECTOR:
            return plan_injector(snapshot, now)
        case Topic.REQUEST:
            return _plan_request(snapshot, key)


def _plan_request(snapshot: Snapshot, key: Key) -> Plan:
    found = snapshot.store.get(POD_CERTIFICATE_REQUEST, RequestFact, key.name, key.namespace)
    if found is None or found.answered or snapshot.trust is None:
        return Plan()
    return Plan(((AnswerRequest(found.me, found.content),),))
