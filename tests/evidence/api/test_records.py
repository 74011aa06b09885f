"""POST records: what is taken, what is proven, and that bad input writes nothing."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from evidence.api.actors import actor_for
from evidence.keys import log_verifier
from evidence.ledger import reader
from evidence.models import Token
from evidence.people import add_key, change_pipeline, revoke_token
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.statement import build_statement
from tests.evidence.conftest import RELEASE, Api

DSSE = "application/vnd.dsse.envelope.v1+json"
TEST = {"suite": "unit", "outcome": "passed", "passed": 412}


def record(release, **more):
    return {"kind": "test.result", "release": release, "body": TEST} | more


def statement(kind="test.result", body=TEST, subjects=None):
    return build_statement(
        subjects=subjects or [{"name": "build", "digest": {"sha256": "ab" * 32}}],
        predicate_type=f"urn:prooftrail:predicate:{kind}:v1",
        predicate=body,
    )


@pytest.fixture
def key(cast):
    private = generate()
    add_key(cast.ci, actor=actor_for(cast.root), public_key=dump_public(private.public_key()))
    return private


def test_it_answers_with_a_receipt_that_verifies_offline(api, release):
    response = api.post("records", record(release))
    assert response.status_code == 201
    receipt = parse_receipt(response.content)
    assert response.headers["Location"] == f"/api/v1/records/{receipt.index}"
    assert all(step.ok is not False for step in verify_receipt(receipt, verifiers=[log_verifier()]))


def test_it_keeps_an_envelope_as_it_was_sent(api, release, key):
    sent = json.dumps(json.loads(sign_envelope(statement(), key)), indent=3).encode()
    response = api.post(f"records?release={release}", sent, content_type=DSSE)
    assert response.status_code == 201, response.content
    receipt = parse_receipt(response.content)
    assert (receipt.signed_by, receipt.envelope) == ("pipeline", None)
    list(verify_receipt(receipt, verifiers=[log_verifier()], sent=sent))
    assert reader.get(receipt.index).envelope == sent


def test_it_records_an_envelope_once(api, release, key):
    sent = sign_envelope(statement(), key)
    first = api.post(f"records?release={release}", sent, content_type=DSSE)
    again = api.post(f"records?release={release}", sent, content_type=DSSE)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.content) == (200, first.content)


def test_it_replays_the_first_answer(api, release):
    first = api.post("records", record(release), Idempotency_Key="k-1")
    again = api.post("records", record(release), Idempotency_Key="k-1")
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert first.content == again.content


def test_it_lists_and_shows_what_was_recorded(api, release, django_assert_max_num_queries):
    for suite in ("unit", "integration", "contract"):
        api.post("records", record(release, body=TEST | {"suite": suite}))
    with django_assert_max_num_queries(8):
        rows = api.get(f"records?release={release}&kind=test.result&limit=2").json()
    assert [row["facts"]["suite"] for row in rows["results"]] == ["contract", "integration"]
    assert rows["next"]
    shown = api.get(f"records/{rows['results'][0]['index']}").json()
    assert shown["body"]["suite"] == "contract"
    assert shown["verification"]["signature"] == "service"


def test_it_serves_proofs_for_any_signed_size(api, release):
    index = api.post("records", record(release)).json()["index"]
    api.post("records", record(release))
    text = api.get(f"records/{index}/proof").content.decode()
    assert text.startswith(f"c2sp.org/tlog-proof@v1\nindex {index}\n")
    assert api.get(f"records/{index}/proof?size={index + 1}").status_code == 200
    assert api.get(f"records/{index}/proof?size={index}").json()["code"] == "checkpoint_unknown"


def test_it_marks_what_was_recorded_later(api, release):
    occurred = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    index = api.post("records", record(release, occurred_at=occurred)).json()["index"]
    assert api.get(f"records/{index}").json()["timeliness"] == "recorded_later"


def ahead(minutes):
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


BAD = {
    "unknown kind": (422, "kind_unknown", lambda r: record(r, kind="nonsense")),
    "reserved kind": (403, "kind_reserved", lambda r: record(r, kind="approval")),
    "malformed JSON": (400, "json_malformed", lambda r: b'{"kind": '),
    "duplicate keys": (400, "json_duplicate_key", lambda r: b'{"kind": "test.result", "kind": "decision"}'),
    "not a number": (400, "json_malformed", lambda r: b'{"kind": NaN}'),
    "big integer": (400, "json_malformed", lambda r: record(r, body=TEST | {"passed": 2**60})),
    "lone surrogate": (400, "json_malformed", lambda r: b'{"kind": "\\ud800"}'),
    "deep nesting": (400, "json_malformed", lambda r: b"[" * 100_000),
    "no release": (422, "release_required", lambda r: record(None)),
    "unknown release": (404, "release_unknown", lambda r: record("netlify-trading:nope")),
    "body against schema": (422, "body_invalid", lambda r: record(r, body={"suite": "unit"})),
    "body missing": (422, "record_invalid", lambda r: {"kind": "test.result", "release": r}),
    "unknown member": (422, "record_invalid", lambda r: record(r, extra=1)),
    "an hour ahead": (422, "occurred_in_future", lambda r: record(r, occurred_at=ahead(60))),
    "time without offset": (422, "time_invalid", lambda r: record(r, occurred_at="2026-03-12T15:00:00")),
    "30 February": (422, "time_invalid", lambda r: record(r, occurred_at="2026-02-30T15:00:00Z")),
    "over-size body": (413, "body_too_large", lambda r: b'{"kind": "' + b"x" * 1024 * 1024 + b'"}'),
    "kind for people": (403, "kind_not_allowed", lambda r: record(None, kind="postmortem", body={})),
}


@pytest.mark.parametrize("defect", BAD)
def test_it_refuses_bad_input_and_writes_nothing(api, release, defect):
    status, code, make = BAD[defect]
    size = reader.size()
    response = api.post("records", make(release))
    assert (response.status_code, response.json()["code"]) == (status, code), response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.json()["detail"]
    assert reader.size() == size


def test_it_refuses_a_wrong_signature_and_an_unknown_key(api, release, key):
    size = reader.size()
    envelope = json.loads(sign_envelope(statement(), key))
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    wrong = api.post(f"records?release={release}", json.dumps(envelope).encode(), content_type=DSSE)
    unknown = api.post(f"records?release={release}", sign_envelope(statement(), generate()), content_type=DSSE)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "signature_invalid")
    assert (unknown.status_code, unknown.json()["code"]) == (422, "key_unknown")
    reserved = api.post(f"records?release={release}", sign_envelope(statement("approval", {}), key), content_type=DSSE)
    assert (reserved.status_code, reserved.json()["code"]) == (403, "kind_reserved")
    broken = api.post(f"records?release={release}", b'{"payload": 3}', content_type=DSSE)
    assert (broken.status_code, broken.json()["code"]) == (422, "envelope_malformed")
    assert reader.size() == size


def test_it_needs_a_token_that_counts(api, cast, release):
    size = reader.size()
    token = Token.objects.get(pipeline=cast.ci)
    for text in (None, "nonsense", f"pt_{token.pk}_wrong", f"pt_{'0' * 12}_{'x' * 43}"):
        response = Api(text).post("records", record(release))
        assert response.status_code == 401
        assert response.json()["code"] in {"token_invalid", "not_authenticated"}
        assert "WWW-Authenticate" in response.headers
    revoke_token(token, actor=actor_for(cast.root), reason="test")
    assert api.post("records", record(release)).status_code == 401
    assert reader.size() == size + 1  # the revocation itself


def test_it_hides_other_systems_from_a_foreign_token(cast, release):
    from evidence.people import create_pipeline

    _, foreign = create_pipeline(actor=actor_for(cast.root), name="other", systems=[cast.billing])
    other = Api(foreign.text)
    size = reader.size()
    assert other.post("records", record(release)).json()["code"] == "release_unknown"
    assert other.get(f"releases/{release}").status_code == 404
    assert other.get("records?kind=release.opened").json()["results"] == []
    assert other.post("releases", RELEASE | {"tag": "x"}).json()["code"] == "system_unknown"
    assert reader.size() == size


def test_it_takes_nothing_for_all_systems_from_a_pipeline_that_has_none(api, cast):
    """An empty scope says: of all systems."""
    said = {"title": "Adopt Looker", "decision": "Yes", "rationale": "Asked for"}
    decision = {"kind": "decision", "body": said}
    assert api.post("records", decision).status_code == 201
    change_pipeline(cast.ci, actor=actor_for(cast.root), systems=[], kinds=[], is_active=True)
    size = reader.size()
    refused = api.post("records", decision)
    assert (refused.status_code, refused.json()["code"]) == (403, "scope_missing")
    assert reader.size() == size


def test_it_refuses_a_reused_key_with_another_body(api, release):
    api.post("records", record(release), Idempotency_Key="k-1")
    size = reader.size()
    response = api.post("records", record(release, body=TEST | {"passed": 1}), Idempotency_Key="k-1")
    assert (response.status_code, response.json()["code"]) == (422, "idempotency_key_reused")
    assert api.post("records", record(release), Idempotency_Key="a b").json()["code"] == "idempotency_key_invalid"
    assert reader.size() == size


def test_it_takes_well_known_predicates_as_they_are(api, release, key):
    payload = build_statement(
        subjects=[{"name": "build", "digest": {"sha256": "ab" * 32}}],
        predicate_type="https://in-toto.io/attestation/test-result/v0.1",
        predicate={"result": "PASSED", "configuration": []},
    )
    response = api.post(f"records?release={release}", sign_envelope(payload, key), content_type=DSSE)
    assert response.status_code == 201
    assert api.get(f"records/{response.json()['index']}").json()["kind"] == "test.result"


def test_it_withdraws_a_record_without_hiding_it(api, cast, release, token_for):
    index = api.post("records", record(release)).json()["index"]
    body = {"index": index, "reason": "wrong build"}
    foreign = Api(token_for(cast.alice)).post("records", {"kind": "record.withdrawn", "body": body})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "forbidden")
    withdrawn = api.post("records", {"kind": "record.withdrawn", "body": body}).json()["index"]
    assert api.get(f"records/{index}").json()["withdrawn_by"] == withdrawn


def test_it_says_when_it_is_full(api, release, monkeypatch):
    from evidence.api import admission

    monkeypatch.setattr(admission, "writes", admission.Places(0))
    response = api.post("records", record(release))
    assert (response.status_code, response.json()["code"]) == (503, "busy")
    assert int(response.headers["Retry-After"]) >= 1
