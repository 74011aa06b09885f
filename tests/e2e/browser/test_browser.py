"""What people do in the admin, in a real browser at two widths, with the mouse and without."""

import re
import subprocess

import pytest
from django.contrib.admin.utils import quote
from playwright.sync_api import expect

from evidence.ledger import Actor, append
from evidence.models import Approval, Pipeline, Release
from evidence.records import plain_draft
from tests.cast import PASSWORD
from tests.evidence.admin.conftest import MANIFEST

pytestmark = pytest.mark.browser
#: What a screen reader would say of the element that has the focus.
NAME = "document.activeElement.ariaLabel || document.activeElement.innerText"
RELEASE = "netlify-trading:release-20260312"


def post(principal, kind, body, **more):
    actor = Actor(principal.uid)
    return append(plain_draft({"kind": kind, "body": body, **more}, principal=principal, actor=actor))


@pytest.fixture
def release(cast):
    """A release with a history: tested, validated late, failed once, awaiting approvals."""
    body = {
        "system": "netlify-trading",
        "tag": "release-20260312",
        "type": "regular",
        "ticket_id": "REL-312",
        "ticket_url": "https://tickets.example.com/REL-312",
        "captain": "Cora",
        "commander": "Bob",
        "surfaces": ["web", "api"],
        "dashboards": [{"name": "Errors", "url": "https://dash.example.com/errors"}],
        "window": {"from": "2026-03-12T14:00:00Z", "to": "2026-03-12T16:00:00Z"},
    }
    post(cast.cora, "release.opened", body)
    post(cast.ci, "deploy.manifest", MANIFEST, release=RELEASE)
    digest = Release.objects.get().manifest_digest
    tests = {"suite": "unit", "outcome": "failed", "passed": 127, "failed": 1}
    post(cast.ci, "test.result", tests, release=RELEASE)
    post(cast.ci, "test.result", tests | {"outcome": "passed", "passed": 128, "failed": 0}, release=RELEASE)
    smoke = {"check": "smoke test", "environment": "staging", "outcome": "passed", "manifest_digest": digest}
    post(cast.ci, "validation.result", smoke, release=RELEASE, occurred_at="2026-03-12T09:00:00Z")
    return Release.objects.get()


def test_it_lets_somebody_in_with_the_keyboard_alone(browse, picture, release):
    page = browse(None)
    page.goto("/")
    picture(page, "login")
    expect(page.get_by_label("Email")).to_be_focused()
    page.keyboard.type("cora@example.com")
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/admin/evidence/release/")
    page.keyboard.press("Tab")
    focused = [page.evaluate(NAME)]
    for _ in range(35):
        page.keyboard.press("Tab")
        focused.append(page.evaluate(NAME))
    assert any("Skip to the content" in (text or "") for text in focused)
    assert "Your account" in focused
    assert any("release-20260312" in (text or "") for text in focused)


def test_it_refuses_a_wrong_password_and_says_so(browse, picture):
    page = browse(None)
    page.goto("/admin/login/")
    page.get_by_label("Email").fill("cora@example.com")
    page.get_by_label("Password").fill("wrong")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text("Please enter the correct")).to_be_visible()
    picture(page, "login-refused")


def test_it_shows_a_release_and_takes_an_approval(browse, picture, release):
    page = browse("bob")
    page.goto("/admin/evidence/release/")
    picture(page, "releases")
    page.get_by_role("link", name="release-20260312").click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    expect(page.get_by_text("backfilled after").first).to_be_visible()
    picture(page, "release")
    page.get_by_role("link", name="Approve or reject").click()
    expect(page.get_by_text(release.manifest_digest)).to_be_visible()
    picture(page, "approve")
    page.get_by_text("Reject", exact=True).click()
    page.get_by_role("button", name="Record my decision").click()
    expect(page.get_by_text("A rejection says why.")).to_be_visible()
    picture(page, "approve-refused")
    page.get_by_text("Approve", exact=True).click()
    page.get_by_label("Comment").fill("Tried the order form on staging.")
    page.get_by_role("button", name="Record my decision").click()
    expect(page.get_by_text("Your decision is record")).to_be_visible()
    picture(page, "release-approved")
    approval = Approval.objects.get()
    assert (approval.role, approval.decision, approval.manifest_digest) == ("qa", "approved", release.manifest_digest)


def test_it_opens_a_release_from_the_form(browse, picture, cast):
    page = browse("cora")
    page.goto("/admin/evidence/release/")
    picture(page, "releases-empty")
    page.goto("/admin/evidence/release/add/")
    page.get_by_label("System").select_option(label="netlify-trading")
    page.get_by_label("Ticket*", exact=True).fill("REL-9")
    picture(page, "release-add")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("This field is required").first).to_be_visible()
    page.get_by_label("Ticket's address").fill("https://tickets.example.com/REL-9")
    page.get_by_label("Dashboards").fill("Errors https://dash.example.com/errors")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    assert Release.objects.get().dashboards == [{"name": "Errors", "url": "https://dash.example.com/errors"}]


def test_it_turns_green_on_the_first_record_of_a_new_pipeline(browse, picture, server, cast):
    page = browse("root")
    page.goto("/admin/setup/")
    picture(page, "setup")
    page.goto("/admin/evidence/pipeline/add/")
    page.get_by_label("Name").fill("trading-ci")
    page.get_by_label("netlify-trading").check()
    picture(page, "pipeline-add")
    page.get_by_role("button", name="Save").click()
    signal = page.get_by_role("status")
    expect(signal).to_contain_text("Waiting for the first record")
    picture(page, "pipeline-token")
    command = page.locator("#snippet-curl").inner_text()
    assert server in command
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 0, done.stderr
    assert '"receipt"' in done.stdout or '"index"' in done.stdout
    expect(signal).to_contain_text("The first record is here", timeout=10_000)
    picture(page, "pipeline-green")
    token = page.locator("#token").inner_text()
    page.get_by_role("link", name="I have put the token away").click()
    page.wait_for_url(re.compile(r"/change/"))
    assert token not in page.content()
    picture(page, "pipeline")


def test_it_pictures_the_other_pages(browse, picture, release, cast):
    root = browse("root")
    pages = {
        "records": "/admin/evidence/record/",
        "record": f"/admin/evidence/record/{release.manifest_index}/change/",
        "ledger": "/admin/ledger/",
        "people": "/admin/evidence/user/",
        "person": f"/admin/evidence/user/{cast.bob.pk}/change/",
        "person-add": "/admin/evidence/user/add/",
        "systems": "/admin/evidence/system/",
        "system-add": "/admin/evidence/system/add/",
        "pipelines": "/admin/evidence/pipeline/",
        "token-end": f"/admin/evidence/pipeline/{cast.ci.pk}/tokens/{cast.ci.tokens.get().pk}/revoke/",
        "tokens": "/admin/tokens/",
        "mail": "/admin/mail/",
        "password": "/admin/password_change/",
    }
    for name, path in pages.items():
        response = root.goto(path)
        assert response is not None
        assert response.status == 200, path
        picture(root, name)
    assert Pipeline.objects.count() == 1
    root.emulate_media(color_scheme="dark")
    root.goto(f"/admin/evidence/release/{quote(release.pk)}/change/")
    picture(root, "release-dark")


@pytest.mark.parametrize("who", ["lea", "cora", "ada", "max", "root", "bob", "alice"])
def test_it_starts_each_role_on_a_page_that_opens(browse, picture, cast, who):
    page = browse(who)
    response = page.goto("/")
    assert response is not None
    assert response.status == 200, page.url
    expect(page.get_by_role("button", name="Your account")).to_be_visible()
    picture(page, f"start-{who}")
