"""The liaison's work place: every page with the keyboard, on a desk and on a phone, and as axe-core judges it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from pytest_django import Settings

from evidence.ledger import Actor
from evidence.models import User
from exceptions import lifecycle, risks
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.e2e.browser.axe import violations
from tests.exceptions.importing.files import csv_of, row
from tests.exceptions.webhooks import serving

pytestmark = pytest.mark.browser
Browse = Callable[[str | None], Page]
Picture = Callable[[Page, str], None]
REGISTER, CHANNELS = "/admin/exceptions/securityexception/", "/admin/exceptions/chatchannel/"


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


@dataclass
class Looker:
    """Lea's page, and what axe finds wrong with what it shows, at a desk and on a phone."""

    page: Page
    picture: Picture
    wrong: dict[str, list[str]] = field(default_factory=dict)

    def note(self, name: str) -> None:
        if found := violations(self.page):
            self.wrong[name] = found

    def look(self, name: str, path: str | None = None) -> None:
        if path is not None:
            self.page.goto(path)
        self.picture(self.page, name)  # fails where it is wider than a phone
        self.note(name)
        self.page.set_viewport_size({"width": 390, "height": 844})
        self.note(f"{name} on a phone")
        self.page.set_viewport_size({"width": 1280, "height": 800})


@pytest.fixture
def lea(browse: Browse, picture: Picture, register: Cast) -> Iterator[Looker]:
    found = Looker(browse("lea"), picture)
    found.page.set_default_timeout(10_000)
    yield found
    assert found.wrong == {}


#: What a link leads to.
PAGES = {
    "desk": "/admin/",
    "register": REGISTER,
    "register-empty": f"{REGISTER}?state=rejected",
    "exception": f"{REGISTER}EXC-0001/change/",
    "exception-renew": f"{REGISTER}EXC-0001/renew/",
    "exception-add": f"{REGISTER}add/",
    "imports": "/admin/exceptions/import/",
    "risks": "/admin/exceptions/risk/",
    "risk": "/admin/exceptions/risk/RISK-0001/change/",
    "channels-none": CHANNELS,
    "channel-add": f"{CHANNELS}add/",
}
DARK = ("desk", "register", "exception")


def test_every_page_is_for_everybody(lea: Looker) -> None:
    for name, path in PAGES.items():
        lea.look(name, path)
    lea.page.emulate_media(color_scheme="dark")
    for name in DARK:
        lea.page.goto(PAGES[name])
        lea.note(f"{name} in the dark")


def test_what_opens_on_a_page_is_for_the_keyboard_too(lea: Looker) -> None:
    page, refused = lea.page, lea.page.get_by_role("link", name="What was refused", exact=True)
    page.goto(REGISTER)
    page.locator("tr", has_text="EXC-0004").get_by_role("link", name="Approve EXC-0004").press("Enter")
    expect(page.get_by_label("Reason")).to_be_focused()
    lea.note("decide")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Filters").press("Enter")
    lea.note("filters")
    page.goto(f"{REGISTER}?state=rejected")
    page.get_by_text("Save this view").press("Enter")
    page.get_by_label("Name").fill("What was refused")
    page.keyboard.press("Enter")
    expect(refused).to_have_attribute("aria-current", "page")
    lea.note("view")
    page.get_by_role("link", name="Remove the view What was refused").press("Enter")
    page.get_by_role("button", name="Remove").click()
    expect(refused).to_have_count(0)


def test_what_comes_of_many_at_once_is_shown(lea: Looker) -> None:
    page, csv = lea.page, csv_of(row(), row(ref="SEC-2", expires="2027-02-30"))
    page.goto(REGISTER)
    page.get_by_label("Select all objects on this page for an action").check()
    page.get_by_label("Select action to run").select_option("approve_selected")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("heading", name="Stays as it is")).to_be_visible()
    lea.look("bulk")
    page.goto("/admin/exceptions/import/add/")
    lea.look("import-new")
    page.get_by_label("Spreadsheet").set_input_files({"name": "r.csv", "mimeType": "text/csv", "buffer": csv})
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("link", name="Download the 1 bad row")).to_be_visible()
    lea.look("import")
    assert SecurityException.objects.filter(decision="requested").count() == 2


def test_a_chat_channel_is_set_up_and_tried(lea: Looker, settings: Settings) -> None:
    with serving() as webhook:
        settings.CHAT_PRIVATE_ORIGINS = [webhook.origin]
        page = lea.page
        page.goto(f"{CHANNELS}add/")
        page.get_by_label("Name").fill("#security-exceptions")
        page.get_by_label("Webhook URL").fill(webhook.url)
        page.get_by_label("netlify-trading").check()
        page.get_by_role("button", name="Save", exact=True).click()
        expect(page.get_by_text("whsec_")).to_be_visible()
        lea.look("channel-secret")
        page.get_by_role("link", name="Continue to the channel").click()
        page.get_by_role("button", name="Send a test message").click()
        expect(page.get_by_text("The test message is in #security-exceptions.")).to_be_visible()
        lea.look("channel")
        webhook.status = 404
        page.get_by_role("button", name="Send a test message").click()
        expect(page.get_by_text("The test message did not arrive")).to_be_visible()
        lea.look("channel-failing")
    page.get_by_role("link", name="New secret").click()
    lea.look("channel-new-secret")
    lea.look("channels", CHANNELS)
