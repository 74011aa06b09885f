"""A liaison's story from the spreadsheet to the gate, told by five people in a real browser."""

import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import Page, expect
from pytest_django import Settings

from evidence.api.actors import actor_for
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.models import User
from evidence.people import change_user, issue_token
from exceptions.models import SecurityException
from exceptions.tasks import remind
from tests.cast import PASSWORD, Cast
from tests.evidence.conftest import RELEASE, Api
from tests.evidence.gate.conftest import Play
from tests.exceptions.importing.files import csv_of, row
from tests.faults.people import MailServer

pytestmark = pytest.mark.browser
Browse = Callable[[str | None], Page]
REGISTER = "/admin/exceptions/securityexception/"


def day(days: int) -> str:
    return str(datetime.now(UTC).date() + timedelta(days=days))


@pytest.fixture
def play(cast: Cast) -> Play:
    """A release that lacks one thing: a dependency has a critical finding."""

    def token(user: User) -> str:
        return issue_token(user, actor=actor_for(cast.root), label="test").text

    change_user(cast.max, actor=actor_for(cast.root), sign_offs=[("design", cast.trading)])
    signers = {"product": cast.lea, "design": cast.max, "sre": cast.cora, "qa": cast.bob}
    api = Api(cast.ci_token)
    assert api.post("releases", RELEASE).status_code == 201
    found = Play(api, cast, token, signers=signers)
    found.everything()
    found.scan("sca", outcome="failed", findings={"critical": 1})
    return found


@pytest.fixture
def post_office(settings: Settings) -> MailServer:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found = MailServer(probe.getsockname()[1])
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", found.port
    return found


def test_it_leads_from_the_sheet_to_the_gate(browse: Browse, play: Play, post_office: MailServer) -> None:
    lea, alice, bob = (browse(name) for name in ("lea", "alice", "bob"))
    for page in (lea, alice, bob):
        page.set_default_timeout(10_000)
    _the_sheet_comes_in(lea)
    _its_claims_are_ratified(bob)
    assert _gate(alice, play) == "red"
    number = _requested(alice)
    _approved_from_the_first_page(bob, number)
    assert _gate(alice, play) == "green"
    with post_office.running():
        remind()
    _renewed_from_the_mail(browse(None), post_office, number)
    _approved_in_the_list(bob, number)
    _revoked(lea, number)
    assert _gate(alice, play) == "red"
    assert check() == []


def _the_sheet_comes_in(lea: Page) -> None:
    """A dry run with a bad row; the sheet put right; then all of it."""

    def send(*rows: list[object]) -> None:
        lea.goto("/admin/exceptions/import/add/")
        sheet = {"name": "register.csv", "mimeType": "text/csv", "buffer": csv_of(*rows)}
        lea.get_by_label("Spreadsheet").set_input_files(sheet)  # type: ignore[arg-type]  # a dict with the members of FilePayload
        lea.get_by_role("button", name="Look at it").click()

    send(row(), row(ref="SEC-2", expires="2027-02-30"))
    expect(lea.get_by_text("2027-02-30")).to_be_visible()
    expect(lea.get_by_text("Dry run: nothing was recorded")).to_be_visible()
    assert not SecurityException.objects.exists()
    send(row(), row(ref="SEC-2", expires=day(70)))
    lea.get_by_role("button", name="Import 2 exceptions").click()
    expect(lea.get_by_text("Imported", exact=True)).to_be_visible()


def _its_claims_are_ratified(bob: Page) -> None:
    bob.goto("/admin/")
    bob.get_by_role("region", name="Claims to ratify").get_by_role("link", name="In the register").click()
    bob.get_by_label("Select all objects on this page for an action").check()
    bob.get_by_label("Select action to run").select_option("ratify_selected")
    bob.get_by_role("button", name="Run").click()
    bob.get_by_label("Reason").fill("They are in the minutes of the last review.")
    bob.get_by_role("button", name="Ratify").click()
    expect(bob.get_by_text("2 recorded")).to_be_visible()
    assert set(SecurityException.objects.values_list("decision", flat=True)) == {"approved"}


def _gate(page: Page, play: Play) -> str:
    page.goto(f"/admin/evidence/release/{quote(play.release)}/change/")
    gate = page.get_by_role("region", name="Gate to production")
    return gate.get_by_text(re.compile("^(red|green)$")).inner_text()


def _requested(alice: Page) -> str:
    alice.goto("/admin/")
    alice.get_by_role("link", name="Request an exception").click()
    alice.get_by_label("Title").fill("A dependency waits for its vendor")
    alice.get_by_label("Justification").fill("The fix is announced for next week; the function is not called.")
    alice.get_by_label("Severity").select_option("medium")
    alice.get_by_label("Owner").select_option(label="Charlie <charlie@example.com>")
    alice.get_by_label("netlify-trading").check()
    alice.get_by_label("Requirements waived").fill("sca-scan")
    alice.get_by_label("Effective from").fill(day(-20))
    alice.get_by_label("Expires").fill(day(6))
    alice.keyboard.press("Escape")  # the calendar
    alice.get_by_role("button", name="Save").click()
    expect(alice.get_by_text("Somebody other than you and its owner has to approve it.")).to_be_visible()
    expect(alice.get_by_role("link", name="Approve")).to_have_count(0)
    return str(SecurityException.objects.latest("requested_index").pk)


def _approved_from_the_first_page(bob: Page, number: str) -> None:
    """With the keyboard alone."""
    bob.goto("/admin/")
    bob.get_by_role("link", name=f"Approve {number}").press("Enter")
    expect(bob.get_by_label("Reason")).to_be_focused()
    bob.keyboard.type("Seen the vendor's announcement")
    bob.keyboard.press("Tab")
    bob.keyboard.press("Enter")
    expect(bob.get_by_text(f"{number}: approve is record")).to_be_visible()
    bob.goto(f"{REGISTER}{number}/change/")
    expect(bob.get_by_role("region", name="Gates").get_by_text("waived by this exception")).to_be_visible()


def _renewed_from_the_mail(stranger: Page, post_office: MailServer, number: str) -> None:
    """The link of the reminder asks who one is, shows a form, and does nothing by itself."""
    (mail,) = [
        one for one in post_office.messages if one["To"] == "alice@example.com" and number in str(one["Subject"])
    ]
    part = mail.get_body(("plain",))
    assert part is not None
    link = re.search(rf"http://\S+{number}/renew/", part.get_content())
    assert link is not None
    size = reader.size()
    stranger.goto(link[0])
    stranger.get_by_label("Email").fill("alice@example.com")
    stranger.get_by_label("Password").fill(PASSWORD)
    stranger.get_by_role("button", name="Log in").click()
    expect(stranger.get_by_role("button", name="Renew")).to_be_visible()
    assert reader.size() == size
    stranger.get_by_label("New expiry").fill(day(40))
    stranger.keyboard.press("Escape")
    stranger.get_by_label("Reason").fill("The vendor is late")
    stranger.get_by_role("button", name="Renew").click()
    expect(stranger.get_by_text(f"{number}: renew is record")).to_be_visible()


def _approved_in_the_list(bob: Page, number: str) -> None:
    bob.goto(REGISTER)
    bob.get_by_role("link", name="Waiting for me").click()
    bob.get_by_role("link", name=f"Approve the renewal of {number}").click()
    bob.get_by_label("Reason").fill("Once more")
    bob.get_by_role("dialog").get_by_role("button", name="Approve").click()
    expect(bob.get_by_text(f"{number}: approve renewal is record")).to_be_visible()
    assert "waiting=decisions" in bob.url
    assert str(SecurityException.objects.get(pk=number).expires_at.date()) == day(40)


def _revoked(lea: Page, number: str) -> None:
    lea.goto(f"{REGISTER}?q={number}")
    lea.get_by_role("link", name=number).first.click()
    lea.get_by_role("link", name="Revoke").click()
    lea.get_by_label("Reason").fill("The function is called after all")
    lea.get_by_role("button", name="Revoke").click()
    expect(lea.get_by_text("nothing is waived while it is revoked")).to_be_visible()
