"""The first page, saved views, and the page of one exception: what each says, and to whom."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.test import Client

from evidence.ledger import reader
from exceptions import lifecycle
from exceptions.admin.verbs import VERBS
from exceptions.frozen import terms_digest
from exceptions.models import SavedView
from tests.cast import PASSWORD, Cast
from tests.exceptions.conftest import Request, actor, in_days

LIST = "/admin/exceptions/securityexception/"
SignIn = Callable[[str], Client]


@pytest.fixture
def as_(cast: Cast) -> SignIn:
    def client(name: str) -> Client:
        found = Client()
        assert found.login(email=getattr(cast, name).email, password=PASSWORD)
        return found

    return client


def parts(client: Client) -> dict[str, list[str]]:
    """The first page: numbers by the part that they stand in."""
    answer = client.get("/admin/")
    assert answer.status_code == 200
    cut = re.split(r'<section class="pt-card" aria-labelledby="(\w+)">', answer.content.decode())[1:]
    return {name: re.findall(r">(EXC-\d{4})</a>", text) for name, text in zip(cut[::2], cut[1::2], strict=True)}


def test_it_shows_each_what_is_due_and_what_waits_for_them(
    cast: Cast, as_: SignIn, request_one: Request, approved: Request, django_assert_max_num_queries: Any
) -> None:
    assert "The register is empty" in as_("lea").get("/admin/").content.decode()
    assert "Requests and renewals of others come here" in as_("lea").get("/admin/").content.decode()
    tonight = datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=0)
    (
        approved(expires_at=tonight, owner="max@example.com"),
        approved(expires_at=tonight + timedelta(days=7)),
        approved(expires_at=in_days(9)),
    )
    request_one(), request_one(by=cast.lea), request_one(systems=["billing"])
    found = parts(as_("lea"))
    assert found == {
        "overdue": [],
        "today": ["EXC-0001"],
        "week": ["EXC-0002"],
        "waiting": ["EXC-0004", "EXC-0006"],
        "claims": [],
        "mine": ["EXC-0005"],
        "reviews": [],
    }
    alice = parts(as_("alice"))
    assert "waiting" not in alice
    assert alice["mine"][0] == "EXC-0001"
    assert parts(as_("charlie"))["today"] == []  # another team's
    assert "EXC-0001" not in as_("charlie").get("/admin/").content.decode()
    assert as_("ada").get("/admin/").status_code == 302  # auditors see packs
    lea = as_("lea")
    with django_assert_max_num_queries(25):
        lea.get("/admin/")


def test_it_keeps_views_for_their_person_alone(cast: Cast, as_: SignIn) -> None:
    lea, bob = as_("lea"), as_("bob")
    kept = {"name": "My <b> week", "query": "p=3&state=due&severity__exact=high&q="}
    page = lea.post(LIST + "views/", kept, follow=True)
    assert page.redirect_chain == [(f"{LIST}?severity__exact=high&state=due", 302)]
    assert "My &lt;b&gt; week" in page.content.decode()
    assert "My &lt;b&gt; week" not in bob.get(LIST).content.decode()
    found = SavedView.objects.get()
    for refused in ("", "p=1", "requester=u_1", "q=" + "x" * 200, "q=a&q=b", "state=due&" * 30 + "q=a", "x" * 600):
        lea.post(LIST + "views/", {"name": "No", "query": refused})
    lea.post(LIST + "views/", {"name": "", "query": "state=due"})
    assert list(SavedView.objects.all()) == [found]
    lea.post(LIST + "views/", kept | {"query": "mine=yes"})
    found.refresh_from_db()
    assert found.query == "mine=yes"
    remove = f"{LIST}views/{found.pk}/remove/"
    assert bob.post(remove).status_code == 404
    assert as_("ada").post(LIST + "views/", kept).status_code == 403
    assert "Only the shortcut goes" in lea.get(remove).content.decode()
    assert SavedView.objects.exists()
    lea.post(remove)
    assert not SavedView.objects.exists()


def test_it_keeps_no_more_views_than_it_says(cast: Cast, as_: SignIn) -> None:
    lea = as_("lea")
    SavedView.objects.bulk_create(
        SavedView(person=cast.lea.uid, name=f"{n}", query="mine=yes") for n in range(SavedView.MOST)
    )
    answer = lea.post(LIST + "views/", {"name": "More", "query": "mine=yes"}, follow=True)
    assert "remove one first" in answer.content.decode()
    assert SavedView.objects.count() == SavedView.MOST


def test_it_says_everything_about_one(cast: Cast, as_: SignIn, approved: Request) -> None:
    controls = [{"title": "Traffic is mirrored", "evidence": "#3"}]
    found = approved(
        owner="max@example.com",
        requirements=["sca-scan", "no-such-thing", "manifest"],
        expires_at=in_days(40),
        compensating_controls=controls,
        systems=["netlify-trading"],
    )
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(80), reason="Vendor")
    page = as_("bob").get(f"{LIST}{found.pk}/change/").content.decode()
    for said in (
        "No dependency has a critical finding",
        "The gate of this system has no requirement of this name.",
        "The policy lets nothing waive this one.",
        "No release of these systems is open",
        f"{in_days(10):%-d %b %Y}, 00:00 UTC",  # the next reminder, thirty days before
        terms_digest(found),
        '/admin/evidence/record/3/change/">record #3</a>',
        "0 of 1 approvals",
        "Bob, as approver",
        "Approve renewal",
    ):
        assert said in page, said
    for index in found.transitions.values_list("index", flat=True):
        assert f"/admin/evidence/record/{index}/change/" in page
        receipt = as_("bob").get(f"/admin/evidence/record/{index}/receipt/")
        assert receipt.json()["index"] == index
    assert "other than requester and owner" in as_("alice").get(f"{LIST}{found.pk}/change/").content.decode()
    assert as_("charlie").get(f"{LIST}{found.pk}/change/").status_code == 404


def test_it_shows_how_one_ended(cast: Cast, as_: SignIn, approved: Request) -> None:
    lea, severe, other = as_("lea"), approved(severity="high"), approved()
    refused = lea.post(f"{LIST}{severe.pk}/remediate/", {"reason": "Upgraded", "evidence": ""}).content.decode()
    assert "name the records that show it was put right" in refused
    assert (
        "as #12, #15" in lea.post(f"{LIST}{severe.pk}/remediate/", {"reason": "Up", "evidence": "x"}).content.decode()
    )
    page = lea.post(f"{LIST}{severe.pk}/remediate/", {"reason": "Upgraded", "evidence": "#3, 4"}, follow=True)
    assert '/admin/evidence/record/4/change/">record #4</a>' in page.content.decode()
    instead = approved()
    page = lea.post(f"{LIST}{other.pk}/supersede/", {"reason": "Wider", "by": instead.pk}, follow=True)
    assert f'{instead.pk}/change/">{instead.pk}</a>' in page.content.decode()


def test_it_approves_what_was_seen_and_nothing_else(cast: Cast, as_: SignIn, request_one: Request) -> None:
    bob, found, other = as_("bob"), request_one(), request_one()

    def seen(path: str) -> str:
        match = re.search(
            r'data-terms="(sha256:\w+)"|name="terms" value="(sha256:\w+)"', bob.get(path).content.decode()
        )
        assert match is not None
        return match[1] or match[2]

    looked = seen(f"{LIST}?q={found.pk}")
    assert seen(f"{LIST}{found.pk}/approve/") == looked
    ask = {"action": "approve_selected", "_selected_action": [found.pk, other.pk]}
    page = bob.post(LIST, ask).content.decode()
    shown = unescape(re.findall(r'name="seen" value="([^"]+)"', page)[0])
    change = {"title": "Old TLS, and no TLS at all"}
    lifecycle.amend(actor=actor(cast.lea), exception=found.pk, reason="Wider", changes=change)
    refused = bob.post(f"{LIST}{found.pk}/approve/", {"reason": "Seen", "terms": looked}).content.decode()
    assert "changed since you looked at it" in refused
    results = bob.post(LIST, ask | {"confirmed": "True", "reason": "Seen", "seen": shown}).content.decode()
    assert "Approve: 1 of 2 done" in results
    assert "changed since you looked at it" in results
    found.refresh_from_db()
    assert found.decision == "requested"
    assert seen(f"{LIST}{found.pk}/approve/") != looked


def test_it_keeps_every_page_within_reach(cast: Cast, as_: SignIn, request_one: Request, approved: Request) -> None:
    """An engineer of another team finds nothing of it, on no page, and does nothing to it."""
    waits, holds = request_one(owner="max@example.com"), approved(owner="max@example.com")
    own = request_one(by=cast.charlie, owner="max@example.com", systems=["billing"])
    charlie, size = as_("charlie"), reader.size()
    for found in (waits, holds):
        pages = ["change", *(verb.name for verb in VERBS)]
        assert {charlie.get(f"{LIST}{found.pk}/{page}/").status_code for page in pages} == {404}
        assert charlie.post(f"{LIST}{found.pk}/withdraw/", {"reason": "Mine now"}).status_code == 404
        for name in ("renew", "remediate", "withdraw"):
            sent = {"action": f"{name}_selected", "_selected_action": [found.pk], "confirmed": "True", "reason": "No"}
            page = charlie.post(LIST, sent | {"expires_at": str(in_days(30).date())}).content.decode()
            assert found.title not in page
    assert reader.size() == size
    for query in ("", "?q=tls", f"?q={waits.pk}", "?system=netlify-trading", "?mine=yes", "?waiting=me", "?p=2"):
        page = charlie.get(LIST + query).content.decode()
        assert not {waits.pk, holds.pk} & set(re.findall(r"/(EXC-\d{4})/change/", page)), query
    assert parts(charlie)["mine"] == [own.pk]
    assert charlie.get(f"{LIST}{own.pk}/withdraw/").status_code == 200
    page = charlie.get(f"{LIST}{own.pk}/change/").content.decode()
    assert "netlify-trading" not in page
    assert "/approve/" not in page
    for name in ("ada", "cora"):  # who sees no exceptions, and who only looks
        code = {"ada": 403, "cora": 200}[name]
        assert as_(name).get(f"{LIST}{own.pk}/change/").status_code == code
        assert as_(name).get(LIST).status_code == code
        assert as_(name).get(LIST + "add/").status_code == 403


def test_it_leads_back_to_the_list_and_nowhere_else(cast: Cast, as_: SignIn, request_one: Request) -> None:
    lea = as_("lea")
    for number, (back, target) in enumerate(
        [
            (f"{LIST}?state=requested", f"{LIST}?state=requested"),
            ("/admin/", "/admin/"),
            ("https://elsewhere.example/admin/", f"{LIST}EXC-0003/change/"),
            ("//elsewhere.example/admin/", f"{LIST}EXC-0004/change/"),
            ("/admin/logout/", f"{LIST}EXC-0005/change/"),
        ],
        start=1,
    ):
        assert request_one().pk == f"EXC-000{number}"
        size = reader.size()
        answer = lea.post(f"{LIST}EXC-000{number}/approve/?back={back.replace('?', '%3F')}", {"reason": "Seen"})
        assert (answer.status_code, answer.headers["Location"]) == (302, target)
        assert reader.size() == size + 1
