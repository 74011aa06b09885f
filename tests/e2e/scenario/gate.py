"""What the gate asks for besides the build, and its answer as `prooftrail gate` prints it."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.scenario import company
from tests.e2e.scenario.stage import Stage, expect, same

_PASSING = {"met", "waived", "not_applicable"}
_STATES = {*_PASSING, "unmet", "late", "stale"}


def prepare(stage: Stage) -> None:
    """Scans, reviews, snapshots, monitors and the checklist: everything but the sign-offs."""
    lines = [{"release": stage.state["release"], **line} for line in _of_release(stage.state["manifest_digest"])]
    lines += [{"system": company.SYSTEM, **line} for line in _around(stage.state["tag"])]
    with stage.api("ci") as client:
        sent = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        answer = client.post("records/batch", content=sent, headers={"Content-Type": "application/x-ndjson"})
    statuses = [json.loads(line)["status"] for line in answer.text.splitlines()]
    same(statuses, [201] * len(lines), f"{len(lines)} more in one batch: scans, snapshots, quotas, uptime, monitors")
    accepted = {"decision": "accepted", "manifest_digest": stage.state["manifest_digest"]}
    for kind, body in (
        ("schema.reviewed", accepted),
        ("changelog.signed", accepted),
        ("release.checklist", _checklist(stage)),
    ):
        stage.post("cora", "records", {"kind": kind, "release": stage.state["release"], "body": body})
    checklist = stage.get("cora", f"releases/{stage.state['release']}/checklist")
    same(checklist["open"], 0, f"Cora answered the checklist: {len(checklist['sections'])} sections, nothing open")


def _of_release(digest: str) -> list[dict[str, Any]]:
    scanners = {"secrets": "gitleaks", "sca": "npm audit", "dast": "zap"}
    found: list[dict[str, Any]] = [
        {"kind": "scan.result", "body": {"type": what, "scanner": name, "outcome": "passed", "findings": {}}}
        for what, name in scanners.items()
    ]
    monitors = {"check": "synthetic monitors", "environment": "staging", "outcome": "passed"}
    found += [
        {"kind": "schema.diff", "body": {"outcome": "compatible"}},
        {"kind": "validation.result", "body": monitors},
    ]
    found = [line | {"body": line["body"] | {"manifest_digest": digest}} for line in found]
    merged = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
    commit = company.manifest("")["commit"]
    return [*found, {"kind": "branch.merged", "body": {"branch": "main", "commit": commit}, "occurred_at": merged}]


def _around(tag: str) -> list[dict[str, Any]]:
    """Of the system, beside any release."""
    live = {"variables_missing": [], "deviations": [], "digest": company.manifest(tag)["config_digest"]}
    quotas = {"Tiingo": 41, "Polygon": 63}
    return [
        *({"kind": "config.snapshot", "body": live | {"environment": name}} for name in ("staging", "production")),
        {"kind": "uptime.snapshot", "body": {"percent": 99.97, "days": 7, "source": "Datadog"}},
        *({"kind": "quota.snapshot", "body": {"vendor": v, "headroom_percent": left}} for v, left in quotas.items()),
        {"kind": "dependency.alerts", "body": {"source": "dependabot", "open": {}}},
    ]


def _checklist(stage: Stage) -> dict[str, Any]:
    """An answer to each item that no record answers by itself."""
    sections = stage.get("cora", f"releases/{stage.state['release']}/checklist")["sections"]
    given = {"done": True, "evidence": "https://jira.netlify-trading.example/browse/TRD-1042"}
    return {
        "sections": [
            {"name": section["title"], "items": [{"id": item["id"], "title": item["title"]} | given for item in items]}
            for section in sections
            if (items := [item for item in section["items"] if item["state"] == "open"])
        ]
    }


def ask(stage: Stage, *, lacking: set[str]) -> None:
    """`prooftrail gate` answers red with exit code 1 while something is lacking, else green with 0."""
    code = 1 if lacking else 0
    printed = stage.cli("gate", stage.state["release"], "--environment", "production", who="ci", fails=code)
    rows = [line.rstrip() for line in printed.splitlines() if len(line.split()) > 1 and line.split()[1] in _STATES]
    unmet = {row.split()[0] for row in rows if row.split()[1] not in _PASSING}
    shown = [row for row in rows if row.split()[0] in unmet] + printed.splitlines()[-2:-1]
    print("".join(f"      {line}\n" for line in shown), end="", flush=True)
    met, what = len(rows) - len(unmet), ", ".join(sorted(lacking)) or "nothing"
    same(unmet, lacking, f"prooftrail gate: {met} of {len(rows)} requirements hold, lacking {what}; exit code {code}")
    verdict = "The gate is red." if lacking else "The gate is green."
    expect(met > 0 and verdict in printed, verdict)
