import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from tests import documented
from tests.cast import Cast, assemble


@pytest.fixture
def cast(ledger: object) -> Cast:
    return assemble()


@dataclass
class Api:
    """A client of the HTTP API, as a pipeline would use it."""

    token: str | None = None

    def __post_init__(self) -> None:
        self._client = Client(raise_request_exception=False)

    def _headers(self, headers: dict[str, str]) -> dict[str, str]:
        return ({"Authorization": f"Bearer {self.token}"} if self.token else {}) | headers

    def post(self, path: str, data: Any = None, *, content_type: str = "application/json", **headers: str) -> Any:
        body = data if isinstance(data, bytes) else json.dumps(data)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._client.post("/api/v1/" + path, body, content_type=content_type, headers=self._headers(named))
        return _documented("POST", path, answer)

    def get(self, path: str, **headers: str) -> Any:
        return _documented("GET", path, self._client.get("/api/v1/" + path, headers=self._headers(headers)))


def _documented(method: str, path: str, answer: Any) -> Any:
    """The answer, if it is none or one of the problems that the API's description names for this call."""
    if answer.headers.get("Content-Type") == "application/problem+json":
        documented.check(method, f"/api/v1/{path}", answer.status_code, answer.json()["code"])
    return answer


@pytest.fixture
def api(cast: Cast) -> Api:
    return Api(cast.ci_token)


RELEASE = {
    "system": "netlify-trading",
    "tag": "release-20260312",
    "type": "regular",
    "ticket_id": "TRD-1042",
    "ticket_url": "https://jira.example.com/browse/TRD-1042",
    "dashboards": [{"name": "Datadog", "url": "https://datadog.example.com/d/1"}],
    "captain": "Cora",
    "commander": "Bob",
    "surfaces": ["AI Analyst", "Quant Screener"],
    "window": {"from": "2026-03-12T15:00:00Z", "to": "2026-03-12T16:00:00Z"},
}
RELEASE_ID = "netlify-trading:release-20260312"


@pytest.fixture
def release(api: Api) -> str:
    assert api.post("releases", RELEASE).status_code == 201
    return RELEASE_ID


@pytest.fixture
def token_for(cast: Cast) -> Callable[[Any], str]:
    from evidence.api.actors import actor_for
    from evidence.people import issue_token

    return lambda user: issue_token(user, actor=actor_for(user), label="test", scopes=["person"], days=1).text
