"""docs/security.md is about this code: what it names is there, its numbers are the code's, no class is left out."""

import re
from pathlib import Path

import pytest

from installations import KEY
from tollway.identity.rotation import CA_TTL_MS
from tollway.ledger.book import MAX_TEXT
from tollway.providers import json_scan
from tollway_cli.standalone.config_files import MAX_FILE, MAX_FILES, MAX_TOTAL
from tollway_cli.standalone.supervisor import LOG_LIMIT
from tollway_cli.standalone.tuning import USUAL
from tollway_extauthz.peer import DEFAULT_REMEMBERED
from tollway_operator.authority.root import ROOT_TTL_MS
from tollway_operator.envoy.connections import http2, stream_limits
from tollway_operator.envoy.settings import MIB, GatewaySettings, SidecarSettings

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "security.md").read_text()
CLASSES = PAGE.partition("## Vulnerability classes")[2]
TESTS = {
    name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"def (test_\w+)", path.read_text())
}

# The classes that were looked at, by the ids under which they are known.
ENVOY = """
    CVE-2024-23324 CVE-2021-32777 CVE-2026-26308 CVE-2026-73552 CVE-2024-45806 CVE-2026-73511 CVE-2025-66220
    CVE-2026-47778 CVE-2022-21654 CVE-2025-64763 CVE-2026-48743 CVE-2026-73547 CVE-2026-50572 CVE-2026-47205
    CVE-2026-48044 CVE-2026-48042 CVE-2025-64527 CVE-2023-45288 CVE-2023-44487 CVE-2026-22771 CVE-2026-53713
    GO-2025-3418
"""
ISTIO = """
    CVE-2021-39156 GHSA-6q5m-22mq-q2xv CVE-2021-31920 CVE-2026-39350 CVE-2026-31837 CVE-2026-41413 CVE-2021-34824
    CVE-2022-21679 GHSA-qm8v-g4f9-qhjx
"""
OTHERS = """
    CVE-2026-62290 CVE-2021-27098 CVE-2021-27099 CVE-2026-42208 CVE-2026-49468 CVE-2024-6587 CVE-2026-35029
    CVE-2026-114612 CVE-2026-59822 CVE-2026-42203 CVE-2026-40217 PYSEC-2026-2 CVE-2022-29217 CVE-2024-53861
    CVE-2026-32597 CVE-2026-48523 CVE-2026-102272 CVE-2026-102273 CVE-2026-102274 CVE-2026-102275
"""
WITHOUT_NUMBER = ("SPIRE #6715", "Envoy #28758", "Envoy #42668", "Envoy #45077", "SPIRE 1.12.3", "SPIRE 1.14.2")
IDS = (*ENVOY.split(), *ISTIO.split(), *OTHERS.split(), *WITHOUT_NUMBER)


def rows() -> dict[str, tuple[str, str]]:
    """What happened and what holds here, by the first column of the table of classes."""
    lines = [line.strip("|").split(" | ") for line in CLASSES.splitlines() if line.startswith("| ")]
    return {cells[0].strip(): (cells[1].strip(), cells[2].strip()) for cells in lines[1:]}


@pytest.mark.parametrize("known", IDS)
def test_every_class_has_a_row_that_says_what_happened_and_what_holds_here(known: str) -> None:
    found = [cells for ids, cells in rows().items() if re.search(rf"(?<![\w-]){re.escape(known)}(?!\d)", ids)]
    assert len(found) == 1
    assert all(len(cell) > 20 for cell in found[0])


def test_no_row_is_of_a_class_that_is_not_in_the_list() -> None:
    told = {each for ids in rows() for each in re.findall(r"(?:CVE|GHSA|GO|PYSEC)-[\w-]+", ids)}
    assert told <= set(IDS)


@pytest.mark.parametrize("page", ["docs/security.md", "SECURITY.md"])
def test_every_test_that_it_names_exists(page: str) -> None:
    named = set(re.findall(r"\btest_\w+\*?", (ROOT / page).read_text()))
    missing = {name for name in named if not name.endswith("*") and name not in TESTS}
    assert not missing
    for prefix in (name.rstrip("*") for name in named if name.endswith("*")):
        assert any(name.startswith(prefix) for name in TESTS), prefix


def test_every_picture_and_page_that_it_leads_to_exists() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
    for anchor in re.findall(r"\]\(#([^)]+)\)", PAGE):
        titles = {
            re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
            for title in re.findall(r"^#+ (.+)", PAGE, re.MULTILINE)
        }
        assert anchor in titles
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text()
    assert KEY not in PAGE


GATEWAY = GatewaySettings("td", "0.0.0.0", 1, *["/s"] * 4, "/x", "/i")
SIDECAR = SidecarSettings("a/b", "0.0.0.0", 1, "g", 1, "td", "/s", "/x", "/i")
FRAMES = http2(GATEWAY.max_streams_per_connection)
TAKEN_BACK = stream_limits().layers[0].static_layer.to_dict()
BOUNDS = {
    "connections to the gateway": f"{GATEWAY.max_connections:,}, all",
    "connections to one sidecar": f"{SIDECAR.max_connections:,}",
    "calls open on one": f"{GATEWAY.max_streams_per_connection}",
    "headers": f"{GATEWAY.headers_s} s to arrive",
    "a request's body": f"{GATEWAY.max_body_bytes // MIB} MiB; {GATEWAY.arrival_s} s",
    "JSON in it": f"{json_scan.MAX_VALUES:,} values, {json_scan.MAX_DEPTH} levels",
    "a decision": f"{GATEWAY.check_timeout_ms // 1000} s",
    "a provider's silence": f"{GATEWAY.silence_s} s",
    "a stream": f"{GATEWAY.longest_stream_s:,} s",
    "frames that carry nothing": f"{FRAMES.max_outbound_control_frames:,} control frames waiting, "
    f"{FRAMES.max_inbound_priority_frames_per_stream} PRIORITY a stream, "
    f"{FRAMES.max_inbound_window_update_frames_per_data_frame_sent} WINDOW_UPDATE a frame of data, "
    f"{FRAMES.max_consecutive_inbound_frames_with_empty_payload} empty frame",
    "calls taken back": f"more than {int(TAKEN_BACK['overload.premature_reset_total_stream_count'])}",
    "memory of the gateway": f"{USUAL.gateway_heap >> 30} GiB",
    "certificates remembered": f"{DEFAULT_REMEMBERED:,}",
    "a row of the journal": f"{MAX_TEXT:,} characters",
    "a hold that nobody renews": f"{USUAL.hold_ms // 1000} s",
    "the configuration": f"{MAX_FILES:,} files of {MAX_FILE // MIB} MiB, {MAX_TOTAL // MIB} MiB together",
    "`envoy.log`": f"over {LOG_LIMIT // MIB} MiB",
    "CA keys": f"{ROOT_TTL_MS // (365 * 86_400_000)} years, a signing CA {CA_TTL_MS // 3_600_000} h",
}


@pytest.mark.parametrize(("what", "bound"), BOUNDS.items(), ids=BOUNDS)
def test_a_bound_is_told_as_it_is(what: str, bound: str) -> None:
    told = [line for line in PAGE.splitlines() if line.startswith(f"| {what}")]
    assert len(told) == 1
    assert bound in told[0]
