"""The life of a risk over HTTP: entered, changed, reviewed, closed; what it points to, and for whom."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.test import Client

from evidence.keys import record_signer
from evidence.ledger import append, reader, service_draft
from evidence.models import Record, User
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.statement import build_statement, parse_statement
from exceptions.models import Risk
from exceptions.tasks import remind_of_reviews
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.conftest import Request, actor
from tests.exceptions.risks.conftest import ENTRY, AddRisk

ITEM = {"title": "Second provider", "owner": "bob@example.com", "due": "2027-03-31"}


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def test_it_keeps_a_risk_from_entry_to_closing(lea: Api, api: Api, cast: Cast, request_one: Request) -> None:
    exception = request_one().pk
    opened = api.post(
        "records", {"kind": "incident.opened", "body": {"incident": "INC-7", "severity": 2, "title": "x"}}
    )
    assert opened.status_code == 201, opened.content
    links = {"exceptions": [exception], "incidents": ["INC-7"], "controls": ["exception-reminded"]}
    told = {"cause": "One contract", "consequence": "Nobody reaches us", "contingency": "Move the zone by hand"}
    entry = ENTRY | told | {"links": links, "action_items": [ITEM], "reference": "GRC-17"}
    answer = lea.post("risks", entry)
    assert answer.status_code == 201, answer.content
    risk = answer.json()["risk"]
    assert risk.items() >= (told | {"id": "RISK-0001", "level": "high", "review_by": day(90), "links": links}).items()
    assert risk["action_items"][0].items() >= {"title": "Second provider", "state": "open", "due": "2027-03-31"}.items()
    _changes(lea, exception)
    _is_reviewed(lea)
    closed = lea.post("risks/RISK-0001", {"reason": "Two providers", "close": True}).json()["risk"]
    kinds = ["risk.added", "risk.changed", "risk.changed", "risk.changed", "risk.reviewed", "risk.closed"]
    assert [change["kind"] for change in closed["changes"]] == kinds
    assert lea.post("risks/RISK-0001/reviews", {"reason": "x"}).json()["code"] == "transition_not_allowed"


def _changes(lea: Api, exception: str) -> None:
    """Rated worse it is looked at sooner, rated better not later; lists are replaced as a whole."""

    def change(**changes: Any) -> Any:
        answer = lea.post("risks/RISK-0001", {"reason": "Seen again", "changes": changes})
        assert answer.status_code == 201, answer.content
        return answer.json()["risk"]

    worse = change(likelihood=4, systems=["netlify-trading"])
    assert (worse["level"], worse["review_by"], worse["systems"]) == ("critical", day(30), ["netlify-trading"])
    better = change(residual_likelihood=1, residual_impact=5, action_items=[ITEM | {"state": "done"}])
    assert (better["residual_level"], better["review_by"]) == ("medium", day(30))
    assert better["action_items"][0]["state"] == "done"
    assert change(links={"incidents": []})["links"] == {
        "exceptions": [exception],
        "incidents": [],
        "controls": ["exception-reminded"],
    }
    assert lea.get("risks/RISK-0001").json()["exceptions"] == [exception]


def _is_reviewed(lea: Api) -> None:
    for review_by, code in ((day(-1), "review_in_past"), (day(181), "review_too_late")):
        asked = {"reason": "The drill went well", "review_by": review_by}
        assert lea.post("risks/RISK-0001/reviews", asked).json()["code"] == code
    reviewed = lea.post("risks/RISK-0001/reviews", {"reason": "The drill went well"}).json()["risk"]
    assert (reviewed["review_by"], reviewed["reviewed_by"]["name"]) == (day(180), "Lea")
    body = reader.get(Record.objects.get(kind="risk.reviewed").index).recorded.body
    assert (body["rating"], body["level"], body["previous"]) == (5, "medium", day(30))


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"links": {"exceptions": ["EXC-0009"]}}, "exception_unknown"),
    ({"links": {"incidents": ["INC-404"]}}, "incident_unknown"),
    ({"links": {"controls": ["no-such-control"]}}, "control_unknown"),
    ({"action_items": [ITEM, ITEM]}, "item_invalid"),
    ({"action_items": [ITEM | {"owner": "gone@example.com"}]}, "person_unknown"),
    ({"reference": "grc-17"}, "reference_taken"),
    ({"impact": 6}, "invalid"),
    ({"action_items": [ITEM | {"title": "a | b"}]}, "invalid"),
    ({"likelyhood": 2}, "body_invalid"),
]


def test_it_refuses_what_is_not_there(lea: Api, add_risk: AddRisk) -> None:
    add_risk(reference="GRC-17")
    other = add_risk().pk
    size = reader.size()
    for changes, code in REFUSED:
        assert lea.post("risks", ENTRY | changes).json()["code"] == code, changes
        told = {"body_invalid": "change_invalid"}.get(code, code)
        answer = lea.post(f"risks/{other}", {"reason": "x", "changes": changes})
        assert answer.json()["code"] == told, (changes, answer.content)
    assert lea.post("risks", ENTRY | {"review_by": day(91)}).json()["code"] == "review_too_late"
    assert (
        lea.post(f"risks/{other}", {"reason": "x", "changes": {"review_by": day(1)}}).json()["code"] == "change_invalid"
    )
    assert reader.size() == size


def test_it_keeps_apart_what_people_may_see(
    cast: Cast, as_person: Callable[[User], Api], add_risk: AddRisk, request_one: Request
) -> None:
    """Charlie, whose team sees billing alone, changes its risk without removing what he is not shown."""
    exception = request_one().pk
    whole, both = add_risk(), add_risk(systems=["billing", "netlify-trading"])
    own = add_risk(systems=["billing"], links={"exceptions": [exception]})
    charlie = as_person(cast.charlie)
    assert {row["id"] for row in charlie.get("risks").json()["results"]} == {whole.pk, both.pk, own.pk}
    for risk in (whole, both):
        asked = {"reason": "x", "changes": {"title": "Mine"}}
        assert charlie.post(f"risks/{risk.pk}", asked).json()["code"] == "system_not_yours"
        assert charlie.get(f"risks/{risk.pk}").json()["moves"] == []
    assert charlie.post("risks", ENTRY).json()["code"] == "system_not_yours"
    assert charlie.get(f"risks/{own.pk}").json()["links"]["exceptions"] == []
    asked = {"reason": "x", "changes": {"links": {"exceptions": []}}}
    assert charlie.post(f"risks/{own.pk}", asked).status_code == 201
    own.refresh_from_db()
    assert own.linked_exceptions == [exception]
    assert as_person(cast.ada).get("risks/export").status_code == 403
    exported = charlie.get("risks/export?format=csv").content.decode()
    assert exception not in exported


def test_it_narrows_the_list(lea: Api, cast: Cast, add_risk: AddRisk) -> None:
    add_risk(
        title="Vendor data anomalies", likelihood=4, impact=4, systems=["netlify-trading"], owner="bob@example.com"
    )
    risk = add_risk(title="Design tokens diverge", residual_likelihood=1, residual_impact=2)
    Risk.objects.filter(pk=risk.pk).update(review_by=day(-1))  # as time passes
    asked = {
        "level=critical": ["RISK-0001"],
        "level=low": ["RISK-0002"],
        "review=overdue": ["RISK-0002"],
        "q=vendor+DATA": ["RISK-0001"],
        "owner=bob@example.com&system=netlify-trading&status=open": ["RISK-0001"],
        "review=due&level=critical": [],
    }
    for query, numbers in asked.items():
        assert [row["id"] for row in lea.get(f"risks?{query}").json()["results"]] == numbers, query
    for query in ("level=bad", "review=never", "status=lost"):
        assert lea.get(f"risks?{query}").json()["code"] == "filter_invalid"
    scale = lea.get("risks/scale").json()
    assert scale["likelihood"][3]["word"] == "likely"
    assert scale["levels"][0] == {"level": "critical", "from_rating": 15, "review_within_days": 30}
    risk.save()  # the ledger is compared with the tables


def _of_the_first_version(cast: Cast, kind: str, body: dict[str, Any], new: dict[str, Any]) -> None:
    """A record as it was written before its kind had a second version."""
    draft = service_draft(kind, body | new, actor=actor(cast.lea))
    payload = build_statement(
        subjects=[{"name": kind, "digest": {"sha256": "0" * 64}}],
        predicate_type=f"urn:prooftrail:predicate:{kind}:v1",
        predicate=body,
    )
    draft.statement, draft.envelope = parse_statement(payload), sign_envelope(payload, record_signer().key)
    append(draft)


def test_risks_of_the_first_version_are_kept_and_go_on(cast: Cast, lea: Api) -> None:
    old = {name: value for name, value in ENTRY.items() if name != "owner"} | {
        "risk": "RISK-0001", "owner": cast.alice.uid, "owner_name": "Alice", "description": "", "mitigation": "",
        "contingency": "", "status": "open", "systems": [],
    }  # fmt: skip
    new = {"cause": "", "consequence": "", "review_by": day(1), "links": {}, "action_items": []}
    _of_the_first_version(cast, "risk.added", old, new)
    _of_the_first_version(cast, "risk.changed", {"risk": "RISK-0001", "reason": "x", "changes": {"impact": 4}}, {})
    risk = lea.get("risks/RISK-0001").json()
    assert (risk["rating"], risk["cause"], risk["review_by"], risk["action_items"]) == (8, "", None, [])
    remind_of_reviews()  # of none that has no date
    changed = lea.post("risks/RISK-0001", {"reason": "x", "changes": {"cause": "One contract"}}).json()["risk"]
    assert (changed["review_by"], changed["cause"]) == (day(180), "One contract")


def test_a_pipeline_reads_the_register_and_writes_nothing(api: Api, add_risk: AddRisk) -> None:
    add_risk(systems=["netlify-trading"])
    assert [row["id"] for row in api.get("risks").json()["results"]] == ["RISK-0001"]
    assert api.post("risks/RISK-0001/reviews", {"reason": "x"}).status_code == 403
    assert Client().get("/api/v1/risks/export").status_code == 401
