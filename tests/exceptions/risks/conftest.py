"""A risk in the making."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from evidence.models import User
from exceptions import risks
from exceptions.models import Risk
from tests import documented
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.conftest import actor

AddRisk = Callable[..., Risk]
ENTRY = {"title": "One provider for DNS", "likelihood": 2, "impact": 5, "owner": "alice@example.com"}


@pytest.fixture
def add_risk(cast: Cast) -> AddRisk:
    """Lea enters a risk of the whole company, owned by Alice, whose manager is Max."""

    def add(by: User | None = None, **changes: Any) -> Risk:
        placed = risks.add_risk(actor=actor(by or cast.lea), entry=risks.RiskEntry(**ENTRY | changes))  # type: ignore[arg-type]  # members of an entry
        return Risk.objects.get(pk=placed.body["risk"])

    return add


@pytest.fixture
def api(cast: Cast) -> Api:
    """A pipeline."""
    return Api(cast.ci_token)


@pytest.fixture
def lea(cast: Cast, as_person: Callable[[User], Api]) -> Api:
    return as_person(cast.lea)


def send(api: Api, data: bytes, path: str = "risks/import", **members: str) -> Any:
    """Send a file of risks."""
    form = {"file": SimpleUploadedFile("risks.csv", data), **members} if data else members
    headers = {"Authorization": f"Bearer {api.token}"}
    found = Client(raise_request_exception=False).post(f"/api/v1/{path}", form, headers=headers)
    if found.status_code >= 400:
        documented.check("POST", f"/api/v1/{path}", found.status_code, found.json()["code"])
    return found
