"""People, systems and tokens in the admin: each change one record, refusals on the form, nothing half-written."""

import pytest

from evidence.ledger import reader
from evidence.models import Record, System, Token, User
from tests.cast import PASSWORD

ADD = "/admin/evidence/user/add/"
NEW = {
    "name": "Dora",
    "email": "Dora@example.com",
    "roles": ["approver", "engineer"],
    "password": "a long enough phrase",
    "sign_offs-TOTAL_FORMS": "1",
    "sign_offs-INITIAL_FORMS": "0",
    "sign_offs-0-role": "design",
}


def body_of(record: Record) -> dict[str, object]:
    return reader.get(record.index).recorded.body


@pytest.fixture
def root(as_):
    return as_("root")


def test_it_adds_a_person_with_roles_and_sign_offs_in_one_record(root, cast):
    before = reader.size()
    response = root.post(ADD, NEW | {"sign_offs-0-system": cast.trading.pk, "systems": [cast.trading.pk]})
    assert response.status_code == 302, response.context["errors"]
    dora = User.objects.get(email="dora@example.com")
    assert reader.size() == before + 1
    assert dora.roles == ["approver", "engineer"]
    assert [str(s) for s in dora.sign_offs.all()] == ["design@netlify-trading"]
    assert dora.check_password("a long enough phrase")
    body = body_of(Record.objects.get(kind="access.user_created", facts__user=dora.uid))
    assert body["signs_for"] == ["design@netlify-trading"]
    assert body["systems"] == ["netlify-trading"]
    assert "phrase" not in str(body)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"email": "bob@example.com"}, "already exists"),
        ({"email": "BOB@example.com"}, "belongs to a person already"),
        ({"password": "short"}, "too short"),
        ({"roles": ["king"]}, "not one of the available choices"),
        ({"roles": []}, "required"),
    ],
)
def test_it_refuses_on_the_form_and_writes_nothing(root, cast, change, said):
    before = reader.size()
    response = root.post(ADD, NEW | {"sign_offs-0-system": cast.trading.pk} | change)
    assert response.status_code == 200
    assert said in response.content.decode()
    assert reader.size() == before
    assert not User.objects.filter(name="Dora").exists()


def change_form(user: User, **changes: object) -> dict[str, object]:
    return {
        "name": user.name,
        "email": user.email,
        "roles": user.roles,
        "is_active": "on",
        "sign_offs-TOTAL_FORMS": "0",
        "sign_offs-INITIAL_FORMS": "0",
        **changes,
    }


def test_it_ends_a_persons_access_at_once(root, as_, cast):
    bob = as_("bob")
    assert bob.get("/admin/evidence/release/").status_code == 200
    data = change_form(cast.bob)
    del data["is_active"]
    assert root.post(f"/admin/evidence/user/{cast.bob.pk}/change/", data).status_code == 302
    assert bob.get("/admin/evidence/release/").status_code == 302
    record = Record.objects.filter(kind="access.user_changed").first()
    assert record is not None
    assert body_of(record)["active"] is False


def test_it_removes_a_sign_off_role(root, cast):
    sign_off = cast.bob.sign_offs.get()
    data = change_form(
        cast.bob,
        **{
            "sign_offs-TOTAL_FORMS": "1",
            "sign_offs-INITIAL_FORMS": "1",
            "sign_offs-0-id": sign_off.pk,
            "sign_offs-0-user": cast.bob.pk,
            "sign_offs-0-role": "qa",
            "sign_offs-0-system": cast.trading.pk,
            "sign_offs-0-DELETE": "on",
        },
    )
    assert root.post(f"/admin/evidence/user/{cast.bob.pk}/change/", data).status_code == 302
    assert not cast.bob.sign_offs.exists()


def test_it_does_not_let_administrators_lock_themselves_out(root, cast):
    before = reader.size()
    response = root.post(f"/admin/evidence/user/{cast.root.pk}/change/", change_form(cast.root, roles=["engineer"]))
    assert "Another administrator" in response.content.decode()
    assert reader.size() == before


def test_it_changes_ones_own_password_through_the_ledger(as_, cast):
    bob = as_("bob")
    before = reader.size()
    new = "another long phrase"
    data = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert bob.post("/admin/password_change/", data).status_code == 302
    assert reader.size() == before + 1
    cast.bob.refresh_from_db()
    assert cast.bob.check_password(new)
    assert bob.get("/admin/evidence/release/").status_code == 200  # still signed in


def test_it_saves_systems_as_records(root, cast):
    assert root.post("/admin/evidence/system/add/", {"name": "orders", "title": "Orders"}).status_code == 302
    orders = System.objects.get(name="orders")
    url = f"/admin/evidence/system/{orders.pk}/change/"
    assert root.post(url, {"name": "orders", "title": "Order desk"}).status_code == 302
    assert System.objects.get(name="orders").title == "Order desk"
    assert Record.objects.filter(kind="config.system", facts__system=orders.pk).count() == 2
    clash = root.post(url, {"name": "billing", "title": ""})
    assert "already" in clash.content.decode()


def test_it_shows_a_persons_token_once_and_ends_it(as_, cast):
    bob = as_("bob")
    form = bob.get("/admin/tokens/").context["form"]
    data = {"once": str(form["once"].value()), "label": "laptop", "days": "7"}
    page = bob.post("/admin/tokens/", data)
    token = cast.bob.tokens.get()
    assert page.content.decode().count(f"pt_{token.pk}_") >= 1
    assert "no-store" in page["Cache-Control"]
    assert token.scopes == ["person"]
    # an impatient second click makes no second token
    assert bob.post("/admin/tokens/", data).status_code == 302
    assert cast.bob.tokens.count() == 1
    text = page.context["new"].text
    assert text not in bob.get("/admin/tokens/").content.decode()
    api = {"headers": {"authorization": f"Bearer {text}"}}
    assert bob.get("/api/v1/releases", **api).status_code == 200
    assert as_("alice").get(f"/admin/tokens/{token.pk}/revoke/").status_code == 404
    end = bob.get(f"/admin/tokens/{token.pk}/revoke/").context["form"]
    ended = bob.post(f"/admin/tokens/{token.pk}/revoke/", {"once": str(end["once"].value()), "reason": "lost"})
    assert ended.status_code == 302
    assert Token.objects.get(pk=token.pk).revoked_at is not None
    assert bob.get("/api/v1/releases", **api).status_code in {401, 403}
