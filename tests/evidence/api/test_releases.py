"""Releases and approvals through the API."""

import json

import pytest

from evidence.ledger import reader
from tests.evidence.conftest import RELEASE, Api

SHA = "cd" * 32
MANIFEST = {
    "commit": "a" * 40,
    "author": "alice@example.com",
    "environment": "production",
    "artifacts": [{"name": "app.js", "size": 3, "sha256": SHA}],
}


@pytest.fixture
def manifest(api, release):
    response = api.post("records", {"kind": "deploy.manifest", "release": release, "body": MANIFEST})
    assert response.status_code == 201, response.content
    return api.get(f"releases/{release}").json()["manifest_digest"]


@pytest.fixture
def sign(release, manifest, token_for):
    def post(person, role, digest=manifest, **more):
        body = {"role": role, "decision": "approved", "manifest_digest": digest} | more
        return Api(token_for(person)).post(f"releases/{release}/approvals", body)

    return post


def test_it_opens_a_release_with_its_links(api, release):
    shown = api.get(f"releases/{release}").json()
    assert shown["ticket_id"] == "TRD-1042"
    assert shown["dashboards"] == RELEASE["dashboards"]
    assert shown["window"]["from"] == "2026-03-12T15:00:00.000000Z"
    assert api.post("releases", RELEASE).json()["code"] == "release_exists"
    assert api.post("releases", RELEASE | {"tag": "sp ace"}).json()["code"] == "body_invalid"
    assert [row["id"] for row in api.get("releases").json()["results"]] == [release]


def test_it_replays_an_opened_release(api):
    first = api.post("releases", RELEASE, Idempotency_Key="open")
    again = api.post("releases", RELEASE, Idempotency_Key="open")
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.json() == again.json()


def test_it_shows_the_timeline_in_order(api, release, manifest, django_assert_max_num_queries):
    with django_assert_max_num_queries(16):  # planned against actual among them
        rows = api.get(f"releases/{release}/timeline").json()["results"]
    assert [row["kind"] for row in rows] == ["release.opened", "deploy.manifest"]


def test_it_takes_an_approval_from_who_signs_for_the_role(api, cast, release, sign):
    response = sign(cast.bob, "qa", comment="smoke suite green")
    assert response.status_code == 201, response.content
    assert response.json()["approval"]["person"] == "Bob"
    (approval,) = api.get(f"releases/{release}").json()["approvals"]
    assert (approval["role"], approval["stale"], approval["counts"]) == ("qa", False, True)


@pytest.mark.parametrize(
    ("person", "role", "digest", "status", "code"),
    [
        ("bob", "sre", None, 403, "role_not_assigned"),
        ("alice", "qa", None, 403, "role_not_assigned"),
        ("bob", "qa", "sha256:" + "00" * 32, 409, "manifest_stale"),
        ("ada", "qa", None, 403, "forbidden"),
    ],
)
def test_it_refuses_an_approval(cast, sign, manifest, person, role, digest, status, code):
    size_before = reader.size()
    response = sign(getattr(cast, person), role, digest or manifest)
    assert (response.status_code, response.json()["code"]) == (status, code)
    assert reader.size() == size_before + 1  # the token issued for the try


def test_it_refuses_the_author(api, cast, release, sign):
    from evidence.api.actors import actor_for
    from evidence.people import change_user

    change_user(cast.alice, actor=actor_for(cast.root), sign_offs=[("design", cast.trading)])
    assert sign(cast.alice, "design").json()["code"] == "self_approval"


def test_it_lets_one_person_sign_for_one_role(cast, sign):
    from evidence.api.actors import actor_for
    from evidence.people import change_user

    change_user(cast.bob, actor=actor_for(cast.root), sign_offs=[("qa", cast.trading), ("sre", cast.trading)])
    assert sign(cast.bob, "qa").status_code == 201
    assert sign(cast.bob, "sre").json()["code"] == "one_role_per_person"


def test_it_lets_a_newer_manifest_make_approvals_stale(api, cast, release, sign):
    sign(cast.bob, "qa")
    newer = MANIFEST | {"commit": "b" * 40}
    api.post("records", {"kind": "deploy.manifest", "release": release, "body": newer})
    (approval,) = api.get(f"releases/{release}").json()["approvals"]
    assert approval["stale"]


def test_it_withdraws_an_approval(api, cast, release, sign):
    assert sign(cast.bob, "qa", decision="withdrawn").json()["code"] == "nothing_to_withdraw"
    sign(cast.bob, "qa")
    assert sign(cast.bob, "qa", decision="rejected").json()["code"] == "comment_required"
    assert sign(cast.bob, "qa", decision="withdrawn").status_code == 201
    assert not any(row["counts"] for row in api.get(f"releases/{release}").json()["approvals"])


def test_it_refuses_evidence_for_an_ended_release(api, release):
    api.post("records", {"kind": "release.closed", "release": release, "body": {"reason": "done"}})
    again = api.post("records", {"kind": "release.closed", "release": release, "body": {"reason": "done"}})
    assert (again.status_code, again.json()["code"]) == (409, "release_ended")


def test_what_was_recorded_before_a_release_ended_is_answered_as_before(api, release):
    """R4.1: also then the retry of what was accepted gets its receipt, and nothing new comes in."""
    result = {"kind": "test.result", "release": release, "body": {"suite": "unit", "outcome": "passed"}}
    line = json.dumps(result | {"idempotency_key": "line"}).encode()

    def batch():
        (answer,) = api.post("records/batch", line, content_type="application/x-ndjson").getvalue().splitlines()
        return json.loads(answer)

    first, by_line = api.post("records", result, Idempotency_Key="one"), batch()
    api.post("records", {"kind": "release.closed", "release": release, "body": {"reason": "done"}})
    size = reader.size()
    again = api.post("records", result, Idempotency_Key="one")
    assert (again.status_code, again.json()) == (200, first.json())
    assert batch() == by_line | {"status": 200}
    fresh = api.post("records", result, Idempotency_Key="two")
    assert (fresh.status_code, fresh.json()["code"]) == (409, "release_ended")
    other = api.post("records", result | {"body": result["body"] | {"suite": "lint"}}, Idempotency_Key="one")
    assert other.json()["code"] == "idempotency_key_reused"
    assert reader.size() == size


def test_it_refuses_a_manifest_whose_subjects_differ(api, release):
    subject = {"name": "other", "digest": {"sha256": "ee" * 32}}
    response = api.post(
        "records", {"kind": "deploy.manifest", "release": release, "subject": subject, "body": MANIFEST}
    )
    assert (response.status_code, response.json()["code"]) == (422, "artifact_digest_mismatch")
