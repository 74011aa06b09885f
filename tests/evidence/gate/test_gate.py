"""The gate through the API: what it asks, of whose records, at which moment, under which policy."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connections

from evidence.gate import gather, policy, revisions
from evidence.ledger import Actor, reader
from evidence.models import Record, Release
from evidence.tlog.leaf import format_time
from tests.evidence.conftest import RELEASE, Api
from tests.evidence.gate.conftest import Play


@pytest.fixture
def company(settings, tmp_path) -> Path:
    """The folder of a company's own policies."""
    settings.DATA_PATHS = [tmp_path]
    folder = Path(tmp_path) / "policies"
    folder.mkdir()
    return folder / "gate.yaml"


def adopt(path: Path, text: str) -> None:
    """Put a policy in force, as a restart does."""
    path.write_text(text)
    policy.load.cache_clear()
    revisions.record_revision()


def now() -> str:
    return format_time(datetime.now(UTC)).replace("+", "%2B")


def test_it_is_green_when_everything_is_there_and_says_what_it_looked_at(ready: Play, django_assert_max_num_queries):
    ready.gate()
    with django_assert_max_num_queries(14):
        found = ready.gate()
    assert ready.failing() == {}
    assert (found["passed"], found["outcome"], found["size"]) == (True, "green", reader.size())
    assert found["manifest_digest"] == ready.digest
    assert found["policy"]["revision"] == policy.load().revision
    (qa,) = [row for row in found["requirements"] if row["name"] == "approval-qa"]
    assert found["people"][qa["facts"]["by"]] == "Bob"
    (record,) = qa["records"]
    assert Record.objects.get(index=record).kind == "approval"
    assert set(ready.states("staging").values()) == {"met"}
    assert "approval-qa" not in ready.states("staging")


def test_it_turns_red_by_what_arrives_and_green_again(ready: Play):
    ready.around("incident.opened", {"incident": "INC-1", "severity": 1, "title": "Down"})
    assert ready.failing() == {"incidents": "unmet"}
    ready.around("incident.resolved", {"incident": "INC-1"})
    assert ready.failing() == {}
    index = ready.post("test.result", {"suite": "unit", "outcome": "failed", "manifest_digest": ready.digest})
    assert ready.one("ci-green")["records"][-1] == index
    ready.post("record.withdrawn", {"index": index, "reason": "Another branch's"})
    assert ready.failing() == {}


def test_it_makes_everything_about_the_build_stale_with_a_new_manifest(ready: Play):
    ready.build(commit="b" * 40)
    failing = ready.failing()
    assert {failing[name] for name in ("ci-green", "same-build", "approval-qa", "change-log", "sca-scan")} == {"stale"}
    assert "uptime" not in failing


def test_it_counts_no_evidence_of_another_system(ready: Play, token_for, cast):
    from evidence.people import create_pipeline

    _, token = create_pipeline(actor=Actor("svc_prooftrail"), name="other", systems=[cast.billing])
    opened = {"incident": "INC-9", "severity": 1, "title": "Theirs"}
    other = Api(token.text)
    answer = other.post("records", {"kind": "incident.opened", "system": "billing", "body": opened})
    assert answer.status_code == 201
    assert ready.failing() == {}
    # Nor may they see it, nor learn whether it exists.
    refused = other.get(f"releases/{ready.release}/gate?environment=production")
    assert (refused.status_code, refused.json()["code"]) == (404, "release_unknown")
    posted = other.post(f"releases/{ready.release}/gate", {"environment": "production"})
    assert (posted.status_code, posted.json()["code"]) == (404, "release_unknown")
    assert ready.ask(by=cast.ada).status_code == 403
    assert Api().get(f"releases/{ready.release}/gate?environment=production").status_code == 401


def test_it_never_calls_an_emergency_deploy_green(play: Play):
    play.build()
    play.deploy("production")
    assert play.states()["approved-before-deploy"] == "unmet"
    play.everything()
    row = play.one("approved-before-deploy")
    assert row["state"] == "late"
    assert row["happened_at"] > row["due_at"]
    found = play.gate()
    assert not found["passed"]
    recorded = play.api.post(f"releases/{play.release}/gate", {"environment": "production"})
    assert recorded.json()["decision"]["outcome"] == "red"
    play.build(commit="c" * 40)  # another build does not undo it
    play.sign()
    assert play.states()["approved-before-deploy"] == "late"


def test_it_records_a_decision_with_every_kind_of_fact(play: Play):
    play.build()
    play.deploy("staging", ago=timedelta(minutes=30))
    play.validate("synthetic monitors", ago=timedelta(minutes=10))
    play.sign("qa")
    play.build(commit="b" * 40)
    play.deploy("staging", ago=timedelta(minutes=30))
    play.validate("synthetic monitors", ago=timedelta(minutes=10))
    decided = play.api.post(f"releases/{play.release}/gate", {"environment": "production"})
    assert decided.status_code == 201, decided.content
    found = {row["name"]: row for row in decided.json()["decision"]["requirements"]}
    assert (found["staging-monitors"]["state"], found["approval-qa"]["state"]) == ("late", "stale")
    assert found["staging-monitors"]["happened_at"] > found["staging-monitors"]["due_at"]


def test_it_asks_more_of_a_hotfix(play: Play):
    hotfix = RELEASE | {"tag": "hotfix-1", "type": "hotfix"}
    assert play.api.post("releases", hotfix).status_code == 201
    play.release = "netlify-trading:hotfix-1"
    play.around("incident.opened", {"incident": "INC-1", "severity": 1, "title": "Down"})
    index = play.post("hotfix", {"severity": 1, "trigger": "Outage", "owner": "Cora", "incident": "INC-1"})
    assert Record.objects.get(index=index).facts["incident"] == "INC-1"
    wrong = {"severity": 1, "trigger": "Outage", "owner": "Cora", "incident": 1}
    refused = play.api.post("records", {"kind": "hotfix", "release": play.release, "body": wrong})
    assert refused.json()["code"] == "body_invalid"
    play.everything()
    assert play.failing() == {}
    play.validate("Quant Screener: canary", outcome="failed")
    assert play.failing() == {"impacted-surfaces": "unmet"}


def test_it_records_a_decision_that_can_be_explained_later(ready: Play, company: Path):
    answer = ready.api.post(f"releases/{ready.release}/gate", {"environment": "production"}, Idempotency_Key="k")
    assert answer.status_code == 201, answer.content
    decision = answer.json()["decision"]
    again = ready.api.post(f"releases/{ready.release}/gate", {"environment": "production"}, Idempotency_Key="k")
    assert (again.status_code, again.json()) == (200, answer.json())
    record = Record.objects.get(index=decision.pop("index"))
    assert (record.kind, record.outcome, record.release) == ("gate.decision", "green", ready.release)
    assert record.index == decision["size"]
    # Other evidence, another policy, an ended release.
    ready.build(commit="b" * 40)
    adopt(company, "requirements: [{name: uptime, with: {percent: 99.9}}]")
    ready.post("release.cancelled", {"reason": "Next week"})
    assert ready.failing()["uptime"] == "unmet"
    assert ready.failing()["release-open"] == "unmet"
    then = ready.gate(as_of=decision["as_of"].replace("+", "%2B"), size=decision["size"])
    assert then.pop("people") != {}
    assert then == decision
    assert then["policy"]["revision"] != policy.load().revision


def test_it_decides_under_the_lock_and_takes_no_word_for_it(ready: Play):
    forged = {"kind": "gate.decision", "release": ready.release, "body": {"outcome": "green", "passed": True}}
    assert ready.api.post("records", forged).json()["code"] == "kind_reserved"
    path = f"releases/{ready.release}/gate"
    for body in ({}, {"environment": ""}, {"environment": "moon"}, {"environment": ["production"]}):
        assert ready.api.post(path, body).json()["code"] == "environment_unknown", body
    assert ready.api.post(path, {"environment": "production", "as_of": now()}).status_code == 422
    assert ready.api.post(path, []).status_code == 422
    assert not Record.objects.filter(kind="gate.decision").exists()


def test_it_answers_for_any_past_moment(ready: Play):
    assert ready.failing() == {}
    moment = now()
    ready.around("incident.opened", {"incident": "INC-1", "severity": 1, "title": "Down"}, ago=timedelta(hours=3))
    assert ready.failing(as_of=moment) == {}
    assert ready.failing() == {"incidents": "unmet"}
    ats = list(Record.objects.order_by("index").values_list("at", flat=True))
    sizes = [gather.received_by(at, reader.size()) for at in ats]
    assert sizes == [sum(other <= at for other in ats) for at in ats]
    assert gather.received_by(ats[0] - timedelta(seconds=1), reader.size()) == 0


REFUSED = {
    "environment=production&as_of=2026-01-01T00:00:00Z": "policy_missing",
    "environment=production&as_of=2999-01-01T00:00:00Z": "as_of_in_future",
    "environment=production&as_of=2026-11-22T00:00:00": "time_invalid",
    "environment=production&as_of=": "time_invalid",
    "environment=production&size=1": "policy_missing",
    "environment=production&size=0": "size_unknown",
    "environment=production&size=99999999": "size_unknown",
    "environment=production&size=x": "size_unknown",
    "environment=": "environment_unknown",
    "environment=Production": "environment_unknown",
    "": "environment_unknown",
}


def test_it_refuses_a_question_that_is_none(play: Play):
    answers = {query: play.api.get(f"releases/{play.release}/gate?{query}") for query in REFUSED}
    assert {query: answer.json()["code"] for query, answer in answers.items()} == REFUSED
    assert {answer.status_code for answer in answers.values()} == {409, 422}


def test_it_gives_no_verdict_on_a_part_of_a_release(play: Play, monkeypatch):
    play.build()
    assert play.ask().status_code == 200
    monkeypatch.setattr(gather, "MOST", 0)
    answer = play.ask()
    assert (answer.status_code, answer.json()["code"]) == (409, "release_too_large")


def test_it_was_not_open_before_it_was(play: Play):
    play.gate()
    opened = Release.objects.get(pk=play.release).opened_by
    size = Record.objects.get(kind="config.revision", facts__name="gate").index + 1
    assert opened < size
    later = RELEASE | {"tag": "later"}
    assert play.api.post("releases", later).status_code == 201
    answer = play.api.get(f"releases/netlify-trading:later/gate?environment=production&size={size}")
    assert (answer.status_code, answer.json()["code"]) == (409, "release_not_open_yet")


def test_it_lets_a_company_change_the_policy_for_all_or_for_one_system(play: Play, company: Path):
    company.write_text(
        """
severities: {URGENT: 1}
requirements:
  - {name: ci-green, with: {suites: [unit]}}
  - {name: dast-scan, enabled: false}
  - {name: approval-legal, title: Legal approves, rule: approved, with: {role: legal}, environments: [production]}
systems:
  netlify-trading:
    approval-design: {enabled: false}
    uptime: {with: {percent: 99.9}}
"""
    )
    policy.load.cache_clear()
    found = {row["name"]: row for row in play.gate()["requirements"]}
    assert found["ci-green"]["parameters"] == {"suites": ["unit"]}
    assert found["uptime"]["parameters"] == {"percent": 99.9, "days": 7, "max_age_hours": 24}
    assert found["approval-legal"]["title"] == "Legal approves"
    assert not {"dast-scan", "approval-design"} & found.keys()
    assert policy.load().roles("netlify-trading") == ("product", "sre", "qa", "legal")
    assert policy.load().roles("billing") == ("product", "design", "sre", "qa", "legal")
    revision = Record.objects.get(kind="config.revision", facts__name="gate")
    assert revision.facts["digest"] == play.gate()["policy"]["revision"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("requirements: [{name: x, rule: no-such-rule}]", "its rule is none of"),
        ("requirements: [{name: x}]", "its rule is none of"),
        ("requirements: [{name: uptime, with: {procent: 1}}]", "no parameter 'procent'"),
        ("requirements: [{name: uptime, with: {percent: many}}]", "percent is not a number"),
        ("requirements: [{name: ci-green, with: {suites: []}}]", "suites is not a list of texts"),
        ("requirements: [{name: x, rule: approved}]", "needs 'role'"),
        ("requirements: [{name: uptime, environments: [moon]}]", "environments are"),
        ("requirements: [{name: uptime, enviroments: [staging]}]", "unknown members"),
        ("requirements: [{title: x}]", "has no name"),
        ("systems: {web: {uptime: {rule: nope}}}", "its rule is none of"),
        ("severities: {P0: worst}", "severities are whole numbers"),
        ("requirement: []", "has no member 'requirement'"),
        ("[", "expected"),
        ("- a", "is not a mapping"),
    ],
)
def test_it_does_not_start_with_a_policy_that_is_none(company: Path, text: str, complaint: str):
    company.write_text(text)
    policy.load.cache_clear()
    try:
        (error,) = [found for found in run_checks() if found.id == "evidence.E020"]
        assert complaint in error.msg
        assert "gate.yaml" in str(error.hint)
    finally:
        policy.load.cache_clear()


def test_it_records_a_policy_once_however_many_ask(play: Play):
    def record() -> None:
        revisions.record_revision()
        connections.close_all()

    threads = [threading.Thread(target=record) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    play.gate()
    assert Record.objects.filter(kind="config.revision", facts__name="gate").count() == 1
