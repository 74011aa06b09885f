import json
from pathlib import Path

from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Reply, Service, problem

EXCEPTIONS = "/api/v1/exceptions"
ROW = {"id": "EXC-0001", "title": "Old TLS", "severity": "high", "state": "active"}


def test_it_lists_exceptions(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {EXCEPTIONS}", Reply({"results": [ROW], "next": "http://x/?cursor=a", "previous": None}))
    outcome = prooftrail("exceptions", "list", "--severity", "high", "--due-within", "7", "--system", "web")
    assert outcome.code == 0
    assert "EXC-0001" in outcome.out
    assert "Old TLS" in outcome.out
    assert len(logged_in.seen) == 1
    expected = {"severity": ["high"], "due_within": ["7"], "system": ["web"], "limit": ["50"]}
    assert logged_in.seen[0].query == expected


def test_it_follows_the_pages_when_told(logged_in: Service, prooftrail: Prooftrail) -> None:
    first = Reply({"results": [ROW], "next": "http://elsewhere.example/api/v1/exceptions?cursor=a&limit=500"})
    logged_in.on(f"GET {EXCEPTIONS}", first, Reply({"results": [ROW | {"id": "EXC-0002"}], "next": None}))
    outcome = prooftrail("exceptions", "list", "--all", "--json")
    assert [row["id"] for row in json.loads(outcome.out)["results"]] == ["EXC-0001", "EXC-0002"]
    assert logged_in.seen[1].query == {"cursor": ["a"], "limit": ["500"]}


def test_it_says_that_nothing_fits(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {EXCEPTIONS}", Reply({"results": [], "next": None}))
    assert "No exception fits." in prooftrail("exceptions", "list").out


def test_it_requests_an_exception(logged_in: Service, prooftrail: Prooftrail) -> None:
    receipt = logged_in.ledger.plain({"kind": "exception.requested", "body": {}})
    logged_in.on(f"POST {EXCEPTIONS}", Reply({"exception": {"id": "EXC-0007"}, "receipt": receipt}, 201))
    Path("body.json").write_text('{"title": "from file", "risk": "RISK-0001"}')
    outcome = prooftrail(
        *("exceptions", "request", "--body", "body.json", "--title", "Old TLS", "--justification", "Vendor"),
        *("--severity", "high", "--system", "web", "--system", "api", "--requirement", "dependency-alerts"),
        *("--control", "WAF rule", "--owner", "bob@example.com", "--expires-at", "2026-12-01"),
    )
    assert outcome.code == 0, outcome.err
    assert "Exception EXC-0007 is requested." in outcome.out
    assert logged_in.seen[0].json() == {
        "title": "Old TLS",
        "risk": "RISK-0001",
        "justification": "Vendor",
        "severity": "high",
        "systems": ["web", "api"],
        "requirements": ["dependency-alerts"],
        "compensating_controls": [{"title": "WAF rule"}],
        "owner": "bob@example.com",
        "expires_at": "2026-12-01",
    }


def test_it_says_that_an_executive_has_to_approve(logged_in: Service, prooftrail: Prooftrail) -> None:
    why = "EXC-0007 asks for 91 days: beyond 90 a high one needs an executive among the approvers."
    receipt = logged_in.ledger.plain({"kind": "exception.requested", "body": {}})
    terms = {"expires_at": "2027-02-21T23:59:59Z", "owner": {"name": "Lea"}, "systems": ["web"], "terms": "sha256:0"}
    found = ROW | terms | {"id": "EXC-0007", "needs_executive": why, "transitions": [], "moves": []}
    logged_in.on(f"POST {EXCEPTIONS}", Reply({"exception": found, "receipt": receipt}, 201))
    logged_in.on(f"POST {EXCEPTIONS}/EXC-0007/transitions", Reply({"exception": found, "receipt": receipt}, 201))
    logged_in.on(f"GET {EXCEPTIONS}/EXC-0007", Reply(found))
    asked = prooftrail("exceptions", "request", "--title", "Old TLS")
    moved = prooftrail("exceptions", "move", "EXC-0007", "--to", "amended", "--reason", "Worse")
    shown = prooftrail("exceptions", "show", "EXC-0007")
    for outcome in (asked, moved, shown):
        assert outcome.code == 0, outcome.err
        assert why in " ".join(outcome.out.split())


def test_it_passes_on_why_a_request_is_refused(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"POST {EXCEPTIONS}", problem(422, "expiry_in_past", where="$.expires_at"))
    outcome = prooftrail("exceptions", "request", "--title", "x")
    assert outcome.code == 4
    assert "expiry_in_past" in outcome.err
    assert "$.expires_at" in outcome.err
