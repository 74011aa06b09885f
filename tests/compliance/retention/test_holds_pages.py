"""Holds over HTTP and in the admin: liaisons and administrators place and release them."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from evidence.ledger import Actor, append, service_draft
from evidence.ledger.check import check
from evidence.models import Hold, User
from evidence.models.people import SERVICE
from evidence.people import change_user
from tests.cast import Cast, assemble
from tests.conftest import Clone


@pytest.fixture
def cast(ledger: Clone) -> Iterator[Cast]:
    yield assemble()
    assert check() == []


def _client(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def index(cast: Cast) -> int:
    body = {"title": "a", "decision": "b", "rationale": "c"}
    return append(service_draft("decision", body, actor=Actor(SERVICE), systems=[cast.trading.id])).index


def _post(client: Client, path: str, body: dict[str, Any], **headers: str) -> Any:
    return client.post(f"/api/v1/{path}", body, content_type="application/json", headers=headers)


def test_a_hold_is_placed_listed_and_released_over_http(cast: Cast, index: int) -> None:
    lea = _client(cast.lea)
    placed = _post(lea, "holds", {"reason": "Matter 7", "record": index})
    assert placed.status_code == 201
    hold = placed.json()["hold"]
    assert (hold["record"], hold["standing"], hold["records"], hold["placed_by_person"]) == (index, True, 1, "Lea")
    assert placed.json()["receipt"]["index"] == hold["placed_by"]
    released = _post(lea, f"holds/{hold['id']}/release", {"reason": "settled"})
    assert released.json()["hold"]["standing"] is False
    assert lea.get("/api/v1/holds?standing=true").json()["results"] == []
    assert [row["id"] for row in lea.get("/api/v1/holds").json()["results"]] == [hold["id"]]
    again = _post(lea, f"holds/{hold['id']}/release", {"reason": "settled"})
    assert (again.status_code, again.json()["code"]) == (409, "hold_released")


def test_a_retry_places_one_hold(cast: Cast) -> None:
    body = {"reason": "Matter 7", "system": "netlify-trading"}

    def place() -> Any:
        return _post(_client(cast.lea), "holds", body, **{"Idempotency-Key": "k"})

    first, again = place(), place()
    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    change_user(cast.lea, actor=Actor(SERVICE), systems=[cast.billing])
    assert (place().status_code, place().json()["code"]) == (404, "hold_unknown"), "who sees it no more gets no receipt"
    assert Hold.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"reason": "x"}, 422, "hold_target_invalid"),
        ({"reason": "x", "record": 1, "system": "billing"}, 422, "hold_target_invalid"),
        ({"reason": "x", "record": 9999}, 404, "record_unknown"),
        ({"reason": "x", "release": "none"}, 404, "release_unknown"),
        ({"reason": "x", "system": "none"}, 404, "system_unknown"),
        ({"reason": "  ", "record": 1}, 422, "invalid"),
        ({"record": 1}, 422, "invalid"),
    ],
)
def test_it_refuses_a_hold_on_nothing(cast: Cast, body: dict[str, Any], status: int, code: str) -> None:
    answer = _post(_client(cast.lea), "holds", body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Hold.objects.exists()


def test_nobody_else_places_sees_or_releases_holds(cast: Cast, index: int) -> None:
    hold = _post(_client(cast.root), "holds", {"reason": "x", "record": index}).json()["hold"]["id"]
    for user in (cast.alice, cast.bob, cast.cora, cast.ada, cast.max):
        client = _client(user)
        assert client.get("/api/v1/holds").status_code == 403
        assert _post(client, "holds", {"reason": "x", "record": index}).status_code == 403
        assert _post(client, f"holds/{hold}/release", {"reason": "x"}).status_code == 403
        assert client.get("/admin/evidence/hold/").status_code == 403
        assert client.get("/admin/evidence/hold/add/").status_code == 403
        assert client.get(f"/admin/evidence/hold/{hold}/release/").status_code == 403
    assert Hold.objects.get().released_by is None


def test_a_liaison_places_and_releases_a_hold_in_the_admin(cast: Cast, index: int) -> None:
    lea = _client(cast.lea)
    assert "No legal hold" in lea.get("/admin/evidence/hold/").content.decode()
    form = {"once": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "record": index, "reason": "Matter 7"}
    page = lea.post("/admin/evidence/hold/add/", form, follow=True).content.decode()
    assert f"Record #{index}" in page
    hold = Hold.objects.get()
    assert "Matter 7" in lea.get("/admin/evidence/hold/").content.decode()
    confirm = lea.get(f"/admin/evidence/hold/{hold.pk}/release/").content.decode()
    assert "cannot be brought back" in confirm
    hold.refresh_from_db()
    assert hold.released_by is None
    form = {"once": "6f9619ff-8b86-d011-b42d-00c04fc964fe", "reason": "settled"}
    page = lea.post(f"/admin/evidence/hold/{hold.pk}/release/", form, follow=True).content.decode()
    assert "released" in page
    hold.refresh_from_db()
    assert hold.released_by is not None


def test_the_form_says_what_is_wrong(cast: Cast, index: int) -> None:
    lea = _client(cast.lea)
    form = {"once": "6f9619ff-8b86-d011-b42d-00c04fc964ff", "record": 9999, "reason": "Matter 7"}
    assert "There is no record 9999." in lea.post("/admin/evidence/hold/add/", form).content.decode()
    page = lea.post("/admin/evidence/hold/add/", form | {"record": ""}).content.decode()
    assert "Name one of record, release or system." in page
    assert not Hold.objects.exists()
