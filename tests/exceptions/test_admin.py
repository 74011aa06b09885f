"""The register in the admin, through Django's test client."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from unittest.mock import patch

import pytest
from django.test import Client

from evidence.ledger import reader
from evidence.models import User
from exceptions.admin import bulk
from exceptions.models import SecurityException
from tests.cast import PASSWORD, Cast
from tests.exceptions.conftest import Request, in_days

BASE = "/admin/exceptions/securityexception/"


@pytest.fixture
def sign_in(cast: Cast) -> Callable[[User], Client]:
    def client(user: User) -> Client:
        found = Client()
        assert found.login(email=user.email, password=PASSWORD)
        return found

    return client


@pytest.fixture
def lea(cast: Cast, sign_in: Callable[[User], Client]) -> Client:
    return sign_in(cast.lea)


def form_of(client: Client, url: str) -> dict[str, Any]:
    """The hidden fields of the form that the page shows."""
    page = client.get(url).content.decode()
    return dict(re.findall(r'<input type="hidden" name="(once)" value="([^"]+)"', page))


def send(client: Client, url: str, **fields: Any) -> Any:
    return client.post(url, form_of(client, url) | fields, follow=True)


def requested_through(client: Client, cast: Cast, **changes: Any) -> Any:
    fields = {
        "title": "Old TLS on the partner gateway",
        "justification": "The partner upgrades in spring.",
        "severity": "medium",
        "covered": [cast.trading.pk],
        "answerable": cast.charlie.pk,
        "waived": "dependency-alerts\nuptime",
        "control_lines": "Traffic is mirrored | https://wiki.example/tls\nManual review",
        "starts": "",
        "until": str(in_days(6).date()),
        **changes,
    }
    return client.post(BASE + "add/", fields, follow=True)


def test_it_requests_an_exception_through_the_form(cast: Cast, sign_in: Callable[[User], Client]) -> None:
    answer = requested_through(sign_in(cast.alice), cast)
    assert answer.redirect_chain == [(BASE + "EXC-0001/change/", 302)], answer.content.decode()[-3000:]
    found = SecurityException.objects.get()
    assert (found.requester, found.owner, found.systems) == (cast.alice.uid, cast.charlie.uid, [cast.trading.id])
    assert found.requirements == ["dependency-alerts", "uptime"]
    assert found.compensating_controls == [
        {"title": "Traffic is mirrored", "evidence": "https://wiki.example/tls"},
        {"title": "Manual review"},
    ]
    day = in_days(6).date()
    assert found.expires_at == datetime(day.year, day.month, day.day, 23, 59, 59, tzinfo=UTC)


def test_it_offers_each_their_own_systems(cast: Cast, sign_in: Callable[[User], Client]) -> None:
    def offered(user: User) -> list[str]:
        page = sign_in(user).get(BASE + "add/").content.decode()
        return re.findall(r'name="covered" value="([^"]+)"', page)

    assert offered(cast.charlie) == [cast.billing.pk]
    assert sorted(offered(cast.alice)) == sorted([cast.billing.pk, cast.trading.pk])  # whoever was there before


def test_it_takes_an_impatient_second_click_for_the_same_request(cast: Cast, sign_in: Callable[[User], Client]) -> None:
    alice = sign_in(cast.alice)
    once = form_of(alice, BASE + "add/")
    first, second = (requested_through(alice, cast, **once) for _ in range(2))
    assert first.redirect_chain == second.redirect_chain == [(BASE + "EXC-0001/change/", 302)]
    assert SecurityException.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"until": "2027-02-30"}, "no date of the calendar"),
        ({"until": "2020-01-01"}, "The expiry lies in the past."),
        ({"until": "2027-02-01T10:00:00"}, "with offset"),
        ({"until": str(in_days(400).date())}, "A medium exception may last 180 days"),
        ({"waived": "no name"}, "does not fit kind exception.requested"),
        ({"title": ""}, "This field is required."),
        ({"covered": []}, "This field is required."),
    ],
)
def test_it_shows_what_is_wrong_on_the_form(cast: Cast, lea: Client, changes: dict[str, Any], message: str) -> None:
    size = reader.size()
    answer = requested_through(lea, cast, **changes)
    assert answer.status_code == 200
    assert message in answer.content.decode()
    assert reader.size() == size


def test_it_approves_after_a_confirmation_and_a_look_changes_nothing(
    cast: Cast, lea: Client, request_one: Request
) -> None:
    found = request_one()
    size = reader.size()
    for verb in ("approve", "reject", "renew", "approve_renewal", "refuse_renewal", "remediate", "revoke", "withdraw"):
        assert lea.get(f"{BASE}{found.pk}/{verb}/").status_code == 200
    assert reader.size() == size
    answer = send(lea, f"{BASE}{found.pk}/approve/", reason="Seen the plan")
    page = answer.content.decode()
    assert "Exception approved" in page
    assert "Seen the plan" in page
    assert found.transitions.order_by("-index")[0].by == cast.lea.uid


def test_it_shows_self_approval_as_an_error_and_changes_nothing(cast: Cast, lea: Client, request_one: Request) -> None:
    found = request_one(by=cast.lea)
    answer = send(lea, f"{BASE}{found.pk}/approve/", reason="")
    assert "somebody else has to decide" in answer.content.decode()
    kinds = found.transitions.values_list("kind", flat=True)
    assert list(kinds) == ["exception.requested", "exception.self_approval_refused"]


def test_it_amends_what_differs_and_has_it_approved_again(
    cast: Cast, lea: Client, sign_in: Callable[[User], Client], approved: Request
) -> None:
    control = {"title": "Mirrored", "evidence": "https://wiki.example/tls"}
    found = approved(compensating_controls=[control], releases=["netlify-trading:release-7"])
    page = sign_in(cast.alice).get(f"{BASE}{found.pk}/amend/").content.decode()
    for shown in (found.title, "dependency-alerts", "netlify-trading:release-7", "Mirrored | https://wiki.example/tls"):
        assert shown in page
    form = {
        "title": found.title,
        "justification": found.justification,
        "severity": found.severity,
        "covered": [cast.trading.pk],
        "answerable": User.objects.get(uid=found.owner).pk,
        "waived": "dependency-alerts",
        "named_releases": "netlify-trading:release-7",
        "control_lines": "Mirrored | https://wiki.example/tls",
        "reason": "Wider than thought",
    }
    size = reader.size()
    nothing = send(lea, f"{BASE}{found.pk}/amend/", **form)
    assert "An amendment changes some of" in nothing.content.decode()
    assert reader.size() == size
    send(lea, f"{BASE}{found.pk}/amend/", **form | {"waived": "dependency-alerts\nuptime", "title": "Older TLS"})
    amended = reader.get(found.transitions.get(kind="exception.amended").index).recorded.body
    assert amended["changes"] == {"title": "Older TLS", "requirements": ["dependency-alerts", "uptime"]}
    found.refresh_from_db()
    assert found.decision == "requested"


def test_it_writes_once_when_a_button_is_clicked_twice(cast: Cast, lea: Client, approved: Request) -> None:
    found = approved()
    url = f"{BASE}{found.pk}/remediate/"
    fields = form_of(lea, url) | {"reason": "Upgraded"}
    lea.post(url, fields), lea.post(url, fields)
    assert found.transitions.filter(kind="exception.remediated").count() == 1


def test_it_takes_a_form_sent_without_the_key_of_its_page(cast: Cast, lea: Client, request_one: Request) -> None:
    found = request_one()
    lea.post(f"{BASE}{found.pk}/approve/", {"reason": "Seen"})
    found.refresh_from_db()
    assert found.decision == "approved"


def test_it_renews_in_two_steps_by_two_people(
    cast: Cast, lea: Client, sign_in: Callable[[User], Client], approved: Request
) -> None:
    found = approved()
    day = in_days(40).date()
    send(lea, f"{BASE}{found.pk}/renew/", reason="More time", expires_at=str(day))
    page = send(lea, f"{BASE}{found.pk}/approve_renewal/", reason="").content.decode()
    assert "somebody else has to decide" in page
    send(sign_in(cast.bob), f"{BASE}{found.pk}/approve_renewal/", reason="Fine")
    found.refresh_from_db()
    assert found.expires_at.date() == day
    assert "Originally" in lea.get(f"{BASE}{found.pk}/change/").content.decode()


def test_it_says_on_asking_and_on_the_page_that_an_executive_has_to_approve(
    cast: Cast, lea: Client, sign_in: Callable[[User], Client]
) -> None:
    why = "asks for 200 days: beyond 180 a medium one needs an executive among the approvers."
    page = requested_through(sign_in(cast.alice), cast, until=str(in_days(200).date())).content.decode()
    assert page.count(f"EXC-0001 {why}") == 2, "as a message, and on the page"
    page = lea.get(f"{BASE}EXC-0001/change/").content.decode()
    assert f"EXC-0001 {why}" in page
    assert f"{BASE}EXC-0001/approve/" not in page
    ask = {"action": "approve_selected", "_selected_action": ["EXC-0001"]}
    assert f"EXC-0001 {why}" in lea.post(BASE, ask).content.decode(), "several at once are told the same"
    page = send(sign_in(cast.max), f"{BASE}EXC-0001/approve/", reason="Until the partner moves").content.decode()
    assert "Exception approved" in page
    assert why not in page
    renew = {"reason": "Late", "expires_at": str(in_days(400).date())}
    assert "The renewal of EXC-0001 asks for 200 days" in send(lea, f"{BASE}EXC-0001/renew/", **renew).content.decode()


def test_it_decides_several_at_once_by_the_rules_of_each(cast: Cast, lea: Client, request_one: Request) -> None:
    own, other, third = request_one(by=cast.lea), request_one(), request_one()
    ask = {"action": "approve_selected", "_selected_action": [own.pk, other.pk, third.pk]}
    confirmation = lea.post(BASE, ask).content.decode()
    assert "Approve 2 exceptions" in confirmation
    assert "somebody else has to decide" in confirmation  # said before anything is sent
    assert re.findall(r'name="_selected_action" value="([^"]+)"', confirmation) == [other.pk, third.pk]
    assert SecurityException.objects.filter(decision="approved").count() == 0
    (once,) = re.findall(r'name="once" value="([^"]+)"', confirmation)
    sent = ask | {"confirmed": "True", "reason": "Quarterly review", "once": once}
    assert "This field is required" in lea.post(BASE, sent | {"reason": ""}).content.decode()
    for _ in range(2):  # the second is an impatient click
        results = lea.post(BASE, sent).content.decode()
        assert "Approve: 2 of 3 done" in results
        assert "somebody else has to decide" in results
        assert results.count("record #") == 2
    assert own.transitions.latest("index").kind == "exception.self_approval_refused"
    assert other.transitions.filter(kind="exception.approved").count() == 1
    day = {"reason": "Until the upgrade", "expires_at": str(in_days(60).date())}
    renew = {"action": "renew_selected", "_selected_action": [own.pk, other.pk], "confirmed": "True", **day}
    assert "Renew: 1 of 2 done" in lea.post(BASE, renew).content.decode()
    other.refresh_from_db()
    assert other.renewal_pending


def test_it_offers_everybody_what_they_may_do(cast: Cast, sign_in: Callable[[User], Client], approved: Request) -> None:
    found = approved()
    page = sign_in(cast.alice).get(BASE).content.decode()
    assert 'value="renew_selected"' in page
    assert 'value="approve_selected"' not in page
    ask = {"action": "approve_selected", "_selected_action": [found.pk]}
    sign_in(cast.alice).post(BASE, ask | {"confirmed": "True", "reason": "Mine"})
    assert found.transitions.count() == 2


def test_it_takes_no_more_at_once_than_it_says(cast: Cast, lea: Client, request_one: Request) -> None:
    request_one(), request_one()
    ask = {"action": "reject_selected", "_selected_action": ["EXC-0001"], "select_across": "1"}
    with patch.object(bulk, "MOST", 1):
        answer = lea.post(BASE, ask, follow=True)
    assert "At most 1 at once" in answer.content.decode()


def test_it_filters_and_searches_the_list(cast: Cast, lea: Client, approved: Request, request_one: Request) -> None:
    approved(expires_at=in_days(6))
    approved(title="Missing DAST of order-form/v2", expires_at=in_days(170), requirements=["dast-scan"])
    request_one(systems=["billing"], severity="low")

    def found(query: str) -> list[str]:
        page = lea.get(BASE + query)
        assert page.status_code == 200
        return sorted(set(re.findall(r"/securityexception/(EXC-\d{4})/change/", page.content.decode())))

    assert found("") == ["EXC-0001", "EXC-0002", "EXC-0003"]
    assert found("?state=due") == ["EXC-0001"]
    assert found("?state=requested") == ["EXC-0003"]
    assert found("?state=expired") == []
    assert found("?severity__exact=medium") == ["EXC-0001", "EXC-0002"]
    assert found("?system=billing") == ["EXC-0003"]
    assert found(f"?owner={cast.charlie.uid}&mine=yes") == []
    assert found("?expires=week") == ["EXC-0001"]
    assert found("?waiting=me") == ["EXC-0003"]
    assert found("?renewals=more") == []
    assert found("?q=dast") == ["EXC-0002"]
    for words in ("order form", "V2", "dast-scan", "scan missing", "exc-2", "00002", "of/order"):
        assert found(f"?q={words}") == ["EXC-0002"], words
    assert found("?q=charl+tls") == ["EXC-0001", "EXC-0003"]
    assert found("?q=Netlify+dependency") == ["EXC-0001"]
    for words in ("EXC-9", "nothing", "'%3A*", "DAST+nothing", "a" * 3000):
        assert found(f"?q={words}") == [], words
    for unknown in ("?state=odd", "?system=odd", "?expires=odd", "?waiting=odd", "?mine=odd", "?renewals=odd"):
        assert found(unknown) == [], unknown
    page = lea.get(BASE + "?state=due").content.decode()
    assert "in 6 days" in page
    assert "expiring" in page


def test_it_says_what_to_do_first_when_there_is_nothing(lea: Client) -> None:
    page = lea.get(BASE).content.decode()
    assert "No exception here" in page
    assert "somebody else approves it" in page


def test_it_lists_in_a_fixed_number_of_queries(
    lea: Client, request_one: Request, django_assert_max_num_queries: Any
) -> None:
    for _ in range(3):
        request_one()
    with django_assert_max_num_queries(12):
        lea.get(BASE)


def test_it_opens_to_the_right_roles(cast: Cast, sign_in: Callable[[User], Client], request_one: Request) -> None:
    found = request_one()
    assert sign_in(cast.ada).get(BASE).status_code == 403
    assert sign_in(cast.ada).get(f"{BASE}{found.pk}/approve/").status_code == 403
    assert sign_in(cast.bob).get(BASE + "add/").status_code == 403
    assert sign_in(cast.charlie).get(f"{BASE}{found.pk}/change/").status_code == 200  # his own, wherever it is
    other = request_one(owner="max@example.com")
    assert sign_in(cast.charlie).get(f"{BASE}{other.pk}/change/").status_code == 404  # not his systems
    assert Client().get(BASE).status_code == 302
    page = sign_in(cast.cora).get(f"{BASE}{found.pk}/change/").content.decode()
    assert "/approve/" not in page
    assert "/delete/" not in page
