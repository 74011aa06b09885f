"""The register over HTTP."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from evidence.ledger import reader
from evidence.models import User
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.evidence.conftest import Api
from tests.exceptions.conftest import Request, in_days

ASKED = {
    "title": "Old TLS on the partner gateway",
    "justification": "The partner upgrades in spring.",
    "severity": "high",
    "systems": ["netlify-trading"],
    "requirements": ["dependency-alerts"],
    "compensating_controls": [{"title": "Traffic is mirrored and inspected", "evidence": "https://wiki.example/tls"}],
    "owner": "lea@example.com",
}


@pytest.fixture
def alice(cast: Cast, as_person: Callable[[User], Api]) -> Api:
    return as_person(cast.alice)


@pytest.fixture
def bob(cast: Cast, as_person: Callable[[User], Api]) -> Api:
    return as_person(cast.bob)


def ask(api: Api, **changes: Any) -> Any:
    return api.post("exceptions", ASKED | {"expires_at": in_days(20).isoformat()} | changes)


def look(api: Api, path: str, **query: object) -> Any:
    return api.get(f"{path}?{urlencode(query)}")


def move(api: Api, number: str, to: str, reason: str = "Because", **more: Any) -> Any:
    return api.post(f"exceptions/{number}/transitions", {"to": to, "reason": reason} | more)


def test_it_requests_and_approves_an_exception(alice: Api, bob: Api, cast: Cast) -> None:
    answer = ask(alice)
    assert answer.status_code == 201, answer.content
    asked = answer.json()["exception"]
    assert (asked["id"], asked["state"], asked["systems"]) == ("EXC-0001", "requested", ["netlify-trading"])
    assert asked["requester"] == {"id": cast.alice.uid, "name": "Alice"}
    assert asked["compensating_controls"] == ASKED["compensating_controls"]
    assert answer.json()["receipt"]["index"] == asked["index"]
    approved = move(bob, "EXC-0001", "approved")
    assert approved.status_code == 201, approved.content
    shown = alice.get("exceptions/EXC-0001").json()
    assert shown["state"] == "active"
    assert [row["person"]["name"] for row in shown["approvals"]] == ["Bob"]
    assert [(row["kind"], row["by"]["name"]) for row in shown["transitions"]] == [
        ("exception.requested", "Alice"),
        ("exception.approved", "Bob"),
    ]


def test_it_takes_a_bare_date_to_the_end_of_its_day(alice: Api) -> None:
    day = in_days(10).date()
    assert ask(alice, expires_at=str(day)).json()["exception"]["expires_at"] == f"{day}T23:59:59Z"
    start = in_days(-10).date()
    shown = ask(alice, expires_at=str(day), effective_from=str(start)).json()["exception"]
    assert shown["effective_from"] == f"{start}T00:00:00Z"


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"expires_at": "2027-02-30"}, 422, "date_invalid"),
        ({"expires_at": "2027-02-28T12:00:00"}, 422, "date_invalid"),
        ({"expires_at": "tomorrow"}, 422, "date_invalid"),
        ({"expires_at": "2020-01-01"}, 422, "expiry_in_past"),
        ({"expires_at": 20270101}, 422, "date_invalid"),
        ({"effective_from": "2020-01-01"}, 422, "effective_too_early"),
        ({"severity": "P0"}, 422, "severity_unknown"),
        ({"systems": []}, 422, "invalid"),
        ({"systems": ["nowhere"]}, 404, "system_unknown"),
        ({"title": ""}, 422, "invalid"),
        ({"owner": "nobody@example.com"}, 422, "person_unknown"),
        ({"risk": "RISK-0009"}, 404, "risk_unknown"),
        ({"compensating_controls": [{"evidence": "x"}]}, 422, "invalid"),
    ],
)
def test_it_refuses_a_request_and_writes_nothing(alice: Api, changes: dict[str, Any], status: int, code: str) -> None:
    size = reader.size()
    answer = ask(alice, **changes)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert reader.size() == size


def test_it_replays_a_request_under_its_key(alice: Api) -> None:
    body = ASKED | {"expires_at": in_days(20).isoformat()}
    first = alice.post("exceptions", body, Idempotency_Key="k1")
    again = alice.post("exceptions", body, Idempotency_Key="k1")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (first.json()["receipt"], SecurityException.objects.count()) == (again.json()["receipt"], 1)
    other = alice.post("exceptions", body | {"title": "Another"}, Idempotency_Key="k1")
    assert other.json()["code"] == "idempotency_key_reused"


def test_it_says_why_a_transition_is_refused(
    alice: Api, bob: Api, cast: Cast, as_person: Callable[[User], Api]
) -> None:
    ask(alice)
    assert move(as_person(cast.lea), "EXC-0001", "approved").json()["code"] == "self_approval"  # Lea owns it
    assert move(alice, "EXC-0001", "approved").json()["code"] == "role_required"
    assert move(bob, "EXC-0001", "revoked").json()["code"] == "transition_not_allowed"
    assert move(bob, "EXC-0001", "done").json()["code"] == "transition_unknown"
    assert move(bob, "EXC-0001", "rejected", reason="").json()["code"] == "reason_required"
    assert move(bob, "EXC-0001", "renewal_requested").json()["code"] == "date_invalid"
    assert move(bob, "EXC-0009", "approved").json()["code"] == "exception_unknown"


def test_it_renews_over_http(alice: Api, bob: Api) -> None:
    first = ask(alice).json()["exception"]["expires_at"]
    move(bob, "EXC-0001", "approved")
    later = in_days(60).isoformat()
    pending = move(alice, "EXC-0001", "renewal_requested", expires_at=later).json()["exception"]
    assert (pending["renewal_pending"], pending["expires_at"]) == (True, first)
    renewed = move(bob, "EXC-0001", "renewed").json()["exception"]
    assert renewed["original_expires_at"] == first
    assert datetime.fromisoformat(renewed["expires_at"]) == datetime.fromisoformat(later)
    assert renewed["renewals"][0]["state"] == "renewed"


def test_it_amends_over_http(alice: Api, bob: Api) -> None:
    ask(alice)
    move(bob, "EXC-0001", "approved")
    answer = move(alice, "EXC-0001", "amended", changes={"severity": "medium", "owner": "max@example.com"})
    assert answer.status_code == 201, answer.content
    shown = answer.json()["exception"]
    assert (shown["state"], shown["severity"], shown["owner"]["name"]) == ("requested", "medium", "Max")
    assert shown["approvals"] == []
    assert move(alice, "EXC-0001", "amended", changes={"systems": "netlify"}).json()["code"] == "invalid"
    assert (
        move(alice, "EXC-0001", "amended", changes={"expires_at": "2030-01-01"}).json()["code"] == "amendment_invalid"
    )


def test_it_closes_itself_to_auditors_pipelines_and_strangers(
    alice: Api, cast: Cast, as_person: Callable[[User], Api]
) -> None:
    ask(alice)
    assert as_person(cast.ada).get("exceptions").status_code == 403
    assert as_person(cast.ada).post("exceptions", ASKED).status_code == 403
    assert Api("pt_x_y").get("exceptions").status_code == 401
    pipeline = Api(cast.ci_token)
    assert [row["id"] for row in pipeline.get("exceptions").json()["results"]] == ["EXC-0001"]
    assert pipeline.post("exceptions", ASKED).status_code == 403
    assert move(pipeline, "EXC-0001", "approved").status_code == 403


def test_it_shows_only_systems_within_reach(alice: Api, cast: Cast, as_person: Callable[[User], Api]) -> None:
    ask(alice)
    charlie = as_person(cast.charlie)
    assert charlie.get("exceptions").json()["results"] == []
    assert charlie.get("exceptions/EXC-0001").json()["code"] == "exception_unknown"
    ask(alice, systems=["billing", "netlify-trading"])
    assert [row["id"] for row in charlie.get("exceptions").json()["results"]] == ["EXC-0002"]
    assert move(charlie, "EXC-0002", "withdrawn").json()["code"] == "system_not_yours"


def test_it_filters(alice: Api, bob: Api) -> None:
    ask(alice), ask(alice, severity="low", expires_at=in_days(300).isoformat(), systems=["billing"])
    ask(alice, owner="max@example.com")
    for number in ("EXC-0001", "EXC-0002"):
        move(bob, number, "approved")

    def found(**query: object) -> list[str]:
        answer = look(alice, "exceptions", **query)
        assert answer.status_code == 200, answer.content
        return [row["id"] for row in answer.json()["results"]]

    assert found() == ["EXC-0003", "EXC-0002", "EXC-0001"]
    assert found(state="active") == ["EXC-0002", "EXC-0001"]
    assert found(state="requested") == ["EXC-0003"]
    assert found(state="due") == found(state="expiring") == ["EXC-0001"]
    assert found(severity="low") == ["EXC-0002"]
    assert found(system="billing") == ["EXC-0002"]
    assert found(owner="max@example.com") == ["EXC-0003"]
    assert found(due_within="21") == ["EXC-0001"]
    for query, code in (
        ({"state": "good"}, "state_unknown"),
        ({"severity": "P0"}, "severity_unknown"),
        ({"due_within": "-1"}, "filter_invalid"),
        ({"as_of": "2026-02-30"}, "date_invalid"),
        ({"system": "nowhere"}, "system_unknown"),
    ):
        assert look(alice, "exceptions", **query).json()["code"] == code


def test_it_answers_as_of_questions(alice: Api, bob: Api) -> None:
    before = datetime.now(UTC).isoformat()
    ask(alice)
    move(bob, "EXC-0001", "approved")
    between = datetime.now(UTC).isoformat()
    move(bob, "EXC-0001", "revoked")

    def found(**query: object) -> list[tuple[str, str]]:
        return [(row["id"], row["state"]) for row in look(alice, "exceptions", **query).json()["results"]]

    assert found(as_of=before) == []
    assert found(as_of=between) == [("EXC-0001", "active")]
    assert found(as_of=between, state="open") == [("EXC-0001", "active")]
    assert found(as_of=between, state="revoked") == []
    assert found() == [("EXC-0001", "revoked")]


def test_it_lists_in_a_fixed_number_of_queries(
    alice: Api, request_one: Request, django_assert_num_queries: Any
) -> None:
    request_one(), request_one()
    for _ in range(2):
        with django_assert_num_queries(8):
            alice.get("exceptions")
        request_one(), request_one(), request_one()


def test_it_pages_by_cursor(alice: Api, request_one: Request) -> None:
    for _ in range(5):
        request_one()
    first = look(alice, "exceptions", limit=2).json()
    second = alice.get(first["next"].partition("/api/v1/")[2]).json()
    assert [row["id"] for row in first["results"] + second["results"]] == [
        "EXC-0005", "EXC-0004", "EXC-0003", "EXC-0002",
    ]  # fmt: skip


def test_it_keeps_the_risk_register(alice: Api, cast: Cast, as_person: Callable[[User], Api]) -> None:
    entry = {
        "title": "Partner gateway falls behind", "likelihood": 4, "impact": 5, "owner": "max@example.com",
        "mitigation": "Mirror traffic", "contingency": "Switch the partner off", "systems": ["netlify-trading"],
    }  # fmt: skip
    answer = alice.post("risks", entry)
    assert answer.status_code == 201, answer.content
    risk = answer.json()["risk"]
    assert (risk["id"], risk["rating"], risk["residual_rating"], risk["status"]) == ("RISK-0001", 20, None, "open")
    changes = {"residual_likelihood": 2, "residual_impact": 3, "status": "mitigating"}
    changed = alice.post("risks/RISK-0001", {"reason": "Mirroring runs", "changes": changes}).json()["risk"]
    assert (changed["residual_rating"], changed["status"]) == (6, "mitigating")
    assert ask(alice, risk="RISK-0001").json()["exception"]["risk"] == "RISK-0001"
    assert alice.get("risks/RISK-0001").json()["exceptions"] == ["EXC-0001"]
    assert as_person(cast.charlie).get("risks").json()["results"] == []
    assert alice.post("risks/RISK-0001", {"reason": "Gone", "close": True}).json()["risk"]["status"] == "closed"
    assert alice.post("risks/RISK-0001", {"reason": "x", "close": True}).json()["code"] == "transition_not_allowed"
    assert [row["id"] for row in look(alice, "risks", status="closed").json()["results"]] == ["RISK-0001"]
    for bad in ({"likelihood": 6}, {"title": ""}, {"status": "closed"}):
        assert alice.post("risks", entry | bad).json()["code"] == "invalid"
    assert as_person(cast.ada).get("risks").status_code == 403


def test_it_describes_itself(alice: Api) -> None:
    schema = alice.get("schema").content.decode()
    for path in ("/api/v1/exceptions/{number}/transitions", "/api/v1/risks/{number}", "due_within"):
        assert path in schema


def test_it_shows_and_holds_what_was_approved(alice: Api, bob: Api) -> None:
    asked = ask(alice, releases=["netlify-trading:release-7"]).json()["exception"]
    assert asked["releases"] == ["netlify-trading:release-7"]
    refused = move(bob, "EXC-0001", "approved", terms="sha256:" + "0" * 64)
    assert (refused.status_code, refused.json()["code"]) == (409, "terms_changed")
    shown = move(bob, "EXC-0001", "approved", terms=asked["terms"]).json()["exception"]
    assert shown["approvals"][0]["terms"] == shown["terms"] == asked["terms"]


def test_it_closes_with_evidence_or_with_what_takes_its_place(alice: Api, bob: Api) -> None:
    for number in (1, 2):
        ask(alice)
        move(bob, f"EXC-000{number}", "approved")
    bare = move(alice, "EXC-0001", "remediated")
    assert (bare.status_code, bare.json()["code"]) == (422, "evidence_required")
    stray = move(alice, "EXC-0001", "revoked", evidence=[1])
    assert (stray.status_code, stray.json()["where"]) == (422, "$.evidence")
    nobody = move(alice, "EXC-0001", "superseded")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "exception_unknown")
    replaced = move(alice, "EXC-0001", "superseded", by="EXC-0002").json()["exception"]
    assert (replaced["state"], replaced["superseded_by"]) == ("superseded", "EXC-0002")
    shown = look(alice, "exceptions", state="superseded").json()["results"]
    assert [one["id"] for one in shown] == ["EXC-0001"]
    index = replaced["index"]
    assert move(alice, "EXC-0002", "remediated", evidence=[index]).json()["exception"]["state"] == "remediated"
