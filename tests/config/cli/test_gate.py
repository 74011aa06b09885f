import json

import pytest

from config.cli.commands import gate
from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Reply, Service, problem

RELEASE = "web:release-20261122"
PATH = f"/api/v1/releases/{RELEASE}/gate"
ASK = ("gate", RELEASE, "--environment", "production")


def verdict(passed: bool, **more: object) -> dict[str, object]:
    state = "waived" if passed else "late"
    row = {
        "name": "approval-qa",
        "title": "QA approves",
        "state": state,
        "finding": "late",
        "detail": "approved 2 h late",
        "facts": {"by": "usr_1"},
        "happened_at": "2026-11-22T12:00:00.000000Z",
        "due_at": "2026-11-22T10:00:00.000000Z",
        "records": [7, 12],
        "waiver": {"exception": "EXC-0001", "title": "QA is away", "until": "2026-12-01T00:00:00.000000Z"},
    }
    policy = {"revision": "sha256:" + "a" * 64, "record": 3}
    people = {"usr_1": "Quinn"}
    return {"passed": passed, "requirements": [row], "policy": policy, "size": 40, "people": people} | more


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_FIRST_PAUSE", 0.01)


@pytest.mark.parametrize(("passed", "code", "text"), [(True, 0, "green"), (False, 1, "red")])
def test_it_answers_with_the_gate(
    logged_in: Service, prooftrail: Prooftrail, passed: bool, code: int, text: str
) -> None:
    logged_in.on(f"GET {PATH}", Reply(verdict(passed)))
    outcome = prooftrail(*ASK)
    assert outcome.code == code
    assert f"The gate is {text}." in outcome.out
    assert "approved 2 h late" in outcome.out
    assert logged_in.seen[0].query == {"environment": ["production"]}
    outcome = prooftrail(*ASK, "--json")
    assert (outcome.code, json.loads(outcome.out)) == (code, verdict(passed))


def test_it_explains_with_both_times_the_waiver_and_the_records(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {PATH}", Reply(verdict(True)))
    outcome = prooftrail(*ASK, "--explain", "--as-of", "2026-11-22T12:30:00Z")
    for part in ("#7, #12", "EXC-0001 QA is away", "T12:00", "T10:00", "Quinn", "found", "late"):
        assert part in outcome.out, part
    assert logged_in.seen[0].query["as_of"] == ["2026-11-22T12:30:00Z"]


@pytest.mark.parametrize(
    "answer",
    [
        *({}, {"passed": None}, {"passed": "true"}, {"passed": 1}, [], None, {"passed": True}),
        {"passed": True, "requirements": [{"name": "ci"}]},
        {"passed": True, "requirements": [{"name": "ci", "state": "unmet"}]},
        {"passed": True, "requirements": [{"name": "ci", "state": "who knows"}]},
    ],
)
def test_it_takes_no_other_answer_for_a_verdict(logged_in: Service, prooftrail: Prooftrail, answer: object) -> None:
    logged_in.on(f"GET {PATH}", Reply(answer))
    assert prooftrail(*ASK).code == 2


def test_it_waits_until_it_is_green(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROOFTRAIL_RETRIES", "0")
    logged_in.on(f"GET {PATH}", Reply(verdict(False)), problem(503, "unavailable"), Reply(verdict(True)))
    outcome = prooftrail(*ASK, "--wait", "1m")
    assert outcome.code == 0
    assert len(logged_in.seen) == 3
    assert "Red (approval-qa)" in outcome.err


def test_it_waits_no_longer_than_told(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {PATH}", Reply(verdict(False)))
    assert prooftrail(*ASK, "--wait", "0s").code == 1
    logged_in.on(f"GET {PATH}", problem(403, "forbidden"))
    assert prooftrail(*ASK, "--wait", "1m").code == 3
    assert len(logged_in.seen) == 2


def test_it_records_the_decision(logged_in: Service, prooftrail: Prooftrail) -> None:
    receipt = logged_in.ledger.plain({"kind": "gate.decision", "release": RELEASE, "body": {}})
    logged_in.on(f"POST {PATH}", Reply({"decision": verdict(False), "receipt": receipt}, 201))
    outcome = prooftrail(*ASK, "--record")
    assert outcome.code == 1
    assert "The decision is recorded." in outcome.out
    assert "The gate is red." in outcome.out
    assert logged_in.seen[-1].json() == {"environment": "production"}
    outcome = prooftrail(*ASK, "--record", "--json")
    assert (outcome.code, json.loads(outcome.out)["receipt"]) == (1, receipt)


@pytest.mark.parametrize(
    "arguments",
    [
        ("gate", "", "--environment", "production"),
        ("gate", RELEASE, "--environment", ""),
        ("gate", RELEASE, "--environment="),
        ("gate", RELEASE),
        (*ASK, "--wait", "soon"),
        (*ASK, "--wait", "10"),
        (*ASK, "--wait", "25h"),
        (*ASK, "--as-of", "yesterday"),
        (*ASK, "--as-of", "2026-11-22T12:30:00"),
        (*ASK, "--as-of", "2026-11-22T12:30:00Z", "--wait", "1m"),
        (*ASK, "--as-of", "2026-11-22T12:30:00Z", "--record"),
    ],
)
def test_it_gives_no_verdict_on_wrong_usage(
    logged_in: Service, prooftrail: Prooftrail, arguments: tuple[str, ...]
) -> None:
    logged_in.on(f"GET {PATH}", Reply(verdict(True)))
    assert prooftrail(*arguments).code == 4
    assert logged_in.seen == []


@pytest.mark.parametrize(("status", "code"), [(401, 3), (403, 3), (404, 4), (422, 4), (500, 2), (409, 4)])
def test_it_never_takes_a_refusal_for_a_verdict(
    logged_in: Service, prooftrail: Prooftrail, status: int, code: int
) -> None:
    logged_in.on(f"GET {PATH}", problem(status, "refused"))
    assert prooftrail(*ASK).code == code


def test_it_gives_no_verdict_without_a_token_or_a_server(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROOFTRAIL_TOKEN", "")
    assert prooftrail(*ASK).code == 4
    monkeypatch.setenv("PROOFTRAIL_TOKEN", "pt_x")
    monkeypatch.setenv("PROOFTRAIL_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("PROOFTRAIL_RETRIES", "0")
    assert prooftrail(*ASK).code == 2
