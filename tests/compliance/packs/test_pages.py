"""Packs over HTTP and in the admin: who may ask, look and download, and what is recorded of it."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from django.test import Client

from compliance.models import Pack
from compliance.packs import worker
from compliance.packs.requests import quarter_of
from evidence.api.actors import actor_for
from evidence.models import Record, User
from evidence.people import issue_token, save_system
from tests.cast import Cast
from tests.compliance.conftest import Story, actor

if TYPE_CHECKING:
    pass

PERIOD = {"from": "2026-10-01", "to": "2026-12-31"}
pytestmark = pytest.mark.usefixtures("s3")


@pytest.fixture
def as_(cast: Cast) -> Callable[[str], Client]:
    """A browser signed in as one of the cast."""

    def sign_in(name: str) -> Client:
        client = Client()
        client.force_login(getattr(cast, name))
        return client

    return sign_in


class Api:
    """HTTP calls with a person's token, or a pipeline's."""

    def __init__(self, token: str) -> None:
        self._headers = {"Authorization": f"Bearer {token}"}

    @classmethod
    def of(cls, user: User) -> "Api":
        return cls(issue_token(user, actor=actor_for(user), label="test", scopes=["person"], days=1).text)

    def post(self, path: str, data: Any = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = "" if data is None else json.dumps(data)
        return Client().post(f"/api/v1/{path}", body, content_type="application/json", headers=self._headers | named)

    def get(self, path: str) -> Any:
        return Client().get(f"/api/v1/{path}", headers=self._headers)


# -- HTTP --------------------------------------------------------------------------------------------------------------


def test_it_goes_from_a_request_to_a_download(cast: Cast, played: Story) -> None:
    ada = Api.of(cast.ada)
    answer = ada.post("packs", PERIOD)
    assert answer.status_code == 202
    pack = answer.json()["pack"]
    assert (pack["state"], pack["progress"], pack["systems"]) == ("requested", 0, ["billing", "netlify-trading"])
    assert (pack["from"], pack["to"]) == ("2026-10-01T00:00:00Z", "2027-01-01T00:00:00Z")
    assert ada.post(f"packs/{pack['id']}/download").json()["code"] == "pack_not_ready"
    worker.build_waiting()
    found = ada.get(f"packs/{pack['id']}").json()
    assert (found["state"], found["progress"], found["error"]) == ("ready", 100, None)
    assert found["locked_until"].startswith(str(datetime.now(UTC).year + 7))
    link = ada.post(f"packs/{pack['id']}/download").json()
    with urlopen(link["url"]) as response:  # noqa: S310  (the store's own address)
        assert hashlib.sha256(response.read()).hexdigest() == link["sha256"] == found["sha256"]
        assert response.headers["Content-Disposition"] == f'attachment; filename="pack-{pack["id"]}.zip"'
    downloaded = Record.objects.get(kind="access.pack_downloaded")
    assert (downloaded.principal, downloaded.facts) == (cast.ada.uid, {"pack": pack["id"]})
    assert ada.get("packs").json()["results"][0]["id"] == pack["id"]


def test_it_asks_once_for_one_idempotency_key(cast: Cast) -> None:
    ada = Api.of(cast.ada)
    first = ada.post("packs", PERIOD, Idempotency_Key="k")
    again = ada.post("packs", PERIOD, Idempotency_Key="k")
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["receipt"] == again.json()["receipt"]
    assert Pack.objects.count() == 1


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        ({"from": "2026-02-30", "to": "2026-03-31"}, 422, "date_invalid"),
        ({"from": "2026-10-01T00:00:00", "to": "2026-12-31"}, 422, "time_invalid"),
        ({"from": "2026-10-02", "to": "2026-10-01"}, 422, "period_invalid"),
        ({"from": "2999-01-01", "to": "2999-03-31"}, 422, "period_invalid"),
        (PERIOD | {"systems": ["nothing"]}, 404, "system_unknown"),
        ({"from": "2026-10-01"}, 422, "invalid"),
    ],
)
def test_it_refuses_bad_requests_and_writes_nothing(cast: Cast, data: Any, status: int, code: str) -> None:
    answer = Api.of(cast.ada).post("packs", data)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Pack.objects.exists()


@pytest.mark.parametrize("name", ["alice", "bob", "cora", "max"])
def test_it_is_closed_to_other_roles(cast: Cast, name: str) -> None:
    pack_id = Api.of(cast.ada).post("packs", PERIOD).json()["pack"]["id"]
    api = Api.of(getattr(cast, name))
    assert api.post("packs", PERIOD).status_code == 403
    assert api.get(f"packs/{pack_id}").status_code == 403
    assert api.post(f"packs/{pack_id}/download").status_code == 403


def test_it_is_closed_to_pipelines_and_strangers(cast: Cast) -> None:
    assert Api(cast.ci_token).post("packs", PERIOD).status_code == 403
    assert Client().post("/api/v1/packs", json.dumps(PERIOD), content_type="application/json").status_code == 401
    assert Api.of(cast.ada).get("packs/none").json()["code"] == "pack_unknown"


def test_it_leaves_sandboxes_out_unless_named(cast: Cast) -> None:
    save_system(actor=actor(cast.root), name="billing", sandbox=True, system=cast.billing)
    ada = Api.of(cast.ada)
    assert ada.post("packs", PERIOD).json()["pack"]["systems"] == ["netlify-trading"]
    assert ada.post("packs", PERIOD | {"systems": ["billing"]}).json()["pack"]["systems"] == ["billing"]


def test_it_has_failed_packs_built_again(cast: Cast, played: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    lea = Api.of(cast.lea)
    pack_id = lea.post("packs", PERIOD).json()["pack"]["id"]
    with monkeypatch.context() as patched:
        patched.setattr(worker, "MOST_ATTEMPTS", 1)
        patched.setattr("evidence.storage.client", lambda: (_ for _ in ()).throw(OSError("disk full")))
        worker.build_waiting()
    failed = lea.get(f"packs/{pack_id}").json()
    assert (failed["state"], failed["error"]) == ("failed", "disk full")
    assert lea.post(f"packs/{pack_id}/retry").json()["pack"]["state"] == "requested"
    worker.build_waiting()
    assert lea.get(f"packs/{pack_id}").json()["state"] == "ready"


# -- the admin ---------------------------------------------------------------------------------------------------------


def test_it_leads_an_auditor_from_an_empty_list_to_a_download(
    cast: Cast, played: Story, as_: Callable[[str], Client]
) -> None:
    ada = as_("ada")
    empty = ada.get("/admin/compliance/pack/").content.decode()
    assert "No evidence pack yet" in empty
    assert "/admin/compliance/pack/add/" in empty
    form = ada.get("/admin/compliance/pack/add/")
    assert "Request a pack" in form.content.decode()
    once = form.context["form"]["once"].value()
    asked: Any = ada.post("/admin/compliance/pack/add/", {"once": once, "period": "this"})
    again: Any = ada.post("/admin/compliance/pack/add/", {"once": once, "period": "this"})
    assert again.url == asked.url  # an impatient click
    pack = Pack.objects.get()
    assert asked.url == f"/admin/compliance/pack/{pack.pk}/change/"
    assert "Waiting for a worker" in ada.get(asked.url).content.decode()
    worker.build_waiting()
    page = ada.get(asked.url).content.decode()
    assert "Download" in page
    assert "Verified and locked" in page
    assert ada.get(f"/admin/compliance/pack/{pack.pk}/download/").status_code == 405
    response: Any = ada.post(f"/admin/compliance/pack/{pack.pk}/download/")
    with urlopen(response.url) as answer:  # noqa: S310  (the store's own address)
        assert answer.status == 200
    assert "Downloaded" in ada.get(asked.url).content.decode()
    assert pack.filename in ada.get("/admin/compliance/pack/").content.decode()


def test_it_asks_for_other_dates_and_says_what_is_wrong(cast: Cast, as_: Callable[[str], Client]) -> None:
    lea = as_("lea")
    once = "00000000-0000-4000-8000-000000000000"
    sent = {"once": once, "period": "custom", "first_day": "2026-10-05", "systems": ["billing"]}
    assert "Other dates need both ends" in lea.post("/admin/compliance/pack/add/", sent).content.decode()
    backwards = lea.post("/admin/compliance/pack/add/", sent | {"last_day": "2026-10-01"}).content.decode()
    assert "ends before it begins" in backwards
    assert lea.post("/admin/compliance/pack/add/", sent | {"last_day": "2026-10-05"}).status_code == 302
    pack = Pack.objects.get()
    assert (pack.period_to - pack.period_from, pack.systems) == (timedelta(days=1), [cast.billing.pk])


@pytest.mark.parametrize("name", ["alice", "bob", "max"])
def test_it_keeps_others_out_of_the_pages(cast: Cast, as_: Callable[[str], Client], name: str) -> None:
    assert as_(name).get("/admin/compliance/pack/").status_code == 403
    assert as_(name).get("/admin/compliance/pack/add/").status_code == 403


def test_it_asks_the_same_few_questions_for_any_number_of_packs(
    cast: Cast, as_: Callable[[str], Client], django_assert_max_num_queries: Any
) -> None:
    ada = Api.of(cast.ada)
    for _ in range(8):
        ada.post("packs", PERIOD)
    browser = as_("ada")
    with django_assert_max_num_queries(12):
        browser.get("/admin/compliance/pack/")
    with django_assert_max_num_queries(8):
        ada.get("packs")


def test_it_knows_the_quarters() -> None:
    assert quarter_of(date(2026, 11, 22)) == (datetime(2026, 10, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert quarter_of(date(2026, 1, 1)) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    assert quarter_of(date(2026, 9, 30)) == (datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
