"""The register in the admin, through Django's test client."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from evidence.ledger import reader
from evidence.models import User
from exceptions.models import Risk, RiskImport
from tests.cast import PASSWORD, Cast
from tests.exceptions.conftest import Request
from tests.exceptions.risks.conftest import AddRisk

BASE = "/admin/exceptions/risk/"
SignIn = Callable[[User], Client]


@pytest.fixture
def sign_in(cast: Cast) -> SignIn:
    def client(user: User) -> Client:
        found = Client()
        assert found.login(email=user.email, password=PASSWORD)
        return found

    return client


def text_of(answer: Any) -> str:
    """What a reader of the page reads."""
    shown = re.sub(r"<(script|style).*?</\1>|<[^>]+>", " ", answer.content.decode(), flags=re.DOTALL)
    return " ".join(unescape(shown).split())


def send(client: Client, url: str, **fields: Any) -> Any:
    """Fill in the form that the page shows."""
    page = client.get(url).content.decode()
    once = dict(re.findall(r'<input type="hidden" name="(once)" value="([^"]+)"', page))
    return client.post(url, once | fields, follow=True)


def test_it_keeps_a_risk_through_its_forms(cast: Cast, sign_in: SignIn, request_one: Request) -> None:
    lea, exception = sign_in(cast.lea), request_one().pk
    fields = {
        "title": "Partner gateway falls behind", "reference": "GRC-4", "description": "", "cause": "Old TLS",
        "consequence": "Orders wait", "likelihood": 4, "impact": 5, "residual_likelihood": "", "residual_impact": "",
        "mitigation": "Mirror\r\ntraffic", "contingency": "Switch off", "status": "open", "answerable": cast.max.pk,
        "covered": [cast.trading.pk], "exceptions": exception, "incidents": "", "controls": ["exception-reminded"],
        "items": "Mirror | bob@example.com | open | 2020-01-01",
    }  # fmt: skip
    assert "Select a valid choice" in text_of(send(lea, BASE + "add/", **fields | {"impact": 6}))
    assert "its state is none of" in text_of(send(lea, BASE + "add/", **fields | {"items": "a | b | c"}))
    assert "no active person" in text_of(send(lea, BASE + "add/", **fields | {"items": "a | b@example.com"}))
    assert not Risk.objects.exists()
    page = text_of(send(lea, BASE + "add/", **fields, review_by=""))
    risk = Risk.objects.get()
    for said in (
        "RISK-0001 · Partner gateway",
        "20 critical",
        "likelihood 4 likely",
        "Old TLS",
        f"{exception} Old TLS",
    ):
        assert said in page
    for said in ("2020-01-01 overdue", "not judged yet", "Owners are reminded before", "GRC-4", f"{risk.review_by}"):
        assert said in page
    named = text_of(lea.get(f"/admin/exceptions/securityexception/{exception}/change/"))
    assert "RISK-0001 Partner gateway falls behind 20 critical" in named
    _changes(lea, fields)
    review = send(lea, BASE + "RISK-0001/review/", reason="The mirror works", review_by="")
    assert "Risk reviewed" in text_of(review)
    assert "The mirror works" in text_of(review)
    assert "1 action item is still open" in text_of(lea.get(BASE + "RISK-0001/close/"))
    closed = send(lea, BASE + "RISK-0001/close/", reason="Partner is gone")
    assert "Partner is gone" in text_of(closed)
    assert lea.get(BASE + "RISK-0001/edit/").status_code == 403


def _changes(lea: Client, fields: dict[str, Any]) -> None:
    edit = BASE + "RISK-0001/edit/"
    size = reader.size()
    assert "Nothing here differs" in text_of(send(lea, edit, **fields, reason="As it was"))
    assert reader.size() == size
    judged = {"residual_likelihood": 2, "residual_impact": 3, "controls": [], "reason": "Mirroring runs"}
    page = text_of(send(lea, edit, **fields | judged))
    body = reader.get(Risk.objects.get().last_index).recorded.body
    assert body["changes"] == {"residual_likelihood": 2, "residual_impact": 3, "links": {"controls": []}}
    assert "6 medium" in page


def test_the_list_shows_where_risks_stand(
    cast: Cast, sign_in: SignIn, add_risk: AddRisk, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    lea = sign_in(cast.lea)
    assert "No risk in the register" in text_of(lea.get(BASE))
    judged = add_risk(likelihood=5, impact=5, residual_likelihood=4, residual_impact=3, title="Judged")
    add_risk(title="Old", owner="max@example.com")
    for number in range(8):
        add_risk(title=f"More {number}", likelihood=1, impact=1)
    late = Risk.objects.get(title="Old")
    Risk.objects.filter(pk=late.pk).update(review_by=datetime.now(UTC).date() - timedelta(days=3))
    with django_assert_max_num_queries(20):
        answer = lea.get(BASE)
    page = text_of(answer)
    for said in ("12 high", "25 critical", "3 days overdue", "1 review overdue", "10 open risks", "critical from 15"):
        assert said in page, said
    assert page.index("Judged") < page.index("Old") < page.index("More 7")
    cells = re.findall(r'<a href="\?cell=(\dx\d)"><b>(\d+)</b>', answer.content.decode())
    assert cells == [("4x3", "1"), ("2x5", "1"), ("1x1", "8")]
    narrowed = {"cell=4x3": "Judged", "level=high&owner=me": "nothing", "review=overdue": "Old", "q=judged": "Judged"}
    for query, title in narrowed.items():
        found = text_of(lea.get(f"{BASE}?{query}"))
        assert ("Nothing matches" if title == "nothing" else title) in found, query
        assert "More 3" not in found
    assert "Nothing matches" in text_of(lea.get(f"{BASE}?cell=9x9"))
    desk = text_of(lea.get("/admin/"))
    assert f"Reviews of risks 1 {late.pk} Old 10 high · Max 3 days overdue" in desk
    exported = lea.get(f"{BASE}export/csv/?cell=4x3")
    assert judged.pk in exported.content.decode()
    assert late.pk not in exported.content.decode()
    late.save()  # the ledger is compared with the tables


def test_a_file_is_looked_at_understood_and_brought_in(cast: Cast, sign_in: SignIn) -> None:
    lea = sign_in(cast.lea)

    def upload(content: bytes) -> Any:
        return lea.post(BASE + "import/", {"file": SimpleUploadedFile("log.csv", content)}, follow=True)

    assert "No sheet has a heading" in text_of(upload(b"a,b\r\n1,2"))
    page = upload(b"Risk,Likelihood,Impact,Mitigation Owner\r\nVendor anomalies,likely,4,Engineering Lead")
    assert "log!D2 “Engineering Lead”: Nobody here has that mail address" in text_of(page)
    first = page.redirect_chain[-1][0]
    said = {"verb": "remap", "words_owner": "Engineering Lead = alice@example.com", "column_title": "Risk"}
    said |= {"column_likelihood": "Likelihood", "column_impact": "Impact", "column_owner": "Mitigation Owner"}
    again = lea.post(first, said, follow=True)
    assert "Import 1 row" in text_of(again), text_of(again)
    assert not Risk.objects.exists()
    done = lea.post(again.redirect_chain[-1][0], {"verb": "record"}, follow=True)
    assert "log.csv is imported." in text_of(done)
    assert (Risk.objects.get().owner, RiskImport.objects.filter(state="done").count()) == (cast.alice.uid, 1)
    exported = lea.get(f"{BASE}export/xlsx/").content
    assert "The register says all of this already." in text_of(upload(exported))


def test_each_page_is_for_whom_it_is_for(cast: Cast, sign_in: SignIn, add_risk: AddRisk) -> None:
    whole, own = add_risk(), add_risk(systems=["netlify-trading"], owner="max@example.com")
    charlie, bob, ada, max_ = (sign_in(user) for user in (cast.charlie, cast.bob, cast.ada, cast.max))
    assert charlie.get(f"{BASE}{own.pk}/change/").status_code == 404
    assert own.title not in text_of(charlie.get(f"{BASE}?q={own.pk}"))
    assert own.pk not in charlie.get(f"{BASE}export/json/").content.decode()
    for client in (charlie, bob):
        assert client.get(f"{BASE}{whole.pk}/change/").status_code == 200
        assert {client.get(f"{BASE}{whole.pk}/{verb}/").status_code for verb in ("edit", "review", "close")} == {403}
        assert client.get(f"{BASE}import/").status_code == 403
    assert max_.get(f"{BASE}{own.pk}/review/").status_code == 200  # its owner
    assert {ada.get(f"{BASE}{page}").status_code for page in ("", "export/csv/", f"{own.pk}/change/")} == {403}
