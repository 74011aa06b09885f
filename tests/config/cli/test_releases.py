import json

import pytest

from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Reply, Service, problem

RELEASE = "web:release-20261122"
BASE = f"/api/v1/releases/{RELEASE}"
DIGEST = "sha256:" + "c" * 64
OPEN = (
    *("release", "open", "--system", "web", "--ticket-id", "CHG-7", "--ticket-url", "https://tickets.example/CHG-7"),
    *("--captain", "Alice"),
)


def answer(service: Service, name: str, value: object) -> Reply:
    receipt = service.ledger.plain({"kind": "release.opened", "release": RELEASE, "body": {}})
    return Reply({name: value, "receipt": receipt}, 201)


def test_it_opens_a_release(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on("POST /api/v1/releases", answer(logged_in, "release", {"id": RELEASE}))
    outcome = prooftrail(
        *OPEN,
        *("--tag", "release-20261122", "--type", "hotfix", "--commander", "Bob"),
        *("--surface", "web", "--surface", "api", "--dashboard", "Errors=https://graphs.example/d?a=b"),
        *("--window", "2026-11-22T06:00:00Z", "2026-11-22T08:00:00Z"),
    )
    assert outcome.code == 0, outcome.err
    assert f"Release {RELEASE} is open." in outcome.out
    assert "Recorded at index 0" in outcome.out
    assert logged_in.seen[0].json() == {
        "system": "web",
        "tag": "release-20261122",
        "type": "hotfix",
        "ticket_id": "CHG-7",
        "ticket_url": "https://tickets.example/CHG-7",
        "dashboards": [{"name": "Errors", "url": "https://graphs.example/d?a=b"}],
        "captain": "Alice",
        "commander": "Bob",
        "surfaces": ["web", "api"],
        "window": {"from": "2026-11-22T06:00:00Z", "to": "2026-11-22T08:00:00Z"},
    }


def test_it_takes_the_tag_of_a_ci_job(
    logged_in: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert prooftrail(*OPEN).code == 4
    monkeypatch.setenv("CI_COMMIT_TAG", "release-20261122")
    logged_in.on("POST /api/v1/releases", answer(logged_in, "release", {"id": RELEASE}))
    outcome = prooftrail(*OPEN, "--json")
    assert json.loads(outcome.out)["release"] == {"id": RELEASE}
    assert logged_in.seen[0].json()["tag"] == "release-20261122"
    assert logged_in.seen[0].json()["type"] == "regular"


@pytest.mark.parametrize("dashboard", ["x", "=https://x", "x="])
def test_it_refuses_a_dashboard_without_name_or_url(logged_in: Service, prooftrail: Prooftrail, dashboard: str) -> None:
    assert prooftrail(*OPEN, "--tag", "r", "--dashboard", dashboard).code == 4
    assert logged_in.seen == []


def test_it_refuses_an_answer_without_a_true_receipt(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on("POST /api/v1/releases", Reply({"release": {"id": RELEASE}}, 201))
    assert prooftrail(*OPEN, "--tag", "r").code == 1


def test_it_shows_a_release(logged_in: Service, prooftrail: Prooftrail) -> None:
    found = {"id": RELEASE, "state": "open", "surfaces": ["web", "api"], "commander": ""}
    logged_in.on(f"GET {BASE}", Reply(found))
    outcome = prooftrail("release", "show", RELEASE)
    assert outcome.out.splitlines() == [f"id        {RELEASE}", "state     open", "surfaces  web, api"]
    assert json.loads(prooftrail("release", "show", RELEASE, "--json").out) == found


def test_it_shows_the_whole_timeline(logged_in: Service, prooftrail: Prooftrail) -> None:
    def row(index: int) -> dict[str, object]:
        by = {"id": "p_1", "name": "[bold]ci"}
        return {"index": index, "kind": "test.result", "occurred": "2026-11-22T05:00:00Z", "principal": by}

    following = f"https://elsewhere.example{BASE}/timeline?cursor=c%3D"
    first = Reply({"results": [row(1)], "next": following, "previous": None})
    last = Reply({"results": [row(2)], "next": None, "previous": following})
    logged_in.on(f"GET {BASE}/timeline", first, last)
    outcome = prooftrail("release", "timeline", RELEASE, "--json")
    assert [found["index"] for found in json.loads(outcome.out)["results"]] == [1, 2]
    assert logged_in.seen[1].query == {"cursor": ["c="]}
    out = prooftrail("release", "timeline", RELEASE).out
    assert "test.result" in out
    assert "[bold]ci" in out
    assert "outcome" not in out
    logged_in.on(f"GET {BASE}/timeline", Reply({"results": [], "next": None}))
    assert "Nothing is recorded" in prooftrail("release", "timeline", RELEASE).out


def test_it_approves_the_newest_manifest(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {BASE}", Reply({"id": RELEASE, "manifest_digest": DIGEST}))
    logged_in.on(f"POST {BASE}/approvals", answer(logged_in, "approval", {}))
    outcome = prooftrail("approve", RELEASE, "--role", "qa", "--comment", "Tested.")
    assert outcome.code == 0, outcome.err
    assert f"Approved as qa: manifest {DIGEST}." in outcome.out
    assert logged_in.seen[-1].json() == {
        "role": "qa",
        "decision": "approved",
        "comment": "Tested.",
        "manifest_digest": DIGEST,
    }


def test_it_rejects_the_manifest_that_was_looked_at(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"POST {BASE}/approvals", answer(logged_in, "approval", {}))
    outcome = prooftrail(
        "approve", RELEASE, "--role", "qa", "--comment", "Broken.", "--reject", "--manifest-digest", DIGEST
    )
    assert outcome.code == 0
    assert [seen.method for seen in logged_in.seen] == ["POST"]
    assert logged_in.seen[0].json()["decision"] == "rejected"


def test_it_approves_nothing_without_a_manifest(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"GET {BASE}", Reply({"id": RELEASE, "manifest_digest": None}))
    outcome = prooftrail("approve", RELEASE, "--role", "qa", "--comment", "x")
    assert outcome.code == 4
    assert "no deploy manifest" in outcome.err


def test_it_passes_on_that_the_author_may_not_approve(logged_in: Service, prooftrail: Prooftrail) -> None:
    logged_in.on(f"POST {BASE}/approvals", problem(403, "author_cannot_approve"))
    outcome = prooftrail("approve", RELEASE, "--role", "qa", "--comment", "x", "--manifest-digest", DIGEST)
    assert outcome.code == 3
    assert "author_cannot_approve" in outcome.err
