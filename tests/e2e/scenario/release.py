"""Steps 1 to 4: a release from its ticket to its metrics."""

import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

from tests.e2e.scenario import company, gate
from tests.e2e.scenario.stage import Stage, expect, same, tick


def step_1_open(stage: Stage) -> None:
    """A system, its people, its pipeline, and a release with ticket, dashboards, captain, commander and window"""
    if "cora" not in stage.state.get("tokens", {}):
        _hire(stage)
    if "pipeline" not in stage.state:
        _register_pipeline(stage)
    known = stage.get("cora", "releases", system=company.SYSTEM, limit=500)["results"]
    today = [release for release in known if release["tag"].startswith(company.tag_of(company.TODAY, 1))]
    wanted = company.release(company.tag_of(company.TODAY, 1 + len(today)))
    opened = stage.post("cora", "releases", wanted)
    read = stage.get("cora", f"releases/{opened['release']['id']}")
    for name in ("ticket_id", "ticket_url", "dashboards", "captain", "commander", "surfaces", "type", "tag"):
        if read[name] != wanted[name]:
            same(read[name], wanted[name], f"the release keeps its {name}")
    expect(read["window"]["from"] < read["window"]["to"], f"release {read['id']} is open, ticket {read['ticket_id']}")
    same(read["opened_by"], opened["receipt"]["index"], f"its record is index {read['opened_by']} of the ledger")
    stage.remember(release=read["id"], tag=read["tag"], opened=read["opened_by"])


def _hire(stage: Stage) -> None:
    """Everybody with a random password; each one is an `access.user_created` record."""
    remembering = Lock()

    def hire(who: str) -> None:
        if who in stage.state.get("people", {}):
            return
        name, role, signs = company.PEOPLE[who]
        more = ["--signs-for", f"{signs}@{company.SYSTEM}"] if signs else []
        more += ["--manager", company.mail("max")] if who == "alice" else []
        made = stage.manage("create_user", name, "--email", company.mail(who), "--role", role, *more, "--json")
        with remembering:
            stage.remember(people=stage.state.get("people", {}) | {who: json.loads(made)})
            tick(f"{name} joins as {role}" + (f", signs for {signs}" if signs else ""))

    hire("max")  # the manager whom others name
    hire("priya")  # the first who signs for the system: it is added with her
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(hire, company.PEOPLE))
    own = {who: stage.new_token(who) for who in company.PEOPLE}
    stage.remember(tokens=stage.state.get("tokens", {}) | own)
    tick("each made a token for the command line while signed in")


def _register_pipeline(stage: Stage) -> None:
    key = stage.files / "pipeline-key.pem"
    if not key.exists():
        stage.cli("keygen", "--out", key)
    public = next(path for path in stage.files.iterdir() if "pub" in path.name and path.name.startswith("pipeline-key"))
    made = stage.manage(
        "create_pipeline", "github-actions", "--system", company.SYSTEM, "--public-key", str(public), "--json"
    )
    pipeline = json.loads(made)
    stage.remember(
        pipeline={"id": pipeline["id"], "key": str(key), "public": str(public)},
        tokens=stage.state["tokens"] | {"ci": pipeline["token"]},
    )
    stage.remember(log_key=stage.get("ci", "log/keys")["keys"][-1]["vkey"])
    tick("pipeline github-actions has its own Ed25519 key; the log key is noted, outside any pack")


def step_2_evidence(stage: Stage) -> None:
    """A pipeline posts a signed manifest, tests, staging validations, scans, a deploy log; receipts verify offline"""
    release, tag = stage.state["release"], stage.state["tag"]
    folder = stage.files / tag
    folder.mkdir(exist_ok=True)
    files = _written(folder, company.build_files(tag))
    manifest = company.manifest(tag) | {
        "artifacts": [{"name": path.name, "size": len(data), "sha256": _sha256(data)} for path, data in files.items()]
    }
    index = attest(stage, "deploy.manifest", manifest, files=list(files), signed=True)
    wanted = "sha256:" + _sha256(json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode())
    read = stage.get("ci", f"releases/{release}")
    same(read["manifest_digest"], wanted, f"the release names the manifest {wanted[:19]}…")
    same(read["manifest_index"], index, "and its index")
    for path, data in files.items():
        kept = stage.get("ci", f"artifacts/{_sha256(data)}", system=company.SYSTEM)["artifact"]
        expect(
            kept["state"] == "confirmed" and kept["size"] == len(data) and kept["locked_until"],
            f"{path.name} ({len(data)} bytes) lies under lock until {str(kept['locked_until'])[:10]}",
        )
    for suite, passed in company.SUITES.items():
        body = {"suite": suite, "outcome": "passed", "passed": passed, "failed": 0, "manifest_digest": wanted}
        attest(stage, "test.result", body)
    attest(stage, "deploy.started", {"environment": "staging", "manifest_digest": wanted})
    done = {"environment": "staging", "manifest_digest": wanted, "outcome": "succeeded"}
    attest(stage, "deploy.finished", done | {"url": "https://trading-stage.netlify.app"})
    smoke = {"check": "regression plan: smoke", "environment": "staging", "outcome": "passed"}
    attest(stage, "validation.result", smoke | {"manifest_digest": wanted, "url": company.SCREENSHOTS})
    stage.remember(manifest_digest=wanted, manifest=index)
    gate.prepare(stage)
    stage.remember(deploy_log=_deploy_log(stage, "staging"))
    _scratch(stage, folder)


def _deploy_log(stage: Stage, environment: str) -> int:
    folder = stage.files / stage.state["tag"]
    log = _written(folder, {f"deploy-{environment}.log": company.deploy_log(stage.state["tag"], environment)})
    return attest(stage, "deploy.log", {"environment": environment}, files=list(log))


def _scratch(stage: Stage, folder: Path) -> None:
    """For step 7: two records that are kept for one minute; a legal hold keeps one of them longer."""
    release = stage.state["release"]
    note = _written(folder, {"scratch.txt": f"scratch of {release}\n".encode()})
    short = attest(stage, "custom.scratch", {"note": "may go"}, files=list(note))
    held = attest(stage, "custom.scratch", {"note": "under a legal hold"})
    hold = stage.post("lea", "holds", {"reason": "Regulator asked for build notes", "record": held})
    stage.remember(short=short, held=held, hold=hold["hold"]["id"], scratch=_sha256(next(iter(note.values()))))
    tick(f"a legal hold stands on record {held}")


def attest(
    stage: Stage, kind: str, body: dict[str, Any], *, files: list[Path] | None = None, signed: bool = False
) -> int:
    """Record evidence with the CLI, keep the receipt, verify it with nothing but the log key. Returns the index."""
    number = len(list((stage.files / "receipts").glob("*.json"))) if (stage.files / "receipts").exists() else 0
    (stage.files / "receipts").mkdir(exist_ok=True)
    source, out = stage.files / "body.json", stage.files / "receipts" / f"{number:03}-{kind}.json"
    source.write_text(json.dumps(body))
    command: list[str | Path] = ["attest", kind, "--release", stage.state["release"], "--body", source, "--out", out]
    for path in files or []:
        command += ["--file", path]
    command += ["--sign-with", stage.state["pipeline"]["key"]] if signed else []
    stage.cli(*command, who="ci")
    receipt = json.loads(out.read_text())
    sent: list[str | Path] = ["--sent", out.with_suffix(".dsse.json")] if signed else []
    printed = stage.cli("verify", out, "--log-key", stage.state["log_key"], *sent)
    same(receipt["signed_by"], "pipeline" if signed else "service", f"{kind}: signed by the {receipt['signed_by']}")
    size = receipt["checkpoint"].split("\n")[1]
    expect(
        printed.rstrip().endswith("verified"), f"{kind}: index {receipt['index']} of {size}, receipt verified offline"
    )
    return int(receipt["index"])


def step_3_approvals(stage: Stage) -> None:
    """The gate is red until product, design, QA and SRE approve the manifest; the author and another are refused"""
    release, digest = stage.state["release"], stage.state["manifest_digest"]
    author = stage.cli("approve", release, "--role", "design", "--comment", "mine", who="alice", fails=3)
    expect("self_approval" in author, "Alice, the author, is refused: self_approval")
    borrowed = stage.cli("approve", release, "--role", "qa", "--comment", "for Quinn", who="priya", fails=3)
    expect("role_not_assigned" in borrowed, "Priya, who does not sign for qa, is refused: role_not_assigned")
    stage.cli("approve", release, "--role", "qa", "--reject", "--comment", "A screenshot is missing", who="quinn")
    given = {row["role"] for row in _standing(stage) if row["decision"] == "approved"}  # by an earlier play
    gate.ask(stage, lacking={f"approval-{role}" for role in company.APPROVERS if role not in given})
    for role, who in company.APPROVERS.items():
        stage.cli("approve", release, "--role", role, "--comment", "Go/No-Go: go", who=who)
    gate.ask(stage, lacking=set())
    wanted = {(role, company.PEOPLE[who][0], "approved", digest) for role, who in company.APPROVERS.items()}
    found = {(row["role"], row["person"], row["decision"], row["manifest_digest"]) for row in _standing(stage)}
    same(found, wanted, "four approvals of this manifest stand: product, design, qa, sre")


def _standing(stage: Stage) -> list[dict[str, Any]]:
    """The newest decision of each person, on the newest manifest."""
    rows = stage.get("cora", f"releases/{stage.state['release']}")["approvals"]
    return [row for row in rows if row["counts"] and not row["stale"]]


def step_4_production(stage: Stage) -> None:
    """Production deploy started and finished, validated, with metrics within two hours"""
    digest = stage.state["manifest_digest"]
    where = {"environment": "production", "manifest_digest": digest}
    started = attest(stage, "deploy.started", where)
    finished = attest(stage, "deploy.finished", where | {"outcome": "succeeded", "url": "https://trading.netlify.app"})
    _deploy_log(stage, "production")
    for check in ("production answers 200", "canary: AI Analyst summary", "canary: Quant Screener filter"):
        attest(stage, "validation.result", where | {"check": check, "outcome": "passed"})
    vitals = {"lcp_ms": 1840, "fid_ms": 12, "cls": 0.04, "api_error_rate_percent": 0.3}
    metrics = attest(stage, "metrics.snapshot", {"environment": "production", "metrics": vitals})
    rows = stage.get("cora", f"releases/{stage.state['release']}/timeline", limit=200)["results"]
    same([row["index"] for row in rows], sorted(row["index"] for row in rows), "the timeline is in order of receipt")
    last_approval = max(row["index"] for row in rows if row["kind"] == "approval")
    expect(last_approval < started, "every approval was received before the production deploy started")
    expect(finished < metrics and rows[-1]["timeliness"] == "on_time", "the metrics snapshot came on time")


def _written(folder: Path, contents: dict[str, bytes]) -> dict[Path, bytes]:
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {folder / name: data for name, data in contents.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
