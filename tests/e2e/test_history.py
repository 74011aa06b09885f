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
from evidence.people import create_pipeline, ensure_system
from tests.cast import Cast
from tests.e2e import history
from tests.e2e.history.reading import read
from tests.evidence.conftest import Api, api, cast, token_for

__all__ = ["api", "cast", "token_for"]  # fixtures

RELEASE = "netlify-trading:release-20240312"


class _EndedError(Exception):
    """The loader ended in the middle."""


@dataclass
class Service:
    """The service through its HTTP API."""

    pipeline: Api
    person: Api
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
    return Service(Api(token.text), Api(token_for(cast.lea)))


def test_it_tells_what_the_documents_tell(service: Service) -> None:
    _loads_once(service)
    _counts_deployments(service)
    _tells_the_release(service)
    _tells_of_incidents(service)
    _calls_nothing_on_time()
    assert check() == []


def _loads_once(service: Service) -> None:
    """Ended in the middle it goes on where it was, and once it is there it is there."""
    said: list[str] = []
    service.patience = 2
    with pytest.raises(_EndedError):
        history.load(service, told=said.append)
    assert said == ["70 of 70 releases opened", "150 of 321 pieces of evidence"]
    service.patience = 1_000
    rest = history.load(service, told=said.append)
    assert (rest.recorded, rest.known) == (250, 220)
    size = Record.objects.count()
    again = history.load(service, told=said.append)
    assert (again.recorded, again.known) == (0, 470)
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


def _calls_nothing_on_time() -> None:
    """But the notes on where it comes from, which were written now."""
    posted = Record.objects.exclude(occurred__lt=datetime(2025, 11, 1, tzinfo=UTC)).filter(kind__in=_kinds())
    assert [record.kind for record in posted] == ["decision"] * len(history.SYSTEMS)


def _kinds() -> set[str]:
    return {str(json.loads(line.data)["kind"]) for line in vars(read()).values() for line in line}
