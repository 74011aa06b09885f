import io
import json
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from evidence.tlog import dsse, keys
from evidence.tlog.canonical import canonical
from evidence.tlog.note import Signer
from evidence.tlog.statement import parse_statement
from tests.config.cli.conftest import SITE, SITE_SHA, Prooftrail
from tests.config.cli.service import Reply, Service, problem

RELEASE = "web:release-20261122"
RECORDS = "POST /api/v1/records"
BODY = {"check": "smoke", "environment": "staging", "outcome": "passed"}


@pytest.fixture
def body() -> Path:
    path = Path("body.json")
    path.write_text(json.dumps(BODY, indent=1))
    return path


def record(service: Service) -> Any:
    return service.requests(RECORDS)[-1].json()


def test_it_records_plain_evidence(logged_in: Service, prooftrail: Prooftrail, body: Path) -> None:
    outcome = prooftrail(
        "attest", "validation.result", "--release", RELEASE, "--body", body, "--occurred-at", "2026-11-22T05:00:00Z"
    )
    assert outcome.code == 0, outcome.err
    assert "Recorded at index 0 of the ledger, signed by the service." in outcome.out
    assert record(logged_in) == {
        "kind": "validation.result",
        "release": RELEASE,
        "occurred_at": "2026-11-22T05:00:00Z",
        "body": BODY,
    }


def test_it_reads_a_body_from_standard_input(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'{"a": 1}')))
    assert prooftrail("attest", "drill", "--system", "web", "--body", "-").code == 0
    assert record(logged_in) == {"kind": "drill", "system": "web", "body": {"a": 1}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not JSON"),
        (b"[]", "not an object"),
        (b'{"a":1,"a":2}', "duplicate key (at $.a)"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b"\xff", "not UTF-8"),
    ],
)
def test_it_refuses_a_bad_body_before_sending(
    logged_in: Service, prooftrail: Prooftrail, content: bytes, reason: str
) -> None:
    Path("body.json").write_bytes(content)
    outcome = prooftrail("attest", "drill", "--body", "body.json")
    assert outcome.code == 4
    assert reason in outcome.err
    assert logged_in.seen == []


def test_it_refuses_files_that_are_not_there(logged_in: Service, prooftrail: Prooftrail) -> None:
    for option in ("--body", "--file", "--sign-with"):
        assert prooftrail("attest", "drill", option, "missing").code == 4
    assert logged_in.seen == []


def test_it_uploads_files_and_names_them_as_subjects(logged_in: Service, prooftrail: Prooftrail, site: Path) -> None:
    outcome = prooftrail("attest", "deploy.log", "--release", RELEASE, "--file", site)
    assert outcome.code == 0, outcome.err
    announced = logged_in.requests("POST /api/v1/artifacts")[0]
    assert announced.json() == {
        "sha256": SITE_SHA,
        "size": len(SITE),
        "name": "site.tar.gz",
        "system": "web",
        "media_type": "application/x-tar",
        "kind": "deploy.log",
    }
    put = logged_in.requests(f"PUT /incoming/{SITE_SHA}")[0]
    assert put.body == SITE
    assert put.headers["x-amz-test"] == "signed"
    assert put.headers["content-length"] == str(len(SITE))
    assert "transfer-encoding" not in put.headers
    assert "authorization" not in put.headers
    assert put.query == {"X-Amz-Signature": ["s"]}
    assert record(logged_in)["subject"] == [{"name": "site.tar.gz", "digest": {"sha256": SITE_SHA}}]


def test_it_completes_a_manifest(
    logged_in: Service, prooftrail: Prooftrail, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_SHA", "a" * 40)
    Path("manifest.json").write_text('{"author": "alice@example.com"}')
    outcome = prooftrail("attest", "deploy.manifest", "--release", RELEASE, "--body", "manifest.json", "--file", site)
    assert outcome.code == 0, outcome.err
    expected = {
        "author": "alice@example.com",
        "commit": "a" * 40,
        "artifacts": [{"name": "site.tar.gz", "size": len(SITE), "sha256": SITE_SHA}],
    }
    assert record(logged_in)["body"] == expected
    assert f"Manifest digest: sha256:{sha256(canonical(expected)).hexdigest()}" in outcome.out


def test_it_leaves_what_a_manifest_says_itself(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CI_COMMIT_SHA", "a" * 40)
    manifest = {"commit": "b" * 40, "artifacts": [{"name": "x", "size": 1, "sha256": "c" * 64}]}
    Path("manifest.json").write_text(json.dumps(manifest))
    assert prooftrail("attest", "deploy.manifest", "--release", RELEASE, "--body", "manifest.json").code == 0
    assert record(logged_in)["body"] == manifest
    assert record(logged_in)["subject"] == [{"name": "x", "digest": {"sha256": "c" * 64}}]
    Path("manifest.json").write_text('{"artifacts": [{"name": "x"}]}')
    assert prooftrail("attest", "deploy.manifest", "--release", RELEASE, "--body", "manifest.json").code == 4


def test_it_names_the_release_of_a_tag_job(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_REF_TYPE", "tag")
    monkeypatch.setenv("GITHUB_REF_NAME", "release-20261122")
    assert prooftrail("attest", "drill", "--system", "web").code == 0
    assert record(logged_in)["release"] == RELEASE
    monkeypatch.setenv("GITHUB_REF_TYPE", "branch")
    assert prooftrail("attest", "drill", "--system", "web").code == 0
    assert "release" not in record(logged_in)


def test_it_signs_with_its_own_key_and_keeps_what_it_sent(
    logged_in: Service, prooftrail: Prooftrail, body: Path
) -> None:
    prooftrail("keygen", "--out", "key.pem")
    outcome = prooftrail(
        "attest",
        "validation.result",
        *("--release", RELEASE, "--body", body, "--sign-with", "key.pem"),
        *("--out", "receipt.json", "--occurred-at", "2026-11-22T05:00:00Z", "--idempotency-key", "run-7"),
    )
    assert outcome.code == 0, outcome.err
    assert "signed by the pipeline" in outcome.out
    sent = logged_in.requests(RECORDS)[0]
    assert sent.headers["content-type"] == "application/vnd.dsse.envelope.v1+json"
    assert sent.headers["idempotency-key"] == "run-7"
    assert sent.query == {"release": [RELEASE], "occurred_at": ["2026-11-22T05:00:00Z"]}
    public = keys.load_public(Path("key.pem.pub").read_bytes())
    envelope = dsse.parse_envelope(sent.body)
    assert dsse.verify_envelope(envelope, {keys.key_digest(public): public})
    statement = parse_statement(envelope.payload)
    assert statement.predicate == BODY
    assert statement.predicate_type == "urn:prooftrail:predicate:validation.result:v1"
    assert statement.subjects[0].digest == {"sha256": sha256(canonical(BODY)).hexdigest()}
    assert Path("receipt.dsse.json").read_bytes() == sent.body

    checked = prooftrail("verify", "receipt.json", "--sent", "receipt.dsse.json", "--record-key", "key.pem.pub")
    assert checked.code == 0, checked.out
    assert "✓ 6. Envelope is signed by a known key" in checked.out


def test_it_refuses_a_key_that_is_none(logged_in: Service, prooftrail: Prooftrail) -> None:
    Path("key.pem").write_text("not a key")
    assert prooftrail("attest", "drill", "--sign-with", "key.pem").code == 4
    assert logged_in.seen == []


def test_it_prints_the_receipt_as_it_came(logged_in: Service, prooftrail: Prooftrail) -> None:
    receipt = logged_in.ledger.plain({"kind": "drill", "body": {}})
    logged_in.on(RECORDS, Reply(receipt, 200, {"Idempotency-Replayed": "true"}))
    outcome = prooftrail("attest", "drill", "--json", "--out", "receipt.json")
    assert outcome.out == json.dumps(receipt) + "\n"
    assert Path("receipt.json").read_text() == json.dumps(receipt)
    assert not Path("receipt.dsse.json").exists()
    assert "recorded before, same answer" in prooftrail("attest", "drill").out


REHEARSED = {
    "dry_run": True,
    "would": "record",
    "index": None,
    "kind": "validation.result",
    "release": RELEASE,
    "systems": ["web"],
    "signed_by": "service",
    "retain_until": "2033-11-22T05:00:00.000000Z",
    "bytes": 900,
    "files_to_come": [SITE_SHA],
}


def test_it_has_everything_checked_and_uploads_nothing_when_dry(
    logged_in: Service, prooftrail: Prooftrail, body: Path, site: Path
) -> None:
    logged_in.on(RECORDS, Reply(REHEARSED))
    arguments = ("attest", "validation.result", "--release", RELEASE, "--body", body, "--file", site, "--dry-run")
    outcome = prooftrail(*arguments)
    assert outcome.code == 0, outcome.err
    assert "would be recorded. Nothing was written." in outcome.out
    assert "site.tar.gz" in outcome.out
    assert [(seen.path, seen.query) for seen in logged_in.seen] == [
        ("/api/v1/artifacts", {"dry_run": ["1"]}),
        ("/api/v1/records", {"dry_run": ["1"]}),
    ]
    assert json.loads(prooftrail(*arguments, "--json").out) == REHEARSED
    logged_in.on(RECORDS, problem(422, "body_invalid"))
    assert prooftrail(*arguments).code == 4


def test_it_has_a_signature_checked_when_dry(logged_in: Service, prooftrail: Prooftrail, body: Path) -> None:
    logged_in.on(RECORDS, Reply(REHEARSED | {"signed_by": "pipeline", "would": "replay", "index": 7}))
    prooftrail("keygen", "--out", "key.pem")
    outcome = prooftrail(
        "attest", "validation.result", "--release", RELEASE, "--body", body, "--sign-with", "key.pem", "--dry-run"
    )
    assert "Record 7 would be answered again" in outcome.out
    sent = logged_in.requests(RECORDS)[0]
    assert sent.query == {"release": [RELEASE], "dry_run": ["1"]}
    assert set(sent.json()) == {"payload", "payloadType", "signatures"}


def test_it_shows_where_a_secret_was_found(logged_in: Service, prooftrail: Prooftrail, body: Path) -> None:
    finding = {"rule": "github-token", "title": "GitHub token", "pointer": "/body/detail"}
    logged_in.on(RECORDS, problem(422, "secret_found", findings=[finding]))
    outcome = prooftrail("attest", "validation.result", "--release", RELEASE, "--body", body)
    assert outcome.code == 4
    assert "/body/detail: GitHub token (github-token)" in outcome.err


@pytest.mark.parametrize("fault", ["body", "release", "kind", "log", "shape"])
def test_it_refuses_a_receipt_for_something_else(
    logged_in: Service, prooftrail: Prooftrail, body: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    request: dict[str, Any] = {"kind": "validation.result", "release": RELEASE, "body": BODY}
    changed: dict[str, Any] = {"body": BODY | {"outcome": "failed"}, "release": "web:other", "kind": "drill"}
    receipt = logged_in.ledger.plain(request | {name: changed[name] for name in changed if name == fault})
    if fault == "log":
        stranger = Signer(logged_in.ledger.log.name, keys.generate())
        monkeypatch.setenv("PROOFTRAIL_LOG_KEY", stranger.vkey)
    logged_in.on(RECORDS, Reply({} if fault == "shape" else receipt, 201))
    outcome = prooftrail("attest", "validation.result", "--release", RELEASE, "--body", body, "--out", "receipt.json")
    assert outcome.code == 1
    assert "receipt does not verify" in outcome.err
    assert Path("receipt.json").exists()  # whoever looks into it needs it


def test_it_says_when_it_knows_no_log_key(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PROOFTRAIL_LOG_KEY")
    outcome = prooftrail("attest", "drill")
    assert outcome.code == 0
    assert "consistent, signer unknown" in outcome.err


def test_it_finds_a_place_for_the_receipt_before_it_writes(logged_in: Service, prooftrail: Prooftrail) -> None:
    Path("there.json").write_text("")
    Path("also.dsse.json").write_text("")
    for out in ("there.json", "also.json", "missing/receipt.json"):
        assert prooftrail("attest", "drill", "--out", out).code == 4
    assert logged_in.seen == []


@pytest.mark.parametrize(
    ("rows", "named", "said"),
    [
        ([(1, "opened", "INC-1")], "INC-1", "the incident that is open, INC-1"),
        ([(1, "opened", "INC-1"), (2, "opened", "INC-2")], None, "Open are INC-1, INC-2"),
        ([(1, "opened", "INC-1"), (2, "opened", "INC-2"), (3, "resolved", "INC-1")], "INC-2", "INC-2"),
        ([(1, "opened", "INC-1"), (2, "resolved", "INC-1"), (3, "opened", "OTHER")], None, ""),
        (None, None, ""),
    ],
)
def test_it_names_the_open_incident_in_a_hotfix(
    logged_in: Service, prooftrail: Prooftrail, tmp_path: Path, rows: Any, named: str | None, said: str
) -> None:
    def listed(seen: Any) -> Reply:
        if rows is None:
            return problem(403, "scope_missing")
        kind = seen.query["kind"][0]
        found = [
            {"index": i, "kind": kind, "release": "other:r1" if name == "OTHER" else None, "withdrawn_by": None}
            | {"facts": {"incident": name}}
            for i, what, name in rows
            if kind == f"incident.{what}"
        ]
        return Reply({"results": found, "next": None})

    logged_in.routes["GET /api/v1/records"] = listed
    body = tmp_path / "hotfix.json"
    body.write_text(json.dumps({"severity": 1, "trigger": "Outage", "owner": "Cora"}))
    outcome = prooftrail("attest", "hotfix", "--release", "web:hotfix-1", "--body", body)
    assert outcome.code == 0, outcome.err
    assert said in outcome.err
    sent = next(seen for seen in logged_in.seen if seen.method == "POST").json()
    assert sent["body"].get("incident") == named
