"""Before the first step: what happened in four systems before the ledger was there (`tests/e2e/history`)."""

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from tests.e2e import history as past
from tests.e2e.scenario.stage import Stage, answered, expect, same, tick

_PERSON, _KEEPER = "hanna", "compliance"


@dataclass(frozen=True)
class _Service:
    stage: Stage

    def post(self, who: str, batch: bytes) -> bytes:
        with self.stage.api({"pipeline": "history", "person": _PERSON}[who]) as client:
            answer = client.post("records/batch", content=batch, headers={"Content-Type": "application/x-ndjson"})
        if answer.status_code != 200:
            answered(answer, 200)
        return answer.content

    def bring(self, filename: str, data: bytes) -> dict[str, Any]:
        with self.stage.api(_KEEPER) as client:
            answer: dict[str, Any] = answered(client.post("risks/import", files={"file": (filename, data)}), 200)
        return answer

    def closed(self, system: str) -> set[str]:
        found = self.stage.get("history", "releases", system=system, state="closed", limit=500)
        return {row["id"] for row in found["results"]}


def history(stage: Stage) -> None:
    """The past of four systems, after their own documents, loaded through the API as the history it is: backfilled"""
    if _PERSON not in stage.state.get("tokens", {}):
        _appoint(stage)
    if _KEEPER not in stage.state.get("tokens", {}):
        _appoint_owners(stage)
    loaded = past.load(_Service(stage), told=tick)
    again = past.load(_Service(stage), told=lambda _: None)
    same(again.recorded, 0, f"{loaded.recorded} records are new, {loaded.known} were there; a second load adds none")
    sprint = _deployments(stage, "novacron", "2025-08-01", "2025-10-01")
    counts = sprint["counts"]
    found = (counts["succeeded"], counts["failed"], round(sprint["success_percent"], 1))
    same(found, (43, 1, 97.7), "novacron: 43 deployments succeeded, 1 failed: 97.7 %, where its document says 98.5 %")
    lines = stage.get("history", "releases/netlify-trading:release-20240312/plan")["expected"]
    states = {line["state"] for line in lines if line["id"] != "log"}
    _register(stage)
    expect(states == {"backfilled"}, "release-20240312 is there in full, and every line of it says backfilled")


def _appoint(stage: Stage) -> None:
    """The pipeline that enters it and a person for what only people write: the records say who entered them."""
    systems = [word for name in past.SYSTEMS for word in ("--system", name)]
    pipeline = json.loads(stage.manage("create_pipeline", "history", *systems, "--json"))
    mail = f"{_PERSON}@netlify-trading.example"
    person = json.loads(stage.manage("create_user", "Hanna Holm", "--email", mail, "--role", "engineer", "--json"))
    stage.remember(people=stage.state.get("people", {}) | {_PERSON: person})
    tokens = {"history": pipeline["token"], _PERSON: stage.new_token(_PERSON)}
    stage.remember(tokens=stage.state.get("tokens", {}) | tokens)
    tick("pipeline history and Hanna Holm, engineer, enter it")


def _appoint_owners(stage: Stage) -> None:
    """Who owns risks: the documents name roles and teams. The liaison among them brings the register in."""

    def appoint(person: Mapping[str, Any]) -> dict[str, Any]:
        made = stage.manage(
            "create_user", person["name"], "--email", person["email"], "--role", person["role"], "--json"
        )
        found: dict[str, Any] = json.loads(made)
        return found

    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(appoint, past.register().people))
    keeper = next(person for person in made if "liaison" in person["roles"])
    stage.remember(people=stage.state.get("people", {}) | {_KEEPER: keeper})
    stage.remember(tokens=stage.state.get("tokens", {}) | {_KEEPER: stage.new_token(_KEEPER)})


def _register(stage: Stage) -> None:
    service = _Service(stage)
    brought, again = past.load_register(service), past.load_register(service)
    same(again.recorded, 0, f"{brought.recorded} risks are new, {brought.known} were there; a second import adds none")
    worst = stage.get("history", "risks", level="high", q="data")["results"]
    same([risk["title"] for risk in worst], ["Data loss during partition changes"], "the register finds them by level")


def _deployments(stage: Stage, system: str, start: str, end: str) -> Any:
    period = {"from": f"{start}T00:00:00Z", "to": f"{end}T00:00:00Z"}
    return stage.get("history", "deployments", system=system, **period)
