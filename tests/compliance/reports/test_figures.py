"""The figures say what the records say: as of a moment, with the period before beside them."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from django.test import Client

from compliance.controls.exceptions import Life
from compliance.controls.populations import Period, exception_lives
from compliance.reports.documents import pdf
from compliance.reports.figures import monthly
from compliance.reports.months import Month
from config.errors import InvalidError
from evidence.people import save_system
from exceptions import lifecycle
from exceptions.importing import jobs
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.compliance.reports.conftest import actor, decide, play_manifest, play_release, request_exception
from tests.exceptions.importing.files import csv_of, row

PAGE = "/reports/monthly/"
NOW = datetime(2026, 3, 12, 15, tzinfo=UTC)


def _this_month(now: datetime | None = None) -> Month:
    return Month.of(now or datetime.now(UTC))


@pytest.mark.parametrize("text", ["2026-13", "2026-3", "march", "", "2026-04", "1999-01", "2026-03-01"])
def test_it_refuses_what_is_no_month_or_has_not_begun(text: str) -> None:
    with pytest.raises(InvalidError) as refused:
        Month.parse(text, now=NOW)
    assert refused.value.code == "month_invalid"


def test_a_month_ends_where_the_next_begins() -> None:
    month = Month.parse("2025-12", now=NOW)
    assert (month.end, str(month.previous), str(month.next)) == (datetime(2026, 1, 1, tzinfo=UTC), "2025-11", "2026-01")


def test_it_counts_exceptions_by_severity_expiry_and_owner(cast: Cast) -> None:
    request_exception(cast, ends=timedelta(days=5), severity="critical")
    request_exception(cast, ends=timedelta(days=20))
    request_exception(cast, ends=timedelta(days=20), approve=False)
    short = request_exception(cast, ends=timedelta(seconds=1.5), owner="lea@example.com", title="Shared account")
    closed = request_exception(cast, ends=timedelta(days=20))
    lifecycle.remediate(actor=actor(cast.alice), exception=closed.pk, reason="fixed", evidence=[0])
    while datetime.now(UTC) < short.expires_at:
        time.sleep(0.05)
    now = datetime.now(UTC)
    found = monthly(_this_month(now), now=now).exceptions
    assert (found.open.value, found.overdue_count.value) == (4, 1)
    assert found.states == (
        "2 active, 0 approved and not begun, 1 waiting for approval, 0 approved elsewhere and not ratified, 1 expired."
    )
    assert (found.opened.value, found.closed.value) == (5, 1)
    assert {count.title: count.value for count in found.by_severity} == {
        "Critical": 1,
        "High": 3,
        "Medium": 0,
        "Low": 0,
    }
    assert [count.value for count in found.by_expiry] == [1, 1, 2, 0, 0]
    assert [count.value for count in found.by_age] == [4, 0, 0, 0]
    assert [(owner.name, owner.open, owner.overdue) for owner in found.owners] == [("Lea", 1, 1), ("Charlie", 3, 0)]
    assert [(row.id, row.owner) for row in found.overdue] == [(short.pk, "Lea")]


def test_it_tells_a_moment_from_the_records_alone(cast: Cast) -> None:
    exception = request_exception(cast, ends=timedelta(days=20))
    before = datetime.now(UTC)
    lifecycle.revoke(actor=actor(cast.lea), exception=exception.pk, reason="no longer acceptable")
    after = datetime.now(UTC)
    assert monthly(_this_month(before), now=before).exceptions.open.value == 1
    assert monthly(_this_month(after), now=after).exceptions.open.value == 0


def test_next_month_sees_this_one_as_the_one_before(cast: Cast) -> None:
    request_exception(cast, ends=timedelta(days=60))
    now = _this_month().end + timedelta(hours=1)
    figures = monthly(_this_month(now), now=now)
    assert (figures.exceptions.open.value, figures.exceptions.open.before) == (1, 1)
    assert [point.open for point in figures.trend][-2:] == [1, 1]
    assert sum(point.open for point in figures.trend) == 2


def test_a_claim_is_told_apart_until_it_is_ratified(cast: Cast) -> None:
    opened = jobs.open_import(person=cast.lea, filename="register.csv", data=csv_of(row()), dry_run=False)
    assert jobs.run(opened.pk)
    found = SecurityException.objects.get()
    now = datetime.now(UTC)
    shown = monthly(_this_month(now), now=now).exceptions
    assert "0 waiting for approval, 1 approved elsewhere and not ratified" in shown.states
    assert [life.state_at(now) for life in lives_of()] == ["claimed"]
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    assert [life.state_at(now) for life in lives_of()] == ["active"]
    changes = {"title": "Older TLS"}
    lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="Named wrongly", changes=changes)
    assert [life.state_at(now) for life in lives_of()] == ["requested"]


def lives_of() -> list[Life]:
    now = datetime.now(UTC)
    return list(exception_lives(Period.pinned(now - timedelta(days=1), now + timedelta(days=1))))


def test_it_leaves_sandboxes_out(cast: Cast) -> None:
    request_exception(cast, ends=timedelta(days=20), systems=["billing"])
    save_system(actor=actor(cast.root), name="billing", sandbox=True, system=cast.billing)
    now = datetime.now(UTC)
    assert monthly(_this_month(now), now=now).exceptions.open.value == 0


def test_a_release_shows_its_approvals_deployment_and_what_is_late(cast: Cast) -> None:
    play_release(cast)
    now = datetime.now(UTC)
    (line,) = monthly(_this_month(now), now=now).releases
    assert (line.approved, line.deployed, line.validation, line.metrics) == (("qa",), "succeeded", "passed", "due")
    later = now + timedelta(hours=3)
    figures = monthly(_this_month(now), now=min(later, _this_month(now).end))
    if later < _this_month(now).end:
        assert figures.overdue_items == ["netlify-trading:release-20260312: metrics snapshot overdue"]


def test_nobody_overrides_another_ones_rejection_in_the_report_either(cast: Cast, browser: Client) -> None:
    """As the gate judges (R1.5): Lea's rejection stands, whatever Bob says in the same role afterwards."""
    play_release(cast)
    decide(cast.lea, "qa", "rejected", cast)
    decide(cast.bob, "qa", "approved", cast)
    decide(cast.lea, "security", "approved", cast)
    (line,) = monthly(_this_month(), now=datetime.now(UTC)).releases
    assert (line.approved, line.rejected, line.stale) == (("security",), ("qa",), ())
    assert 'security <span class="pt-chip pt-danger">rejected by qa</span>' in browser.get(PAGE).content.decode()

    decide(cast.lea, "qa", "withdrawn", cast)
    play_manifest(cast, commit="ef" * 20)
    (line,) = monthly(_this_month(), now=datetime.now(UTC)).releases
    assert (line.approved, line.rejected, line.stale) == ((), (), ("qa", "security"))


def test_history_is_of_its_own_month_and_nobody_is_late_with_it_now(cast: Cast) -> None:
    now = datetime.now(UTC)
    play_release(cast, ago=timedelta(days=400))
    assert monthly(_this_month(now), now=now).releases == []
    then = monthly(_this_month(now - timedelta(days=400)), now=now)
    (line,) = then.releases
    assert (line.deployed, line.validation, line.metrics) == ("succeeded", "passed", "not recorded")
    assert then.overdue_items == []


def test_controls_are_part_of_it(cast: Cast) -> None:
    play_release(cast)
    now = datetime.now(UTC)
    controls = monthly(_this_month(now), now=now).controls
    assert controls is not None
    assert controls.total.required >= 1
    assert {line.id for line in controls.lines} >= {"change-approved", "release-validated"}


def test_the_pdf_is_an_archive_and_the_same_for_the_same_figures(cast: Cast) -> None:
    request_exception(cast, ends=timedelta(days=5), title="#sys.inputs *not* markup, żółć 日本 ✓")
    now = datetime.now(UTC)
    figures = monthly(_this_month(now), now=now)
    content = pdf(figures)
    assert content.startswith(b"%PDF-1.7")
    assert b"pdfaid:part>2<" in content
    assert b"pdfuaid:part>1<" in content
    assert pdf(figures) == content


def test_an_empty_register_makes_a_report_too(cast: Cast) -> None:
    now = datetime.now(UTC)
    figures = monthly(_this_month(now), now=now)
    assert figures.overdue_items == []
    assert pdf(figures).startswith(b"%PDF")
