"""The command line against the service itself: database, store and HTTP are real."""

import io
import json
import sys
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, get_internal_wsgi_application

from evidence.ledger import Actor
from evidence.models.people import SERVICE
from evidence.people import add_key, issue_token
from evidence.tlog.canonical import canonical
from tests.cast import Cast, assemble
from tests.config.cli.conftest import Prooftrail

RELEASE = "netlify-trading:release-20261122"
DIGEST = "sha256:" + "0" * 64
WINDOW = ("2026-11-22T06:00:00Z", "2026-11-22T08:00:00Z")
SITE = b"the very files that go to production\n" * 4000


class QuietHandler(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def cast(ledger: object, s3: object) -> Cast:
    return assemble()


@pytest.fixture
def url(cast: Cast) -> Iterator[str]:
    server = ThreadedWSGIServer(("127.0.0.1", 0), QuietHandler, connections_override=None)
    server.set_app(get_internal_wsgi_application())
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def pipeline(cast: Cast, url: str, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> str:
    """Logged in as the pipeline, with a signing key that the service knows; the key's path."""
    log_in(prooftrail, monkeypatch, url, cast.ci_token)
    assert prooftrail("keygen", "--out", "ci.pem").code == 0
    add_key(cast.ci, actor=Actor(SERVICE), public_key=Path("ci.pem.pub").read_bytes())
    return "ci.pem"


def log_in(prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch, url: str, token: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(token + "\n"))
    outcome = prooftrail("login", "--url", url, "--token-stdin")
    assert outcome.code == 0, outcome.err


def open_release(prooftrail: Prooftrail) -> None:
    outcome = prooftrail(
        *("release", "open", "--system", "netlify-trading", "--tag", "release-20261122", "--ticket-id", "CHG-7"),
        *("--ticket-url", "https://tickets.example/CHG-7", "--captain", "Cora", "--commander", "Alice"),
        *("--surface", "web", "--dashboard", "Errors=https://graphs.example/errors"),
        *("--window", *WINDOW),
    )
    assert outcome.code == 0, outcome.err
    assert f"Release {RELEASE} is open." in outcome.out


def attest_manifest(prooftrail: Prooftrail, key: str) -> str:
    """The manifest's digest."""
    Path("site.tar").write_bytes(SITE)
    Path("manifest.json").write_text(json.dumps({"author": "alice@example.com", "commit": "a" * 40}))
    outcome = prooftrail(
        *("attest", "deploy.manifest", "--release", RELEASE, "--body", "manifest.json", "--file", "site.tar"),
        *("--sign-with", key, "--out", "manifest.receipt.json"),
    )
    assert outcome.code == 0, outcome.err
    listed = {"name": "site.tar", "size": len(SITE), "sha256": sha256(SITE).hexdigest()}
    body = {"author": "alice@example.com", "commit": "a" * 40, "artifacts": [listed]}
    digest = f"sha256:{sha256(canonical(body)).hexdigest()}"
    assert f"Manifest digest: {digest}" in outcome.out
    return digest


def test_it_plays_a_release(
    cast: Cast, url: str, pipeline: str, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_release(prooftrail)
    digest = attest_manifest(prooftrail, pipeline)
    public = f"{pipeline}.pub"
    checked = prooftrail(
        *("verify", "manifest.receipt.json", "--sent", "manifest.receipt.dsse.json", "--record-key", public)
    )
    assert checked.code == 0, checked.out
    assert "✓ 6." in checked.out

    Path("validation.json").write_text(
        json.dumps({"check": "smoke", "environment": "staging", "outcome": "passed", "manifest_digest": digest})
    )
    plain = prooftrail(
        *("attest", "validation.result", "--release", RELEASE, "--body", "validation.json", "--out", "plain.json")
    )
    assert plain.code == 0, plain.err
    assert prooftrail("verify", "plain.json").code == 0

    Path("deploy.log").write_text("15:00:01 promote build\n")
    Path("log.json").write_text('{"environment": "production"}')
    logged = prooftrail("attest", "deploy.log", "--release", RELEASE, "--body", "log.json", "--file", "deploy.log")
    assert logged.code == 0, logged.err

    token = issue_token(cast.bob, actor=Actor(SERVICE), label="laptop").text
    log_in(prooftrail, monkeypatch, url, token)
    approved = prooftrail("approve", RELEASE, "--role", "qa", "--comment", "Tested.", "--json")
    assert approved.code == 0, approved.err
    assert json.loads(approved.out)["approval"]["manifest_digest"] == digest

    shown = json.loads(prooftrail("release", "show", RELEASE, "--json").out)
    assert shown["manifest_digest"] == digest
    timeline = prooftrail("release", "timeline", RELEASE)
    for kind in ("release.opened", "deploy.manifest", "validation.result", "deploy.log", "approval"):
        assert kind in timeline.out


def test_it_gets_a_release_ready_and_shows_how_it_went(
    cast: Cast, url: str, pipeline: str, prooftrail: Prooftrail
) -> None:
    open_release(prooftrail)
    digest = attest_manifest(prooftrail, pipeline)
    rows = json.loads(prooftrail("release", "checklist", RELEASE, "--json").out)
    items = [item for section in rows["sections"] for item in section["items"]]
    first, second = [item["id"] for item in items if item["state"] == "open"][:2]
    assert (
        "Recorded at index"
        in prooftrail("release", "answer", RELEASE, first, "--evidence", "https://ci.example/812").out
    )
    assert prooftrail("release", "answer", RELEASE, second, "--reason", "No such surface.").code == 0
    after = json.loads(prooftrail("release", "checklist", RELEASE, "--json").out)
    states = {item["id"]: item["state"] for section in after["sections"] for item in section["items"]}
    assert (states[first], states[second], after["open"]) == ("done", "excused", rows["open"] - 2)
    assert f"{after['open']} open; the gate stays red" in prooftrail("release", "checklist", RELEASE).out
    unknown = prooftrail("release", "answer", RELEASE, "nothing", "--reason", "x")
    assert (unknown.code, first in unknown.err) == (4, True)

    Path("plan.json").write_text(json.dumps({"steps": [{"step": "Promote", "from": WINDOW[0], "to": WINDOW[1]}]}))
    assert prooftrail("release", "cutover", RELEASE, "--plan", "plan.json").code == 0
    assert prooftrail("release", "cutover", RELEASE, "--start", "Promote", "--note", "Go.").code == 0
    assert prooftrail("release", "cutover", RELEASE, "--finish", "Promote").code == 0
    (step,) = json.loads(prooftrail("release", "cutover", RELEASE, "--json").out)
    assert (step["step"], step["state"], len(step["records"])) == ("Promote", "done", 2)
    assert "Promote" in prooftrail("release", "cutover", RELEASE).out

    assert "Nothing of this release was deployed yet." in prooftrail("release", "deployments", RELEASE).out
    for kind, more in (("deploy.started", {}), ("deploy.finished", {"outcome": "succeeded"})):
        body = {"environment": "production", "manifest_digest": digest} | more
        Path("deploy.json").write_text(json.dumps(body))
        assert prooftrail("attest", kind, "--release", RELEASE, "--body", "deploy.json").code == 0
    shown = prooftrail("release", "deployments", RELEASE).out
    assert all(word in shown for word in ("succeeded", "Failures", "Owed by emergency deploys", "qa"))
    period = prooftrail("release", "deployments", "--system", "netlify-trading").out
    assert "100 % of 1 succeeded; 0 failed, 0 unfinished, 0 rolled back, 1 emergencies." in period
    assert RELEASE in period


@pytest.mark.parametrize(
    "arguments",
    [
        ("answer", RELEASE, "x"),
        ("answer", RELEASE, "x", "--evidence", "#1", "--reason", "y"),
        ("cutover", RELEASE, "--start", "x", "--finish", "x"),
        ("cutover", RELEASE, "--note", "x"),
        ("deployments", RELEASE, "--system", "web"),
    ],
    ids=" ".join,
)
def test_it_asks_for_one_thing_at_a_time(prooftrail: Prooftrail, arguments: tuple[str, ...]) -> None:
    assert prooftrail("release", *arguments).code == 4


def test_it_repeats_the_first_answer_to_a_repeated_call(pipeline: str, prooftrail: Prooftrail) -> None:
    open_release(prooftrail)
    Path("body.json").write_text('{"suite": "unit", "outcome": "passed"}')
    call = (
        "attest",
        "test.result",
        "--release",
        RELEASE,
        "--body",
        "body.json",
        "--idempotency-key",
        "run-7",
        "--json",
    )
    first, second = prooftrail(*call), prooftrail(*call)
    assert first.code == second.code == 0, second.err
    assert first.out == second.out
    Path("body.json").write_text('{"suite": "unit", "outcome": "failed"}')
    changed = prooftrail(*call)
    assert changed.code == 4
    assert "status 422" in changed.err


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["attest", "no.such.kind"], 4, "kind_unknown"),
        (["attest", "approval", "--release", RELEASE], 3, "kind_reserved"),
        (["attest", "test.result", "--release", RELEASE], 4, "body_invalid"),
        (["attest", "test.result", "--release", "netlify-trading:nothing"], 4, "release_unknown"),
        (["release", "show", "netlify-trading:nothing"], 4, "release_unknown"),
        (
            ["approve", RELEASE, "--role", "qa", "--comment", "x", "--manifest-digest", "sha256:" + "0" * 64],
            3,
            "forbidden",
        ),
    ],
    ids=str,
)
def test_it_tells_what_the_service_refuses(
    pipeline: str, prooftrail: Prooftrail, arguments: list[str], code: int, problem: str
) -> None:
    open_release(prooftrail)
    outcome = prooftrail(*arguments)
    assert (outcome.code, problem in outcome.err) == (code, True), outcome.err


def test_it_is_refused_with_a_token_that_nobody_issued(
    pipeline: str, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROOFTRAIL_TOKEN", "pt_nobody_issued_this")
    outcome = prooftrail("attest", "drill")
    assert outcome.code == 3
    assert "prooftrail login" in outcome.err
