"""Kinds of evidence, the cutover's plan and a decision afterwards: with the keyboard, on a desk and on a phone."""

from collections.abc import Callable, Mapping

from playwright.sync_api import Page

from evidence.ledger import Actor, append
from evidence.models import Record, Release
from evidence.records import plain_draft
from tests.cast import Cast
from tests.evidence.admin.conftest import MANIFEST
from tests.evidence.conftest import RELEASE, RELEASE_ID

Browse = Callable[[str | None], Page]
Picture = Callable[[Page, str], None]


def test_kinds_are_read_with_the_keyboard(browse: Browse, picture: Picture) -> None:
    page = browse("ada")
    page.goto("/admin/kinds/")
    picture(page, "kinds")
    page.get_by_label("Name or title").focus()
    page.keyboard.type("hotfix")
    page.keyboard.press("Enter")
    page.wait_for_url("**/kinds/?q=hotfix")
    page.get_by_role("link", name="hotfix", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/kinds/hotfix/")
    picture(page, "kind")
    page.get_by_role("link", name="1", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/kinds/hotfix/?version=1")
    assert page.get_by_text("earlier version").is_visible()


def opened(cast: Cast) -> Release:
    """A release whose first manifest went to production unapproved, and that has another by now."""

    def post(kind: str, body: Mapping[str, object], release: str | None = RELEASE_ID) -> int:
        data = {"kind": kind, "release": release, "body": dict(body)}
        return append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid))).index

    post("release.opened", RELEASE, None)
    post("deploy.manifest", MANIFEST)
    digest = Release.objects.get().manifest_digest
    for kind, more in (("deploy.started", {}), ("deploy.finished", {"outcome": "succeeded"})):
        post(kind, {"environment": "production", "manifest_digest": digest, **more})
    post("deploy.manifest", {**MANIFEST, "commit": "c" * 40})
    return Release.objects.get()


def test_a_captain_plans_and_an_approver_decides_afterwards(browse: Browse, picture: Picture, cast: Cast) -> None:
    opened(cast)
    cora = browse("cora")
    cora.goto("/admin/evidence/release/")
    cora.get_by_role("link", name="release-20260312").first.click()
    cora.get_by_role("link", name="Plan the cutover").focus()
    cora.keyboard.press("Enter")
    cora.get_by_label("Owner, step 1").fill("Max")
    picture(cora, "cutover-plan")
    cora.get_by_role("button", name="Record the plan").focus()
    cora.keyboard.press("Enter")
    cora.wait_for_url("**/change/#cutover")
    assert Record.objects.filter(kind="cutover.planned").count() == 1

    bob = browse("bob")
    bob.goto(cora.url)
    bob.get_by_role("link", name="Decide as qa").focus()
    bob.keyboard.press("Enter")
    bob.wait_for_url("**/approve/?role=qa&manifest=*")
    picture(bob, "approve-afterwards")
    bob.get_by_role("button", name="Record my decision").click()
    bob.wait_for_url("**/change/")
    assert bob.get_by_text("retrospective", exact=True).is_visible()
    picture(bob, "release-afterwards")
