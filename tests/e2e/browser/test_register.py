"""The liaison's work place: every page with the keyboard, on a desk and on a phone, and as axe-core judges it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from evidence.ledger import Actor
from evidence.models import User
from exceptions import lifecycle, risks
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.e2e.browser.axe import violations
from tests.exceptions.importing.files import csv_of, row

pytestmark = pytest.mark.browser
Browse = Callable[[str | None], Page]
Picture = Callable[[Page, str], None]
REGISTER = "/admin/exceptions/securityexception/"


def actor(user: User) -> Actor:
    return Actor(user.uid, ("user", user.uid))


def day(days: float) -> datetime:
    return datetime.now(UTC) + timedelta(days=days)


def requested(by: User, title: str, **changes: Any) -> str:
    asked = {
        "title": title,
        "justification": "The partner upgrades in spring.",
        "severity": "medium",
        "systems": ["netlify-trading"],
        "owner": "charlie@example.com",
        "requirements": ["sca-scan"],
        "expires_at": day(20),
        **changes,
    }
    placed = lifecycle.request_exception(actor=actor(by), application=lifecycle.Application(**asked))
    return str(placed.body["exception"])


@pytest.fixture
def register(cast: Cast) -> Cast:
    """Something in every part of the first page."""
    risk = risks.add_risk(
        actor=actor(cast.lea),
        entry=risks.RiskEntry(
            title="Partner gateway falls behind", likelihood=4, impact=5, owner="max@example.com", mitigation="Mirror"
        ),
    )
    number = requested(cast.alice, "Old TLS on the partner gateway", risk=risk.body["risk"], expires_at=day(5))
    lifecycle.approve(actor=actor(cast.bob), exception=number, reason="Seen the plan")
    ends = datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=0)
    today = requested(cast.alice, "Alerts off during the vendor's maintenance", severity="high", expires_at=ends)
    lifecycle.approve(actor=actor(cast.bob), exception=today, reason="One day")
    again = requested(cast.alice, "Order form without rate limit", severity="low", expires_at=day(60))
    lifecycle.approve(actor=actor(cast.bob), exception=again)
    lifecycle.request_renewal(
        actor=actor(cast.alice), exception=again, expires_at=day(120), reason="The gateway is late"
    )
    requested(cast.alice, "No second reviewer for hotfixes of the valuation lab", severity="critical")
    requested(cast.lea, "Staging shares the identity provider of production", severity="high", systems=["billing"])
    return cast


def test_every_page_is_for_everybody(browse: Browse, picture: Picture, register: Cast) -> None:
    """Nothing serious on any page, and nothing wider than a phone."""
    page = browse("lea")
    page.set_default_timeout(10_000)
    csv = csv_of(row(), row(ref="SEC-2", expires="2027-02-30"))
    wrong: dict[str, list[str]] = {}

    def look(name: str) -> None:
        picture(page, name)
        wrong[name] = violations(page)
        page.set_viewport_size({"width": 390, "height": 844})
        wrong[f"{name} on a phone"] = violations(page)
        page.set_viewport_size({"width": 1280, "height": 800})

    page.goto("/")
    page.wait_for_url("**/admin/")
    look("desk")
    page.goto(REGISTER)
    look("register")
    page.locator("tr", has_text="EXC-0004").get_by_role("link", name="Approve EXC-0004").press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    wrong["decide"] = violations(page)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Filters").press("Enter")
    wrong["filters"] = violations(page)
    page.goto(f"{REGISTER}?state=rejected")
    look("register-empty")
    page.get_by_text("Save this view").press("Enter")
    page.get_by_label("Name").fill("What was refused")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="What was refused", exact=True)).to_have_attribute("aria-current", "page")
    wrong["view"] = violations(page)
    page.get_by_role("link", name="Remove the view What was refused").press("Enter")
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_role("link", name="What was refused", exact=True)).to_have_count(0)
    page.goto(f"{REGISTER}EXC-0001/change/")
    look("exception")
    page.goto(f"{REGISTER}EXC-0001/renew/")
    look("exception-renew")
    page.goto(f"{REGISTER}add/")
    look("exception-add")
    page.goto(REGISTER)
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_label("Select action to run").select_option("approve_selected")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="Stays as it is")).to_be_visible()
    look("bulk")
    page.goto("/admin/exceptions/import/add/")
    look("import-new")
    page.get_by_label("Spreadsheet").set_input_files({"name": "r.csv", "mimeType": "text/csv", "buffer": csv})
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("link", name="Download the 1 bad row")).to_be_visible()
    look("import")
    page.goto("/admin/exceptions/import/")
    look("imports")
    page.goto("/admin/exceptions/risk/")
    look("risks")
    page.goto("/admin/exceptions/risk/RISK-0001/change/")
    look("risk")
    page.emulate_media(color_scheme="dark")
    for path in ("/admin/", REGISTER, f"{REGISTER}EXC-0001/change/"):
        page.goto(path)
        wrong[f"{path} in the dark"] = violations(page)
    assert {name: found for name, found in wrong.items() if found} == {}
    assert SecurityException.objects.filter(decision="requested").count() == 2
