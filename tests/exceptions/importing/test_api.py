"""Imports over HTTP."""

import json
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from evidence.api.actors import actor_for
from evidence.models import User
from evidence.people import issue_token
from exceptions.importing.workbook import read
from exceptions.models import Import, SecurityException
from tests import documented
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.importing.files import HEADINGS, csv_of, row


def token(cast: Cast, user: User) -> str:
    return issue_token(user, actor=actor_for(cast.root), label="test").text


@pytest.fixture
def lea(cast: Cast) -> Api:
    return Api(token(cast, cast.lea))


def send(api: Api, data: bytes, **members: str) -> Any:
    form = {"file": SimpleUploadedFile("register.csv", data), **members} if data else members
    headers = {"Authorization": f"Bearer {api.token}"}
    found = Client(raise_request_exception=False).post("/api/v1/exceptions/import", form, headers=headers)
    if found.status_code >= 400:
        documented.check("POST", "/api/v1/exceptions/import", found.status_code, found.json()["code"])
    return found


def test_it_looks_confirms_and_hands_out_the_bad_rows(lea: Api, cast: Cast) -> None:
    looked = send(lea, csv_of(row(), row(ref="=2+3", title="=cmd", expires="2027-02-30")), dry_run="true")
    assert looked.status_code == 200, looked.content
    found = looked.json()
    assert (found["state"], found["summary"]["counts"]["bad"]) == ("checked", 1)
    path = f"exceptions/import/{found['id']}"
    (bad,) = lea.get(f"{path}/rows?fate=bad").json()["results"]
    assert {"cell": "register!I3", "value": "2027-02-30", "code": "date_invalid"}.items() <= bad["problems"][-1].items()
    sheet = b"".join(lea.get(f"{path}/bad-rows").streaming_content).decode()
    assert "2027-02-30" in sheet
    refused = lea.post(f"{path}/confirm", {}).json()
    assert (refused["state"], refused["error"]["code"]) == ("refused", "rows_bad")
    done = lea.post(f"{path}/confirm", {"only_good": True}).json()
    assert (done["state"], done["done"]) == ("done", 1)
    (claimed,) = lea.get("exceptions?state=claimed").json()["results"]
    assert (claimed["claim"]["approver_name"], claimed["reference"]) == ("Bob", "SEC-1")
    assert lea.post(f"{path}/confirm", {}).json()["code"] == "import_settled"
    bob = Api(token(cast, cast.bob))
    signed = bob.post("exceptions/ratifications", {"exceptions": [claimed["id"]], "reason": "In the minutes"})
    assert (signed.status_code, signed.json()["exceptions"]) == (201, [claimed["id"]])
    assert bob.get(f"exceptions/{claimed['id']}").json()["state"] == "active"


def test_it_answers_a_large_file_later(lea: Api, broker: str) -> None:
    answer = send(lea, csv_of(*(row(ref=f"SEC-{n}", title="x" * 150) for n in range(700))), dry_run="true")
    assert (answer.status_code, answer.json()["state"]) == (202, "waiting")


@pytest.mark.parametrize(
    ("data", "members", "code"),
    [
        (b"", {}, "file_missing"),
        (csv_of(row()), {"mapping": "{"}, "json_malformed"),
        (csv_of(row()), {"mapping": json.dumps({"columns": {"colour": "A"}})}, "mapping_invalid"),
        (csv_of(row()), {"dry_run": "perhaps"}, "invalid"),
    ],
)
def test_it_refuses_what_it_cannot_take(lea: Api, data: bytes, members: dict[str, str], code: str) -> None:
    assert send(lea, data, **members).json()["code"] == code
    assert not Import.objects.exists()


def test_it_says_which_columns_are_missing(lea: Api) -> None:
    headings = ["Colour" if heading == "Owner" else heading for heading in HEADINGS]
    found = send(lea, csv_of(row(), headings=headings), dry_run="true").json()
    assert (found["state"], found["error"]["code"], found["error"]["missing"]) == (
        "refused",
        "columns_missing",
        ["owner"],
    )
    again = send(lea, csv_of(row(), headings=headings), mapping=json.dumps({"columns": {"owner": "Colour"}})).json()
    assert again["state"] == "done"


def test_only_liaisons_see_imports(lea: Api, cast: Cast) -> None:
    found = send(lea, csv_of(row()), dry_run="true").json()
    alice = Api(token(cast, cast.alice))
    assert send(alice, csv_of(row())).status_code == 403
    assert alice.get(f"exceptions/import/{found['id']}").status_code == 403
    assert lea.get("exceptions/import/xim_none").json()["code"] == "import_unknown"
    assert not SecurityException.objects.exists()


def test_bad_rows_come_as_a_workbook_that_can_be_imported_again(lea: Api) -> None:
    wrong = csv_of(row(title="=SUM(A1)", expires="2027-02-30"))
    found = send(lea, wrong, dry_run="true").json()
    answer = lea.get(f"exceptions/import/{found['id']}/bad-rows?as=xlsx")
    assert answer["Content-Disposition"].endswith('.xlsx"')
    (sheet,) = read(answer.content, "bad.xlsx").sheets
    shown = {cell.text for each in sheet.rows for cell in each.cells.values()}
    assert {"2027-02-30", "What is wrong", "register!2"} <= shown
    again = send(lea, answer.content, dry_run="true").json()
    assert again["summary"]["counts"]["bad"] == 1
    assert lea.get(f"exceptions/import/{found['id']}/bad-rows?as=ods").json()["code"] == "filter_invalid"
