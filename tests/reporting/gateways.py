"""A gateway's data plane as a process of its own, with an SVID, a trust bundle, and rules: all but its Envoy.

Calls are put to it as Envoy would put them, and told to it as ended.
"""

import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import grpc
import msgspec
import yaml

from installations import wait_until
from ports import free_ports
from reading_hostile.asking import Asker
from tollway.identity.spiffe_id import DEFAULT_TRUST_DOMAIN, SPIFFEID, TrustDomain, agent_id, gateway_id
from tollway.resources.models import KeyType, RuleFile
from tollway.resources.parse import parse_files
from tollway_cli.standalone.supervisor import leashed
from tollway_files.atomic import swap, write_file
from tollway_operator.authority.authority import Authority, new_state
from tollway_operator.authority.svid_files import svid_files

HOUR = 3_600_000
GATEWAY = gateway_id(DEFAULT_TRUST_DOMAIN)
RESEARCHER = agent_id(DEFAULT_TRUST_DOMAIN, "team-a", "researcher", "researcher")

Json = Any


class Gateway:
    """One replica."""

    def __init__(
        self,
        folder: Path,
        documents: Sequence[Json],
        address: str = "127.0.0.1",
        port: int = 0,
        root_namespace: str = "tollway-system",
    ) -> None:
        self.folder = folder
        self.address = address
        self._root_namespace = root_namespace
        spare, self.admin_port, self.metrics_port = free_ports(3)
        self.port = port or spare
        self.log = folder / "extauthz.log"
        self.identity = folder / "identity"
        self.generation = 0
        self.rule(documents)

    def rule(self, documents: Sequence[Json]) -> None:
        """Publish these resources."""
        self.generation += 1
        parsed = parse_files({"resources.yaml": yaml.safe_dump_all(documents).encode()})
        assert not parsed.problems, parsed.problems
        write_file(self.folder / "rules.json", msgspec.json.encode(RuleFile(self.generation, parsed.resources)))

    def believe(self, authority: Authority, now: int, ttl_ms: int = HOUR, spiffe_id: SPIFFEID = GATEWAY) -> None:
        """Take a new SVID of this authority, and its roots and issuers."""
        svid = authority.issue(spiffe_id, KeyType.ECDSA_P256, ttl_ms, now)
        self.take(svid_files(svid, authority.bundle_map()), authority.issuers_pem())

    def take(self, svid: Mapping[str, bytes], issuers: bytes) -> None:
        """What the operator of a cluster issued to it."""
        write_file(self.folder / "issuers.pem", issuers)
        swap(self.identity, svid)

    @contextlib.contextmanager
    def running(self) -> Iterator["Gateway"]:
        run = self.folder / "run"
        run.mkdir(exist_ok=True)
        settings = {
            "trust_domain": str(DEFAULT_TRUST_DOMAIN),
            "rules": str(self.folder / "rules.json"),
            "issuers": str(self.folder / "issuers.pem"),
            "ledger": str(self.folder / "ledger.db"),
            "check_socket": str(run / "check.sock"),
            "access_log": str(run / "access.log"),
            "gateway_admin_socket": str(run / "gateway.sock"),
            "admin_socket": str(run / "admin.sock"),
            "metrics_port": self.metrics_port,
            "root_namespace": self._root_namespace,
            "identity": str(self.identity),
            "usage_port": self.port,
            "usage_address": self.address,
            "admin_port": self.admin_port,
        }
        (self.folder / "settings.json").write_bytes(msgspec.json.encode(settings))
        command = (sys.executable, "-m", "tollway_extauthz", "--settings", str(self.folder / "settings.json"))
        with self.log.open("ab") as log:
            process = subprocess.Popen(leashed(command), stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            wait_until(lambda: self._ready(process), 30, self.said)
            yield self
        finally:
            process.terminate()
            process.wait(15)

    def said(self) -> str:
        return self.log.read_text()

    @contextlib.contextmanager
    def asking(self, chain: str) -> Iterator[Asker]:
        """As the gateway's Envoy would ask about calls of whoever shows this chain."""
        leaf, end, _ = chain.partition("-----END CERTIFICATE-----")
        with grpc.insecure_channel(f"unix:{self.folder / 'run' / 'check.sock'}") as channel:
            yield Asker(channel, quote(f"{leaf}{end}\n", safe=""))

    def _ready(self, process: "subprocess.Popen[bytes]") -> bool:
        assert process.poll() is None, self.said()
        return "the operator may ask for usage" in self.said() and "are in force" in self.said()


@contextlib.contextmanager
def gateway(documents: Sequence[Json], authority: Authority, now: int, **where: Any) -> Iterator[Gateway]:
    with tempfile.TemporaryDirectory(prefix="tollway-gateway-") as folder:
        replica = Gateway(Path(folder), documents, **where)
        replica.believe(authority, now)
        with replica.running():
            yield replica


def chain_of(authority: Authority, now: int, agent: SPIFFEID = RESEARCHER) -> str:
    return authority.issue(agent, KeyType.ECDSA_P256, HOUR, now).chain_pem.decode()


def authority_of(trust_domain: TrustDomain, now: int) -> Authority:
    """A new one, with a root of its own, in memory."""
    return Authority(new_state(trust_domain, now, None), lambda _: None)
