"""Each rule by itself: facts in, finding out. No database."""

from datetime import timedelta
from typing import Any

import pytest

from tests.evidence.gate.ledgers import (
    BUILD,
    COMMIT,
    DAY,
    FILE,
    HOUR,
    MINUTE,
    NOW,
    OLD,
    OTHER,
    OTHER_FILE,
    Ledger,
    judge,
    suites,
)

# -- the build ---------------------------------------------------------------------------------------------------------


def test_it_wants_every_suite_green_for_this_build(log):
    assert judge("ci-green", log).state == "unmet"
    assert judge("ci-green", suites(log.manifest())).state == "met"
    suites(log, "Unit", outcome="failed")
    finding = judge("ci-green", log)
    assert (finding.state, finding.detail) == ("unmet", "failed: unit")
    assert judge("ci-green", suites(log, "unit")).state == "met"  # the newest counts
    newer = judge("ci-green", log.manifest(OTHER))
    assert newer.state == "stale"
    assert judge("ci-green", suites(Ledger().manifest(), "unit")).detail.startswith("no result of integration")


def test_it_counts_no_result_that_names_no_build_or_another(log):
    log.manifest()
    assert judge("ci-green", suites(log, manifest_digest=None)).state == "stale"
    assert judge("ci-green", suites(log, manifest_digest=OTHER)).state == "stale"
    assert judge("ci-green", suites(log, manifest_digest=OTHER, subjects=frozenset({FILE}))).state == "stale"
    assert judge("ci-green", suites(log, manifest_digest=None, subjects=frozenset({OTHER_FILE}))).state == "stale"
    assert judge("ci-green", suites(log, manifest_digest=None, subjects=frozenset({FILE}))).state == "met"


def test_it_calls_what_came_after_the_deploy_late_with_both_times(log):
    log.manifest().deployed("production", 3 * HOUR)
    finding = judge("ci-green", suites(log))
    assert (finding.state, finding.happened, finding.due) == ("late", NOW - 2 * HOUR, NOW - 3 * HOUR)
    before = suites(Ledger().manifest(), ago=4 * HOUR).deployed("production", 3 * HOUR)
    assert judge("ci-green", before).state == "met"
    assert judge("ci-green", suites(before)).state == "met"  # run again later


def test_it_never_takes_backfilled_evidence_as_on_time(log):
    finding = judge("ci-green", suites(log.manifest(), ago=3 * DAY, received=HOUR))
    assert (finding.state, finding.due, finding.happened) == ("late", NOW - 3 * DAY, NOW - HOUR)
    assert "backfilled" in finding.detail


@pytest.mark.parametrize(
    ("reviewers", "state"),
    [
        (["quinn", "sam"], "met"),
        (["quinn"], "unmet"),
        (["quinn", "Quinn "], "unmet"),
        (["quinn", "alice@x"], "unmet"),
        (["quinn", "dev@x"], "unmet"),
        (["quinn", ""], "unmet"),
        ([], "unmet"),
    ],
)
def test_it_wants_two_reviewers_other_than_the_author(log, reviewers, state):
    change = {"url": "u/1", "author": "dev@x", "reviewers": reviewers}
    good = {"url": "u/2", "author": "dev@x", "reviewers": ["a", "b", "c"]}
    assert judge("reviews", log.manifest(pull_requests=[good, change])).state == state


def test_it_lets_no_reviewed_twin_hide_a_change(log):
    change = {"url": "u/1", "author": "dev@x", "reviewers": []}
    twin = change | {"reviewers": ["a", "b"]}
    assert judge("reviews", log.manifest(pull_requests=[change, twin])).state == "unmet"


def test_it_wants_the_changes_named(log):
    assert judge("reviews", log.manifest(pull_requests=[])).state == "unmet"


@pytest.mark.parametrize(
    ("name", "findings", "outcome", "state"),
    [
        ("sca-scan", {"critical": 0, "high": 4}, "passed", "met"),
        ("sca-scan", {"Critical": 1}, "passed", "unmet"),
        ("sca-scan", {"critical": 0}, "failed", "unmet"),
        ("secrets-scan", {"low": 1}, "passed", "unmet"),
        ("secrets-scan", None, "passed", "met"),
        ("dast-scan", {"critical": 1}, "failed", "unmet"),
    ],
)
def test_it_blocks_on_findings_of_a_scan(log, name, findings, outcome, state):
    scan = {"type": name.removesuffix("-scan"), "scanner": "s", "manifest_digest": BUILD, "findings": findings}
    assert judge(name, log.manifest().add("scan.result", outcome=outcome, **scan)).state == state


def test_it_does_not_let_one_scanner_outvote_another(log):
    scan: dict[str, Any] = {"type": "sca", "manifest_digest": BUILD, "outcome": "passed"}
    log.manifest().add("scan.result", scanner="one", findings={"critical": 2}, **scan)
    assert judge("sca-scan", log.add("scan.result", scanner="two", findings={}, **scan)).state == "unmet"
    assert judge("sca-scan", log.add("scan.result", scanner="one", findings={}, **scan)).state == "met"
    assert judge("sca-scan", log.manifest(OTHER)).state == "stale"


def test_it_wants_a_schema_diff_accepted_by_somebody_else(log):
    about: dict[str, Any] = {"manifest_digest": BUILD}
    assert judge("schema-diff", log.manifest()).state == "unmet"
    unchanged = Ledger().manifest().add("schema.diff", outcome="unchanged", **about)
    assert judge("schema-diff", unchanged).state == "met"
    log.add("schema.reviewed", outcome="accepted", by="bob", **about)
    log.add("schema.diff", outcome="breaking", by="ci", **about)
    assert judge("schema-diff", log).state == "stale"  # the review came before the diff
    assert judge("schema-diff", log.add("schema.reviewed", outcome="accepted", by="ci", **about)).state == "stale"
    assert judge("schema-diff", log.add("schema.reviewed", outcome="accepted", by="bob", **about)).state == "met"
    assert judge("schema-diff", log.add("schema.reviewed", outcome="rejected", by="eve", **about)).state == "unmet"


def test_it_wants_the_change_log_of_every_surface_signed_off(log):
    about: dict[str, Any] = {"manifest_digest": BUILD, "outcome": "accepted", "by": "bob"}
    signed = Ledger().manifest(summary={"other": "x"}).add("changelog.signed", **about)
    assert "lacks Desk" in judge("change-log", signed).detail
    log.manifest(summary={"desk": "Faster"})
    assert judge("change-log", log).state == "unmet"
    assert judge("change-log", log.add("changelog.signed", **about)).state == "met"
    again = log.manifest(summary={"desk": "Faster"})  # the very same, posted again: what was signed is what it says
    assert judge("change-log", again).state == "met"
    assert judge("change-log", log.manifest(OTHER, summary={"desk": "Slower"})).state == "stale"


def test_it_wants_main_merged_in_the_last_hours(log):
    log.manifest()
    assert judge("branch-merged", log).state == "unmet"
    assert judge("branch-merged", log.add("branch.merged", 13 * HOUR, branch="main", commit=COMMIT)).state == "stale"
    assert judge("branch-merged", log.add("branch.merged", branch="dev", commit=COMMIT)).state == "stale"
    assert judge("branch-merged", log.add("branch.merged", 12 * HOUR, branch="main", commit=COMMIT)).state == "met"
    assert judge("branch-merged", log.add("branch.merged", branch="main", commit="9" * 40)).state == "stale"


def test_it_knows_an_ended_release(log):
    assert judge("release-open", log).state == "met"
    assert judge("release-open", log.add("release.cancelled")).state == "unmet"


# -- where it goes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "required", "state"),
    [
        ({"variables_missing": []}, (), "met"),
        ({"variables_missing": ["API_KEY"]}, (), "unmet"),
        ({}, (), "unmet"),
        ({"variables_required": ["A"]}, (), "unmet"),
        ({"variables_required": ["A", "B"], "variables_missing": []}, ("A",), "met"),
        ({"variables_required": ["B"], "variables_missing": []}, ("A",), "unmet"),
        ({"variables_missing": []}, ("A",), "unmet"),
        ({"variables_required": ["A"], "variables_missing": ["C"]}, ("A",), "unmet"),
    ],
)
def test_it_wants_the_required_variables(log, body, required, state):
    log.add("config.snapshot", environment="production", **body)
    assert judge("variables", log, required=required).state == state
    assert judge("variables", log, {"environment": "staging"}, required=required).state == "unmet"


def test_it_wants_deviations_reconciled_and_fresh(log):
    log.add("config.snapshot", environment="production", deviations=[{"name": "A"}, {"name": "B", "reconciled": True}])
    assert judge("configuration", log).detail == "1 of 2 deviations open"
    log.add("config.snapshot", environment="production", deviations=[{"name": "A", "reconciled": True}])
    assert judge("configuration", log).state == "met"
    assert judge("configuration", log, {"moment": NOW + 2 * DAY}).state == "stale"


@pytest.mark.parametrize(("percent", "days", "state"), [(99.5, 7, "met"), (99.49, 7, "unmet"), (100, 30, "unmet")])
def test_it_wants_the_uptime_of_seven_days(log, percent, days, state):
    assert judge("uptime", log.add("uptime.snapshot", percent=percent, days=days, source="dd")).state == state


def test_it_takes_the_worst_of_all_fresh_sources(log):
    log.add("uptime.snapshot", 2 * HOUR, percent=98.0, days=7, source="dd")
    log.add("uptime.snapshot", percent=100, days=7, source="status page")
    assert judge("uptime", log).state == "unmet"
    assert judge("uptime", log.add("uptime.snapshot", percent=99.9, days=7, source="dd")).state == "met"
    assert judge("uptime", log, {"moment": NOW + 2 * DAY}).state == "stale"


@pytest.mark.parametrize(("headroom", "state"), [(25, "met"), (24.9, "unmet")])
def test_it_wants_headroom_with_every_vendor(log, headroom, state):
    log.add("quota.snapshot", vendor="tiingo", headroom_percent=headroom)
    assert judge("quota", log.add("quota.snapshot", vendor="polygon", headroom_percent=90)).state == state
    assert judge("quota", log, vendors=("acme",)).state == "unmet"
    assert judge("quota", log, {"moment": NOW + 2 * DAY}).state in {"stale", "unmet"}
    assert judge("quota", Ledger()).state == "unmet"


def test_it_wants_dependency_alerts_resolved(log):
    assert judge("dependency-alerts", log).state == "unmet"
    log.add("dependency.alerts", source="dependabot", open={"high": 1})
    log.add("dependency.alerts", source="npm audit", open={"high": 0})
    assert judge("dependency-alerts", log).detail == "1 alert open"
    assert judge("dependency-alerts", log.add("dependency.alerts", source="dependabot", open={})).state == "met"


@pytest.mark.parametrize(
    ("what", "severity", "hours", "state"),
    [
        ("incident", 1, 0, "unmet"),
        ("incident", "P0", 0, "unmet"),
        ("incident", "1", 0, "unmet"),
        ("incident", "unheard of", 0, "unmet"),
        ("incident", 2, 11, "met"),
        ("incident", 2, 12, "unmet"),
        ("incident", "sev-2", 13, "unmet"),
        ("incident", 3, 100, "met"),
        ("incident", "P2", 100, "met"),
        ("defect", 1, 0, "unmet"),
        ("defect", 2, 0, "unmet"),
        ("defect", 3, 100, "met"),
    ],
)
def test_it_blocks_on_what_is_open_with_one_as_the_worst(log, what, severity, hours, state):
    log.add(f"{what}.opened", hours * HOUR, **{what: "X-1", "severity": severity})
    assert judge(f"{what}s", log).state == state
    assert judge(f"{what}s", log.add(f"{what}.resolved", timedelta(0), **{what: "X-1"})).state == "met"


def test_it_follows_an_incident_through_its_changes(log):
    log.add("incident.opened", 20 * HOUR, incident="X-1", severity=3)
    assert judge("incidents", log.add("incident.opened", HOUR, incident="X-1", severity=2)).state == "unmet"
    log.add("incident.resolved", incident="X-2")
    assert judge("incidents", log).state == "unmet"
    log.add("incident.resolved", incident="X-1")
    assert judge("incidents", log.add("incident.opened", MINUTE, incident="X-1", severity=1)).state == "unmet"


def test_it_lets_a_hotfix_cure_the_incident_that_it_names(log):
    log.add("incident.opened", incident="X-1", severity=1).add("hotfix", incident="X-1", severity=1)
    assert judge("incidents", log).state == "unmet"
    assert judge("incidents", log, {"type": "hotfix"}).state == "met"
    log.add("incident.opened", incident="X-2", severity=1)
    assert "X-2" in judge("incidents", log, {"type": "hotfix"}).detail


# -- staging before production -----------------------------------------------------------------------------------------


def test_it_wants_the_build_on_staging_that_is_promoted(log):
    assert judge("same-build", log.manifest()).state == "unmet"
    assert judge("same-build", log.deployed("staging", 2 * HOUR, OTHER)).state == "stale"
    assert judge("same-build", log.deployed("staging", 2 * HOUR, outcome="failed")).state == "unmet"
    assert judge("same-build", log.deployed("staging", HOUR)).state == "met"
    assert judge("same-build", log.deployed("staging", MINUTE, OLD)).state == "stale"


def test_it_calls_monitors_after_a_quarter_of_an_hour_late(log):
    log.manifest().deployed("staging", HOUR)
    assert judge("staging-monitors", log).state == "unmet"
    log.check("Synthetic monitors", 44 * MINUTE)
    finding = judge("staging-monitors", log)
    assert (finding.state, finding.due, finding.happened) == ("late", NOW - 45 * MINUTE, NOW - 44 * MINUTE)
    log.deployed("staging", 20 * MINUTE)
    assert judge("staging-monitors", log).state == "unmet"  # another deploy, another clock
    assert judge("staging-monitors", log.check("Synthetic monitors", 5 * MINUTE)).state == "met"
    assert judge("staging-monitors", log.check("Synthetic monitors", MINUTE, outcome="failed")).state == "unmet"


def test_it_wants_smoke_tests_of_this_build_with_evidence(log):
    log.manifest().deployed("staging", HOUR)
    log.check("smoke", 30 * MINUTE, digest=OTHER, has_evidence=True)
    assert judge("staging-smoke", log).state == "unmet"
    assert "without a file" in judge("staging-smoke", log.check("smoke", 30 * MINUTE)).detail
    assert judge("staging-smoke", log.check("smoke", 20 * MINUTE, has_evidence=True)).state == "met"


def test_it_wants_every_surface_of_a_hotfix_validated(log):
    log.manifest().deployed("staging", HOUR).check("Desk: orders", 10 * MINUTE)
    assert judge("impacted-surfaces", log).state == "met"
    assert judge("impacted-surfaces", log, {"surfaces": ("Desk", "Screener")}).detail == "not validated: Screener"
    assert judge("impacted-surfaces", log, {"surfaces": ()}).state == "unmet"
    assert judge("impacted-surfaces", log.check("desk: charts", MINUTE, outcome="failed")).state == "unmet"


# -- people ------------------------------------------------------------------------------------------------------------


def test_it_wants_an_approval_of_this_very_manifest(log):
    assert judge("approval-qa", log).state == "unmet"
    assert judge("approval-qa", log.manifest(OLD)).state == "unmet"
    assert judge("approval-qa", log.approval(2 * HOUR, digest=OLD)).state == "met"
    finding = judge("approval-qa", log.manifest(ago=HOUR))
    assert (finding.state, finding.facts["digest"]) == ("stale", OLD)
    assert judge("approval-qa", log.approval(MINUTE)).state == "met"
    assert judge("approval-qa", log.approval(MINUTE, "withdrawn")).state == "stale"


def test_it_lets_a_standing_rejection_block(log):
    log.manifest().approval(HOUR, "rejected", by="eve")
    assert judge("approval-qa", log.approval(MINUTE)).state == "unmet"
    assert judge("approval-qa", log.approval(MINUTE, "withdrawn", by="eve")).state == "met"


def test_it_never_makes_an_emergency_deploy_green(log):
    assert judge("approved-before-deploy", log.manifest()).state == "not_applicable"
    log.deployed("production", 2 * HOUR)
    assert judge("approved-before-deploy", log).state == "unmet"
    assert judge("approval-qa", log.approval(HOUR)).state == "late"
    for _ in range(2):
        finding = judge("approved-before-deploy", log)
        assert (finding.state, finding.happened, finding.due) == ("late", NOW - HOUR, NOW - 2 * HOUR)
        log.manifest(OTHER, HOUR).approval(MINUTE, digest=OTHER)  # nor does another build
    excused = {"excused": {event.index: frozenset({"qa"}) for event in log.events if event.kind == "deploy.started"}}
    assert judge("approved-before-deploy", log, excused).state == "met"


def test_it_believes_no_claimed_time_of_a_deploy_or_an_approval(log):
    log.manifest().approval(2 * HOUR)
    where: dict[str, Any] = {"environment": "production", "manifest_digest": BUILD}
    log.add("deploy.started", 3 * HOUR, received=HOUR, **where)  # it says that it began before the approval
    assert judge("approved-before-deploy", log).state == "late"


def test_it_finds_a_deploy_of_another_digest(log):
    log.manifest().approval(4 * HOUR).deployed("production", HOUR, OTHER)
    finding = judge("approved-before-deploy", log)
    assert finding.state == "unmet"
    assert "the manifest was" in finding.detail
