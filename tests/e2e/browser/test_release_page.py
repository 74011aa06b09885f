"""A release's page in a real browser: what it lacks, and doing something about it, with the keyboard too."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import expect

from evidence.ledger import Actor, append
from evidence.models import Record, Release
from evidence.records import plain_draft
from tests.evidence.admin.conftest import MANIFEST

pytestmark = pytest.mark.browser
RELEASE = "netlify-trading:release-20260326"


def ago(minutes: float) -> str:
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


@pytest.fixture
def history(cast):
    """A release before this one, and this one in the middle of its cutover, not all by the book."""

    def post(kind, body, minutes=0, release=RELEASE, principal=cast.ci):
        data = {"kind": kind, "release": release, "body": body} | ({"occurred_at": ago(minutes)} if minutes else {})
        data = data if kind != "release.opened" else {"kind": kind, "body": body}
        return append(plain_draft(data, principal=principal, actor=Actor(principal.uid))).index

    opened = {
        "system": "netlify-trading",
        "type": "regular",
        "ticket_id": "TRD-1042",
        "ticket_url": "https://tickets.example.com/TRD-1042",
        "captain": "Cora",
        "commander": "Bob",
        "surfaces": ["AI Analyst", "Quant Screener"],
        "dashboards": [{"name": "Datadog", "url": "https://datadog.example.com/d/1"}],
        "window": {"from": ago(20), "to": ago(-40)},
    }

    def deploy(environment, minutes, release=RELEASE, **more):
        digest = Release.objects.values_list("manifest_digest", flat=True).get(pk=release)
        body = {"environment": environment, "manifest_digest": digest}
        post("deploy.started", body, minutes, release)
        post("deploy.finished", body | {"outcome": "succeeded"} | more, minutes - 3, release)
        return digest

    before = "netlify-trading:release-20260312"
    post("release.opened", opened | {"tag": "release-20260312"}, principal=cast.cora)
    post("deploy.manifest", MANIFEST, release=before)
    deploy("production", 14, before)
    post("release.opened", opened | {"tag": "release-20260326"}, principal=cast.cora)
    pulls = [{"url": "https://git.example.com/trading/pull/77", "author": "alice", "reviewers": ["bob", "dora"]}]
    artifacts = [
        {"name": "web.tar.gz", "size": 2048, "sha256": "d" * 64},
        {"name": "api.zip", "size": 9, "sha256": "e" * 64},
    ]
    post("deploy.manifest", MANIFEST | {"commit": "f" * 40, "artifacts": artifacts, "pull_requests": pulls})
    digest = deploy("staging", 14)
    post("test.result", {"suite": "unit", "outcome": "passed", "passed": 128, "manifest_digest": digest}, 10)
    smoke = {"check": "smoke test", "environment": "staging", "outcome": "passed", "manifest_digest": digest}
    post("validation.result", smoke, 10)
    post("cutover.step", {"step": "War room opens", "state": "started"}, 14)
    post("cutover.step", {"step": "War room opens", "state": "finished"}, 13)
    deploy("production", 9)
    post("validation.result", smoke | {"environment": "production", "outcome": "failed"}, 6)
    post("incident.opened", {"incident": "INC-7", "severity": 2, "title": "Quotes stand still"}, 6)
    post("incident.updated", {"incident": "INC-7", "text": "Tiingo answers slowly"}, 3)
    rollback = {"severity": 2, "trigger": "p95 over 5 s", "action": "Redeploy", "owner": "SRE liaison"}
    post("rollback", rollback | {"restored_tag": "release-20260312"}, 2)
    return Release.objects.get(pk=RELEASE)


def test_it_shows_what_a_release_lacks_and_lets_people_work(browse, picture, history, cast):
    page = browse("cora")
    page.goto(f"/admin/evidence/release/{quote(history.pk)}/change/")
    expect(page.get_by_role("heading", name="What it still lacks")).to_be_visible()
    expect(page.get_by_text("Deployed without approval by product, design, sre, qa.").first).to_be_visible()
    expect(page.get_by_text("root cause not known yet")).to_be_visible()
    gate = page.get_by_role("region", name="Gate to production")
    expect(gate.get_by_text("red", exact=True)).to_be_visible()
    expect(gate.get_by_text("CI is green for this build")).to_be_visible()
    cut = "[...document.querySelectorAll('.pt-card')].filter(c => c.scrollWidth > c.clientWidth).map(c => c.innerText)"
    assert page.evaluate(cut) == [], "a card cuts off what is in it"
    picture(page, "release-cutover")

    answer = page.get_by_role("link", name="Answer CI of main is green")
    answer.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="CI of main is green")).to_be_visible()
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_text("Say what shows that it is done.")).to_be_visible()
    picture(page, "release-answer")
    page.get_by_label("Evidence").fill("https://ci.example.com/main/1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Recorded as #")).to_be_visible()
    expect(page.get_by_role("link", name="https://ci.example.com/main/1")).to_be_visible()

    page.get_by_role("link", name="Start Production canaries").click()
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_role("link", name="Finish Production canaries")).to_be_visible()

    page.get_by_role("link", name="Record a notice").click()
    page.get_by_label("Audience").fill("Customer Support")
    page.get_by_label("Channel").fill("#trading-support")
    picture(page, "release-notice")
    page.get_by_role("button", name="Record").click()
    expect(page.get_by_text("Recorded as #")).to_be_visible()

    page.get_by_role("link", name="Close", exact=True).click()
    page.get_by_label("Reason").fill("Done")
    page.get_by_role("button", name="Close the release").click()
    expect(page.get_by_text("has no root cause yet")).to_be_visible()
    picture(page, "release-close-refused")
    kinds = Record.objects.filter(release=RELEASE, principal=cast.cora.uid).values_list("kind", flat=True)
    assert sorted(kinds) == ["cutover.step", "notice.sent", "release.checklist", "release.opened"]


def test_it_signs_off_in_the_role_of_the_button(browse, picture, history):
    page = browse("bob")
    page.goto(f"/admin/evidence/release/{quote(history.pk)}/change/")
    page.get_by_role("link", name="Sign off as qa").click()
    expect(page.get_by_label("In the role")).to_have_value("qa")
    page.get_by_label("Comment").fill("Seen after the fact.")
    page.get_by_role("button", name="Record my decision").click()
    expect(page.get_by_text("Your decision is record")).to_be_visible()
    expect(page.get_by_role("link", name="Change as qa")).to_be_visible()
    picture(page, "release-signed")


def test_it_shows_the_success_rate_with_its_population(browse, picture, history, cast):
    rows = [{"id": "dpl_81", "at": ago(6)}, {"id": "dpl_82", "at": ago(9)}, {"id": "dpl_80", "at": ago(90)}]
    body = {"source": "netlify", "query": "deploys?context=production", "rows": rows}
    data = {"kind": "deploy.inventory", "system": "netlify-trading", "body": body}
    append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))
    page = browse("cora")
    page.goto("/admin/")
    page.get_by_role("link", name="Deployments").click()
    expect(page.get_by_text("100.0 %")).to_be_visible()
    expect(page.get_by_text("dpl_80")).to_be_visible()
    expect(page.get_by_text("2 of 2 finished deployments")).to_be_visible()
    picture(page, "deployments")
    page.get_by_label("System").select_option(label="billing")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_text("Nothing was deployed to production in this period.")).to_be_visible()
