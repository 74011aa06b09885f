"""The report on screen and over HTTP: for executives, liaisons and administrators."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from compliance.models import Report
from compliance.reports import sending
from compliance.reports.months import Month
from evidence.models import User
from evidence.people import change_user
from tests.cast import Cast
from tests.compliance.reports.conftest import actor, play_release, request_exception

MONTH, EARLIER = str(Month.of(datetime.now(UTC))), str(Month.of(datetime.now(UTC)).previous)


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_the_start_page_shows_figures_that_lead_to_their_population(cast: Cast, browser: Client) -> None:
    request_exception(cast, ends=timedelta(days=5), severity="critical")
    play_release(cast)
    text = browser.get("/reports/").content.decode()
    assert 'href="/admin/exceptions/securityexception/?severity__exact=critical&amp;state=open">1</a>' in text
    assert "release-20260312" in text
    for link in set(re.findall(r'href="(/(?!static/)[^"#]*)"', text)):
        assert browser.get(link.replace("&amp;", "&")).status_code == 200, link


def test_a_figure_s_population_has_as_many_rows_as_it_says(cast: Cast, browser: Client) -> None:
    for severity in ("critical", "high", "high"):
        request_exception(cast, ends=timedelta(days=5), severity=severity)
    listed = browser.get("/admin/exceptions/securityexception/?severity__exact=high&state=open").content.decode()
    assert len(set(re.findall(r"EXC-\d{4}", listed))) == 2


def test_an_empty_month_says_what_to_expect(cast: Cast, browser: Client) -> None:
    text = browser.get("/reports/").content.decode()
    assert "No exception is open." in text
    assert "No release was opened or deployed in this period." in text
    assert "None yet. On the first of each month" in text


@pytest.mark.parametrize("month", ["2026-13", "2999-01", "x"])
def test_a_month_that_is_none_is_not_found(cast: Cast, browser: Client, month: str) -> None:
    assert browser.get(f"/reports/monthly/?month={month}").status_code == 404
    assert browser.get(f"/reports/monthly.pdf?month={month}").status_code == 404


def test_it_is_closed_to_everybody_else(cast: Cast) -> None:
    assert Client().get("/reports/").status_code == 302
    for user in (cast.alice, cast.bob, cast.cora, cast.ada):
        for url in ("/reports/", "/reports/monthly/", "/reports/monthly.pdf"):
            assert _client(user).get(url).status_code == 403
    for user in (cast.max, cast.lea, cast.root):
        assert _client(user).get("/reports/").status_code == 200


def test_who_sees_one_system_gets_figures_of_that_one(cast: Cast) -> None:
    request_exception(cast, ends=timedelta(days=5), title="Seen by the other team only")
    change_user(cast.max, actor=actor(cast.root), systems=[cast.billing])
    assert "No exception is open." in _client(cast.max).get("/reports/").content.decode()


def test_the_pdf_of_the_page(cast: Cast, browser: Client) -> None:
    answer = browser.get(f"/reports/monthly.pdf?month={MONTH}")
    assert answer["Content-Type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF")


def test_the_button_asks_for_a_mail_and_the_sent_file_can_be_read(cast: Cast, browser: Client, mailbox: Path) -> None:
    text = browser.get("/reports/").content.decode()
    once = re.findall(r'name="once" value="([^"]+)"', text)[0]
    for _ in range(2):  # an impatient click
        answer = browser.post("/reports/mail/", {"month": MONTH, "once": once}, follow=True)
        assert "will be mailed to executives and to you" in answer.content.decode()
    sending.send_due()
    report = Report.objects.get()
    assert report.state == "sent"
    assert browser.get(f"/reports/sent/{report.pk}.pdf").content == bytes(report.pdf or b"")
    assert f"/reports/sent/{report.pk}.pdf" in browser.get("/reports/").content.decode()


def test_asking_takes_a_post(cast: Cast, browser: Client) -> None:
    assert browser.get("/reports/mail/").status_code == 405
    assert not Report.objects.exists()


# -- over HTTP -------------------------------------------------------------------------------------------------------


def test_a_report_is_asked_for_over_http(cast: Cast, browser: Client, mailbox: Path) -> None:
    body = {"kind": "monthly", "month": MONTH}
    answer = browser.post("/api/v1/reports", body, content_type="application/json")
    assert answer.status_code == 202
    assert answer.json()["state"] == "waiting"
    sending.send_due()
    found = browser.get(f"/api/v1/reports/{answer.json()['id']}").json()
    assert (found["state"], found["month"], len(found["pdf_sha256"])) == ("sent", MONTH, 64)
    assert [row["id"] for row in browser.get("/api/v1/reports").json()["results"]] == [found["id"]]


def test_the_same_key_asks_once(cast: Cast, browser: Client) -> None:
    def ask(client: Client, month: str) -> Any:
        body = {"kind": "monthly", "month": month}
        return client.post("/api/v1/reports", body, content_type="application/json", headers={"Idempotency-Key": "k-1"})

    first, again, another = ask(browser, MONTH), ask(browser, MONTH), ask(browser, EARLIER)
    assert [answer.status_code for answer in (first, again, another)] == [202, 200, 422]
    assert first.json()["id"] == again.json()["id"]
    assert again["Idempotency-Replayed"] == "true"
    assert another.json()["code"] == "idempotency_key_reused"
    assert ask(_client(cast.lea), EARLIER).status_code == 202, "a key is its person's own"
    assert Report.objects.count() == 2


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"kind": "monthly", "month": "2026-13"}, 422, "month_invalid"),
        ({"kind": "yearly", "month": MONTH}, 422, "invalid"),
        ({"kind": "monthly"}, 422, "invalid"),
        ({"kind": "release", "month": MONTH}, 422, "report_not_on_demand"),
    ],
)
def test_it_refuses_a_report_of_nothing(
    cast: Cast, browser: Client, body: dict[str, str], status: int, code: str
) -> None:
    answer = browser.post("/api/v1/reports", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Report.objects.exists()


def test_an_engineer_may_not_ask(cast: Cast) -> None:
    body = {"kind": "monthly", "month": MONTH}
    answer = _client(cast.alice).post("/api/v1/reports", body, content_type="application/json")
    assert answer.status_code == 403
