"""The history of four systems, loaded as a pipeline and a person would, is what the product then tells of them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from evidence.ledger import Actor
from evidence.ledger.check import check
from evidence.models import Record, User
from evidence.models.people import SERVICE
from evidence.people import create_pipeline, create_user, ensure_system
from exceptions.models import Risk
from tests.cast import Cast
from tests.e2e import history
from tests.e2e.history.reading import read
from tests.evidence.conftest import Api, api, cast, token_for
from tests.exceptions.risks.conftest import send

__all__ = ["api", "cast", "token_for"]  # fixtures

RELEASE = "netlify-trading:release-20240312"


class _EndedError(Exception):
    """The loader ended in the middle."""


@dataclass
class Service:
    """The service through its HTTP API."""

    pipeline: Api
    person: Api
    keeper: Api
    #: How many batches it still takes.
    patience: int = 1_000

    def post(self, who: str, batch: bytes) -> bytes:
        self.patience -= 1
        if self.patience < 0:
            raise _EndedError
        answer = getattr(self, who).post("records/batch", batch, content_type="application/x-ndjson")
        assert answer.status_code == 200, answer.content
        body: bytes = answer.getvalue()
        return body

    def bring(self, filename: str, data: bytes) -> dict[str, Any]:
        answer = send(self.keeper, data)
        assert answer.status_code == 200, answer.content
        told: dict[str, Any] = answer.json()
        assert told["state"] == "done", told["rows"]
        return told

    def closed(self, system: str) -> set[str]:
        return {row["id"] for row in self.get(f"releases?system={system}&state=closed&limit=500")["results"]}

    def get(self, path: str) -> Any:
        answer = self.pipeline.get(path)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def deployments(self, system: str, start: str, end: str) -> Any:
        return self.get(f"deployments?system={system}&from={start}T00:00:00Z&to={end}T00:00:00Z")


@pytest.fixture
def service(cast: Cast, token_for: Callable[[User], str]) -> Service:
    systems = [ensure_system(name, actor=Actor(SERVICE)) for name in history.SYSTEMS]
    _, token = create_pipeline(actor=Actor(SERVICE), name="history", systems=systems)
    for person in history.register().people:
        create_user(actor=Actor(SERVICE), name=person["name"], email=person["email"], roles=[person["role"]])
    return Service(Api(token.text), Api(token_for(cast.lea)), Api(token_for(cast.lea)))


def test_it_tells_what_the_documents_tell(service: Service) -> None:
    _loads_once(service)
    _counts_deployments(service)
    _tells_the_release(service)
    _tells_of_incidents(service)
    _keeps_the_register(service)
    _calls_nothing_on_time()
    assert check() == []


def _loads_once(service: Service) -> None:
    """Ended in the middle it goes on where it was, and once it is there it is there."""
    said: list[str] = []
    service.patience = 2
    with pytest.raises(_EndedError):
        history.load(service, told=said.append)
    assert said == ["70 of 70 releases opened", "150 of 323 pieces of evidence"]
    service.patience = 1_000
    rest = history.load(service, told=said.append)
    assert (rest.recorded, rest.known) == (252, 220)
    size = Record.objects.count()
    again = history.load(service, told=said.append)
    assert (again.recorded, again.known) == (0, 472)
    assert Record.objects.count() == size


def _counts_deployments(service: Service) -> None:
    sprint = service.deployments("novacron", "2025-08-01", "2025-10-01")
    counts = sprint["counts"]
    assert (counts["succeeded"], counts["failed"], counts["rolled_back"], counts["backfilled"]) == (43, 1, 1, 44)
    assert round(sprint["success_percent"], 1) == 97.7  # the document says 98.5
    assert len(sprint["population"]) == 44
    stretch = service.deployments("nifty-trading", "2025-10-06", "2025-10-17")["counts"]
    assert (stretch["succeeded"], stretch["failed"], stretch["rolled_back"]) == (25, 0, 2)
    quarter = service.deployments("netlify-trading", "2024-01-01", "2024-04-01")["counts"]
    assert (quarter["succeeded"], quarter["failed"], quarter["rolled_back"]) == (1, 0, 0)
    assert service.deployments("bondx", "2025-01-01", "2026-01-01")["population"] == []


def _tells_the_release(service: Service) -> None:
    release = service.get(f"releases/{RELEASE}")
    assert (release["state"], release["ticket_id"], release["approvals"]) == ("closed", "TRD-312", [])
    plan = service.get(f"releases/{RELEASE}/plan")
    states = {line["id"]: line["state"] for line in plan["expected"]}
    assert states.pop("log") == "missing"  # its 13 months are over
    assert set(states.values()) == {"backfilled"}
    assert [(step["state"], step["late_seconds"]) for step in plan["cutover"]] == [("done", 0)] * 6
    checklist = service.get(f"releases/{RELEASE}/checklist")
    assert len(checklist["sections"]) == 5
    assert {item["state"] for section in checklist["sections"] for item in section["items"]} == {"done"}
    runs = service.get(f"releases/{RELEASE}/deployments")
    assert [failure["code"] for failure in runs["failures"]] == ["approval_missing"]  # given elsewhere


def _tells_of_incidents(service: Service) -> None:
    rows = service.get("records?kind=incident.opened&limit=100")["results"]
    assert {row["facts"]["incident"] for row in rows} == {"NT-2024-01", "NT-2024-02", "INC-2025-001", "INC-2025-002"}
    for kind in ("incident.resolved", "postmortem"):
        assert len(service.get(f"records?kind={kind}")["results"]) == 4
    assert len(service.get("records?kind=rollback")["results"]) == 3


def _keeps_the_register(service: Service) -> None:
    loaded, again = history.load_register(service), history.load_register(service)
    assert (loaded.recorded, again.recorded, again.known) == (6, 0, 6)
    vendor = Risk.objects.get(reference="2024-Q1/1")
    assert (vendor.owner_name, vendor.status, vendor.incidents) == (
        *("Engineering Lead, AI Analyst", "mitigating"),
        ["NT-2024-01"],
    )
    assert [item["due"] for item in vendor.action_items] == ["2024-05-15"]
    assert "illustrative" in vendor.description
    assert Risk.objects.get(reference="post-GA/zero-trust").contingency == "Gradual migration with dual-mode operation"


def _calls_nothing_on_time() -> None:
    """But the notes on where it comes from, which were written now."""
    posted = Record.objects.exclude(occurred__lt=datetime(2025, 11, 1, tzinfo=UTC)).filter(kind__in=_kinds())
    assert [record.kind for record in posted] == ["decision"] * len(history.SYSTEMS)


def _kinds() -> set[str]:
    return {str(json.loads(line.data)["kind"]) for line in vars(read()).values() for line in line}
