"""JUnit XML and SARIF as evidence: counted honestly, bounded, with the file itself as the subject."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.cli import reports
from config.cli.errors import CommandError
from config.cli.reports import junit, sarif
from evidence.tlog.dsse import parse_envelope
from evidence.tlog.statement import parse_statement
from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Reply, Service

RELEASE = "web:release-20261122"
DIGEST = "sha256:" + "a" * 64
JUNIT = """<?xml version="1.0" encoding="utf-8"?>
<testsuites name="pytest tests"><testsuite name="pytest" errors="0" failures="1" skipped="1" tests="4" time="2.5"
 timestamp="2026-11-22T05:00:00+01:00">
<testcase classname="tests.test_orders" name="test_it_adds" time="0.1"/>
<testcase classname="tests.test_orders" name="test_it_rounds[1 &lt; 2]"><failure message="no">trace</failure></testcase>
<testcase classname="tests.test_orders" name="test_it_waits"><skipped/></testcase>
<testcase classname="tests.test_orders" name="test_it_ends"><system-out>x</system-out></testcase>
</testsuite></testsuites>"""


def read_junit(text: str, suite: str | None = "unit") -> dict[str, Any]:
    return junit.read(text.encode(), "report.xml", suite=suite)


def test_it_counts_a_test_report() -> None:
    assert read_junit(JUNIT) == {
        "suite": "unit",
        "outcome": "failed",
        "passed": 2,
        "failed": 1,
        "skipped": 1,
        "duration_seconds": 2.5,
        "finished_at": "2026-11-22T04:00:02Z",
        "failures": ["tests.test_orders.test_it_rounds[1 < 2]"],
        "report": "junit",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # what failed around the tests, and a runner that crashed, make no pass
        ('<testsuite name="s"><testcase name="a"/><error>set-up</error></testsuite>', ("failed", 1, 1)),
        ('<testsuite name="s" tests="2" errors="1"><testcase name="a"/></testsuite>', ("failed", 1, 1)),
        # a flaky test that passed in the end, and suites in suites
        (
            '<testsuite><testsuite><testcase name="a"><rerunFailure/></testcase></testsuite></testsuite>',
            ("passed", 1, 0),
        ),
        ('<testsuites tests="3" failures="0"/>', ("passed", 3, 0)),
        ('<testsuites><testsuite tests="1" failures="1"/><testsuite tests="2"/></testsuites>', ("failed", 2, 1)),
        ('<testsuite tests="many" time="NaN"><testcase/></testsuite>', ("passed", 1, 0)),
    ],
)
def test_it_never_counts_a_failure_away(text: str, expected: tuple[str, int, int]) -> None:
    body = read_junit(text)
    assert (body["outcome"], body["passed"], body["failed"]) == expected


def test_it_takes_no_time_without_an_offset() -> None:
    assert "finished_at" not in read_junit(JUNIT.replace("+01:00", ""))


BOMB = '<!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
OUTSIDE = '<!DOCTYPE t SYSTEM "file:///etc/passwd"><testsuite><testcase name="a"/></testsuite>'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (BOMB, "document type"),
        (OUTSIDE, "document type"),
        ("<testsuite><testcase>", "not XML"),
        ("", "not XML"),
        ("<html/>", "begins with <html>"),
        ("<testsuite/>", "holds no test"),
        ("<testsuite>" * 70, "nested too deeply"),
    ],
)
def test_it_refuses_what_is_no_test_report(text: str, reason: str) -> None:
    with pytest.raises(CommandError, match=reason) as refused:
        read_junit(text)
    assert refused.value.code == 4


def scan(
    *results: dict[str, Any], rules: list[dict[str, Any]] | None = None, tool: str = "CodeQL", **run: Any
) -> bytes:
    driver = {"name": tool, "semanticVersion": "2.16.1", "rules": rules or []}
    return json.dumps(
        {"version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": list(results)} | run]}
    ).encode()


def read_sarif(data: bytes, **options: str | None) -> dict[str, Any]:
    return sarif.read(data, "scan.sarif", type_=options.get("type_"), fail_on=options.get("fail_on"))


def test_it_counts_findings_by_severity() -> None:
    rules = [
        {"id": "sql", "properties": {"security-severity": "9.8"}},
        {"id": "style", "defaultConfiguration": {"level": "note"}},
        {"id": "old", "defaultConfiguration": {"level": "error"}},
    ]
    body = read_sarif(
        scan(
            {"ruleId": "sql", "level": "warning"},
            {"ruleId": "style"},
            {"ruleIndex": 2},
            {"ruleId": "unknown"},
            {"ruleId": "sql", "suppressions": [{"kind": "inSource"}]},
            {"ruleId": "style", "suppressions": [{"kind": "external", "status": "underReview"}]},
            {"ruleId": "sql", "kind": "pass"},
            {"ruleId": "sql", "baselineState": "absent"},
            rules=rules,
            invocations=[{"executionSuccessful": True, "endTimeUtc": "2026-11-22T05:00:00.5Z"}],
        )
    )
    assert body == {
        "type": "sast",
        "scanner": "CodeQL 2.16.1",
        "outcome": "failed",
        "findings": {"critical": 1, "high": 1, "medium": 1, "low": 2},
        "suppressed": 1,
        "fail_on": "high",
        "finished_at": "2026-11-22T05:00:00Z",
        "report": "sarif",
    }


@pytest.mark.parametrize(
    ("data", "options", "outcome"),
    [
        (scan(), {}, "passed"),
        (scan({"level": "warning"}), {}, "passed"),
        (scan({"level": "warning"}), {"fail_on": "medium"}, "failed"),
        (scan({"level": "note"}, tool="gitleaks"), {}, "failed"),  # one secret is one too many
        (scan({"level": "severe"}), {"fail_on": "medium"}, "failed"),  # a level that no one knows is not nothing
        (scan({"properties": {"security-severity": "NaN"}, "level": "error"}), {}, "failed"),
        (scan(invocations=[{"executionSuccessful": False}]), {}, "failed"),
    ],
)
def test_it_fails_a_scan_that_found_or_did_not_finish(data: bytes, options: dict[str, str], outcome: str) -> None:
    assert read_sarif(data, **options)["outcome"] == outcome


@pytest.mark.parametrize(
    ("data", "options", "reason"),
    [
        (b"{", {}, "not JSON"),
        (b"[" * 200_000, {}, "not JSON"),
        (b"{}", {}, "not SARIF"),
        (b'{"version": "2.1.0", "runs": []}', {}, "no tool"),
        (scan(results=None), {}, "run without results"),
        (scan(tool="Homemade"), {}, "what was looked for"),
        (scan(), {"type_": "guess"}, "not a type"),
        (scan(), {"fail_on": "never"}, "not a severity"),
    ],
)
def test_it_refuses_what_is_no_scan(data: bytes, options: dict[str, str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        read_sarif(data, **options)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "runs",
                    "tool",
                    "driver",
                    "name",
                    "rules",
                    "id",
                    "results",
                    "level",
                    "properties",
                    "invocations",
                    "security-severity",
                    "suppressions",
                    "ruleId",
                    "extensions",
                    "endTimeUtc",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@settings(max_examples=60, deadline=None)
@given(_JSON, _JSON, _JSON)
def test_it_survives_any_shape(rule: Any, result: Any, invocation: Any) -> None:
    try:
        body = read_sarif(scan(result, rules=rule, invocations=invocation))
    except CommandError:
        return
    assert body["outcome"] in ("passed", "failed")


# -- through the command -----------------------------------------------------------------------------------------------


def test_it_attests_a_test_report_and_uploads_it(logged_in: Service, prooftrail: Prooftrail) -> None:
    Path("report.xml").write_text(JUNIT)
    Path("more.json").write_text('{"url": "https://ci.example.com/1"}')
    outcome = prooftrail(
        *("attest", "test.result", "--release", RELEASE, "--junit", "report.xml", "--suite", "unit"),
        *("--body", "more.json", "--manifest-digest", DIGEST),
    )
    assert outcome.code == 0, outcome.err
    sent = logged_in.requests("POST /api/v1/records")[0].json()
    digest = sha256(JUNIT.encode()).hexdigest()
    assert sent["subject"] == [{"name": "report.xml", "digest": {"sha256": digest}}]
    assert sent["body"]["manifest_digest"] == DIGEST
    assert (sent["body"]["outcome"], sent["body"]["url"]) == ("failed", "https://ci.example.com/1")
    assert logged_in.stored == {digest: JUNIT.encode()}


def test_it_attests_a_scan_and_names_the_suite_as_the_file_does(logged_in: Service, prooftrail: Prooftrail) -> None:
    Path("scan.sarif").write_bytes(scan())
    assert prooftrail("attest", "scan.result", "--system", "web", "--sarif", "scan.sarif").code == 0
    assert logged_in.requests("POST /api/v1/records")[0].json()["body"]["outcome"] == "passed"
    Path("report.xml").write_text(JUNIT)
    outcome = prooftrail("attest", "test.result", "--release", RELEASE, "--junit", "report.xml")
    assert "The suite is 'pytest tests'" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("drill", "--junit", "report.xml"), "--junit makes a test.result"),
        (("drill", "--sarif", "report.xml"), "--sarif makes a scan.result"),
        (("test.result", "--suite", "unit"), "--suite goes with"),
        (("scan.result", "--fail-on", "low"), "go with --sarif"),
        (("test.result", "--junit", "missing.xml"), "There is no file"),
        (("test.result", "--junit", "report.xml", "--body", "passed.json"), "body says outcome 'passed'"),
        (("test.result", "--predicate-type", "x"), "--predicate-type goes with"),
        (("test.result", "--junit", "large.xml"), "larger than 0 MiB"),
    ],
)
def test_it_sends_nothing_for_a_report_that_cannot_be_used(
    logged_in: Service,
    prooftrail: Prooftrail,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    reason: str,
) -> None:
    Path("report.xml").write_text(JUNIT)
    Path("passed.json").write_text('{"outcome": "passed"}')
    Path("large.xml").write_text(JUNIT + " " * 3000)
    monkeypatch.setattr(reports, "LARGEST", 3000)
    outcome = prooftrail("attest", *arguments, "--release", RELEASE)
    assert outcome.code == 4
    assert reason in outcome.err
    assert logged_in.seen == []


def test_it_signs_as_the_version_that_the_server_has_in_force(logged_in: Service, prooftrail: Prooftrail) -> None:
    prooftrail("keygen", "--out", "key.pem")
    logged_in.on("GET /api/v1/kinds/drill", Reply({"predicate_type": "urn:prooftrail:predicate:drill:v3"}))
    bom = "https://cyclonedx.org/bom/v1.6"
    for more, expected in (((), "urn:prooftrail:predicate:drill:v3"), (("--predicate-type", bom), bom)):
        prooftrail("attest", "drill", "--system", "web", "--sign-with", "key.pem", *more)
        sent = logged_in.requests("POST /api/v1/records")[-1].body
        assert parse_statement(parse_envelope(sent).payload).predicate_type == expected
