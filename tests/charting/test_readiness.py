"""What `helm test` runs in its pod, run here."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from charting.charts import CHART, Helm, pods
from ports import nobodys_port

PROGRAM = CHART / "files" / "readiness.py"


class Part(http.server.BaseHTTPRequestHandler):
    """Ready on one path, and not on the other."""

    def do_GET(self) -> None:
        ready = self.path == "/readyz"
        self.send_response(200 if ready else 503)
        self.end_headers()
        self.wfile.write(b"ready\n" if ready else b"no rules yet\n")

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def part() -> Iterator[str]:
    with http.server.HTTPServer(("127.0.0.1", 0), Part) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(*urls: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-I", str(PROGRAM), *urls], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout


def test_it_passes_when_everything_is_ready(part: str) -> None:
    assert asked(f"{part}/readyz", f"{part}/readyz") == (0, "everything is ready\n")


def test_it_says_which_part_is_not_ready_and_why(part: str) -> None:
    code, said = asked(f"{part}/readyz", f"{part}/other")
    assert (code, said) == (1, f"{part}/other is not ready: no rules yet\n")


def test_it_says_which_part_cannot_be_asked(part: str) -> None:
    code, said = asked(f"http://127.0.0.1:{nobodys_port()}/readyz", f"{part}/readyz")
    assert code == 1
    assert "cannot be asked" in said


def test_the_pod_asks_all_three_parts_and_has_no_token(helm: Helm) -> None:
    pod = pods(helm.documents(namespace="platform"))["tollway-test"]
    [container] = pod["containers"]
    program, *urls = container["command"][2:]
    assert program == PROGRAM.read_text()
    assert [url.rpartition("//")[2] for url in urls] == [
        "tollway-operator.platform.svc:9467/readyz",
        "tollway-injector.platform.svc:9468/readyz",
        "tollway-gateway-replicas.platform.svc:9464/readyz",
    ]
    assert pod["automountServiceAccountToken"] is False
