"""An active exception lets a kind's secrets through; the record says which, and without it they are refused again."""

from typing import Any

from evidence.ledger import reader
from evidence.models import Record
from exceptions import lifecycle
from tests.cast import Cast
from tests.evidence.conftest import RELEASE, RELEASE_ID, Api
from tests.exceptions.conftest import Request, actor

# Put together here, so that no scanner takes this file for a leak.
BODY = {"suite": "unit", "outcome": "passed", "detail": "fixture " + "AKIA" + "Q7ZT5WJ3XK2MNPL4"}


def post(api: Api, kind: str = "test.result") -> Any:
    return api.post("records", {"kind": kind, "release": RELEASE_ID, "body": BODY})


def test_it_lets_a_kind_through_as_long_as_its_exception_is_active(cast: Cast, approved: Request) -> None:
    api = Api(cast.ci_token)
    assert api.post("releases", RELEASE).status_code == 201
    assert post(api).json()["code"] == "secret_found"
    exception = approved(requirements=["secrets.test.result"])
    answer = post(api)
    assert answer.status_code == 201, answer.content
    verified = reader.get(answer.json()["index"]).recorded.context["verification"]
    assert verified["secrets"] == f"waived by {exception.pk}"
    assert post(api, kind="validation.result").json()["code"] == "secret_found"
    lifecycle.revoke(actor=actor(cast.bob), exception=exception.pk, reason="The fixture is gone.")
    assert post(api).json()["code"] == "secret_found"
    assert Record.objects.filter(kind="test.result").count() == 1
