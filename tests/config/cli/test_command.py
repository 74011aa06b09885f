"""What holds for every command: exit codes, empty variables, retries, errors of the server, imports."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import TOKEN, Reply, Service, problem

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "evidence" / "tlog" / "golden"
SHOW = "GET /api/v1/releases/web:release-20261122"
RELEASE = Reply({"id": "web:release-20261122", "state": "open", "manifest_digest": None})


def show(prooftrail: Prooftrail) -> int:
    return prooftrail("release", "show", "web:release-20261122").code


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["attest"],
        ["attest", "drill", "--unknown"],
        ["approve", "web:r", "--role", "qa"],
        ["release", "open", "--type", "odd"],
        ["pack"],
    ],
)
def test_it_ends_wrong_usage_with_4(prooftrail: Prooftrail, arguments: list[str]) -> None:
    assert prooftrail(*arguments).code == 4


def test_it_helps() -> None:
    command = [sys.executable, "-m", "config.cli", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Exit codes: 0 ok, 1 the answer is no" in done.stdout


@pytest.mark.parametrize("name", ["PROOFTRAIL_URL", "PROOFTRAIL_TOKEN", "PROOFTRAIL_CONFIG", "PROOFTRAIL_LOG_KEY"])
@pytest.mark.parametrize("value", ["", "  "])
def test_it_refuses_empty_variables(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    outcome = prooftrail("release", "show", "web:release-20261122")
    assert outcome.code == 4
    assert f"{name} is set but empty" in outcome.err
    assert logged_in.seen == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["release", "show", ""],
        ["gate", "web:r", "--environment", ""],
        ["gate", "web:r", "--environment="],
        ["verify", " "],
        ["attest", "drill", "--file", ""],
    ],
)
def test_it_refuses_empty_arguments(logged_in: Service, prooftrail: Prooftrail, arguments: list[str]) -> None:
    outcome = prooftrail(*arguments)
    assert outcome.code == 4
    assert "An argument is empty" in outcome.err
    assert logged_in.seen == []


def test_it_sends_the_token(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(SHOW, RELEASE)
    outcome = prooftrail("release", "show", "web:release-20261122")
    assert outcome.code == 0
    assert "web:release-20261122" in outcome.out
    assert logged_in.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, 4), (401, 3), (403, 3), (404, 4), (409, 4), (410, 4), (413, 4), (422, 4), (500, 2), (501, 2)],
)
def test_it_turns_a_status_into_an_exit_code(
    logged_in: Service, prooftrail: Prooftrail, status: int, code: int
) -> None:
    logged_in.on(SHOW, problem(status, "some_code"))
    outcome = prooftrail("release", "show", "web:release-20261122")
    assert outcome.code == code
    assert f"Refused: Told why.\n  code some_code, status {status}" in outcome.err
    assert outcome.out == ""


def test_it_says_where_and_what_to_do(logged_in: Service, prooftrail: Prooftrail) -> None:
    rows = [{"where": "$.body.commit", "detail": "too short"}, {"where": "$.body.author", "detail": "missing"}]
    logged_in.on(SHOW, problem(422, "key_unknown", where="$.signatures", errors=rows))
    err = prooftrail("release", "show", "web:release-20261122").err
    assert "at $.signatures" in err
    assert "$.body.commit: too short" in err
    assert "$.body.author: missing" in err
    assert "Register the public key" in err


def test_it_does_not_let_the_server_steer_the_terminal(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(SHOW, problem(422, "x", detail="\x1b]0;owned\x07[bold]plain"))
    err = prooftrail("release", "show", "web:release-20261122").err
    assert "\x1b]0" not in err
    assert "[bold]plain" in err


def test_it_ends_with_2_for_what_it_does_not_understand(logged_in: Service, prooftrail: Prooftrail) -> None:
    moved = Reply("", 302, {"Location": "https://login.example/"})
    page = Reply(b"<html>", 200, {"Content-Type": "text/html"})
    for reply in (page, moved, Reply(b"bad gateway", 500), Reply([]), Reply("x")):
        logged_in.on(SHOW, reply)
        outcome = prooftrail("release", "show", "web:release-20261122")
        assert (outcome.code, outcome.out) == (2, ""), reply
        assert outcome.err


def test_it_tries_again_with_the_same_key(logged_in: Service, prooftrail: Prooftrail) -> None:
    body = Path("body.json")
    body.write_text('{"a":1}')
    recorded = Reply(logged_in.ledger.plain({"kind": "drill", "body": {"a": 1}}), 201)
    busy = problem(503, "unavailable")
    busy.headers["Retry-After"] = "0"
    logged_in.on("POST /api/v1/records", busy, Reply("", 502, {"Retry-After": "0"}), Reply(hang_up=True), recorded)
    outcome = prooftrail("attest", "drill", "--body", body)
    assert outcome.code == 0
    sent = logged_in.requests("POST /api/v1/records")
    assert len(sent) == 4
    assert len({seen.headers["idempotency-key"] for seen in sent}) == 1
    assert len({seen.body for seen in sent}) == 1
    assert "the server answered 503; trying again in 0 s" in outcome.err


def test_it_uses_another_key_for_another_call(logged_in: Service, prooftrail: Prooftrail) -> None:
    for _ in range(2):
        assert prooftrail("attest", "drill").code == 0
    keys = {seen.headers["idempotency-key"] for seen in logged_in.requests("POST /api/v1/records")}
    assert len(keys) == 2


def test_it_gives_up_with_the_last_answer(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROOFTRAIL_RETRIES", "1")
    busy = problem(503, "clock_skew")
    busy.headers["Retry-After"] = "0"
    logged_in.on(SHOW, busy)
    outcome = prooftrail("release", "show", "web:release-20261122")
    assert outcome.code == 2
    assert "Nothing was written" in outcome.err
    assert len(logged_in.seen) == 2


def test_it_does_not_try_again_what_was_refused(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(SHOW, problem(500, "internal_error"))
    show(prooftrail)
    assert len(logged_in.seen) == 1


def test_it_ends_with_2_when_nobody_answers(prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("PROOFTRAIL_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("PROOFTRAIL_RETRIES", "1")
    outcome = prooftrail("release", "show", "web:release-20261122")
    assert outcome.code == 2
    assert "No answer from" in outcome.err
    assert "trying again" in outcome.err


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "21", "٣"])
def test_it_refuses_odd_numbers_of_retries(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("PROOFTRAIL_RETRIES", value)
    assert show(prooftrail) == 4


@pytest.mark.parametrize("url", ["prooftrail.example", "ftp://x", "https://", "https://x/?q=1", "https://x/#f"])
def test_it_refuses_what_is_not_a_server(prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PROOFTRAIL_URL", url)
    assert show(prooftrail) == 4


def test_it_needs_a_server(prooftrail: Prooftrail) -> None:
    outcome = prooftrail("release", "show", "web:r")
    assert outcome.code == 4
    assert "PROOFTRAIL_URL" in outcome.err


def test_it_quotes_what_goes_into_a_path(logged_in: Service, prooftrail: Prooftrail) -> None:
    prooftrail("release", "show", "../records?x=1")
    assert [seen.path for seen in logged_in.seen] == ["/api/v1/releases/../records?x=1"]
    assert logged_in.seen[0].query == {}


def test_it_imports_no_django() -> None:
    """Every command and the packs' verifier are loaded, a receipt is verified; then the modules are counted."""
    script = (
        "import sys\n"
        "from config.cli.app import run\n"
        "code = run(sys.argv[1:])\n"
        "import compliance.packs.verifier\n"
        "heavy = {'django', 'rest_framework', 'celery', 'boto3', 'psycopg', 'yaml', 'config.settings'}\n"
        "print(code, sorted(heavy & set(sys.modules)))\n"
    )
    vkey = (GOLDEN / "log.vkey").read_text().strip()
    command = ["verify", str(GOLDEN / "receipt-service.json"), "--log-key", vkey]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 []"
