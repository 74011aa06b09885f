"""POST records/batch: a line of answer for each line, in order; a bad one fails alone."""

import io
import json
from typing import Any

import pytest

from evidence import people
from evidence.keys import log_verifier
from evidence.ledger import Actor, reader
from evidence.ledger.check import check
from evidence.models import Note, Token
from evidence.models.people import SERVICE
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.statement import build_statement

NDJSON = "application/x-ndjson"


def result(number: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "suite": "unit",
        "outcome": "passed",
        "passed": number,
        "failed": 0,
        "manifest_digest": "sha256:" + "ab" * 32,
    } | more


def line(release: str, number: int = 0, **more: Any) -> bytes:
    return json.dumps({"kind": "test.result", "release": release, "body": result(number)} | more).encode()


@pytest.fixture
def key(cast):
    own = generate()
    people.add_key(cast.ci, actor=Actor(SERVICE), public_key=dump_public(own.public_key()))
    return own


def signed(key, number: int = 0, **unsigned: Any) -> bytes:
    payload = build_statement(
        subjects=[{"name": "app", "digest": {"sha256": f"{number:064x}"}}],
        predicate_type="urn:prooftrail:predicate:test.result:v1",
        predicate=result(number),
    )
    envelope = json.loads(sign_envelope(payload, key)) | unsigned
    return json.dumps(envelope, separators=(",", ":")).encode()


def send(api, lines: list[bytes], query: str = "", **headers: str) -> list[dict[str, Any]]:
    response = api.post(f"records/batch{query}", b"\n".join(lines) + b"\n", content_type=NDJSON, **headers)
    assert response.status_code == 200, response.content
    assert response.headers["Content-Type"] == NDJSON
    return [json.loads(row) for row in b"".join(response.streaming_content).splitlines()]


def test_it_answers_each_line_in_order_with_its_receipt(api, release, key):
    sent = [signed(key, number, release=release) for number in range(450)]
    notes = Note.objects.count()
    answers = send(api, sent)
    assert [row["line"] for row in answers] == list(range(1, 451))
    assert {row["status"] for row in answers} == {201}
    for row, envelope in list(zip(answers, sent, strict=True))[::50]:
        receipt = parse_receipt(json.dumps(row["receipt"]).encode())
        steps = list(verify_receipt(receipt, verifiers=[log_verifier()], sent=envelope))
        assert all(step.ok for step in steps)
        assert reader.get(receipt.index).envelope == envelope
    assert Note.objects.count() - notes <= 3, "groups share transactions"
    assert check() == []


def test_it_lets_bad_lines_fail_alone(api, release, key):
    lines = [
        line(release, 1),
        b"{not json",
        b"",
        b"[]",
        line(release, 2, kind="approval"),
        line(release, 3, body={"suite": 7}),
        line("netlify-trading:unknown", 4),
        signed(generate(), 5, release=release),
        signed(key, 6, release=release, occurred_at="yesterday"),
        signed(key, 7, release=7),
        line(release, 8, idempotency_key="has space"),
        signed(key, 9, release=release, idempotency_key="k"),
        signed(key, 10, release=release),
    ]
    answers = send(api, lines)
    assert [row["status"] for row in answers] == [201, 400, 400, 422, 403, 422, 404, 422, 422, 422, 422, 422, 201]
    assert [row["problem"]["code"] for row in answers[1:-1]] == [
        "json_malformed",
        "json_malformed",
        "record_invalid",
        "kind_reserved",
        "body_invalid",
        "release_unknown",
        "key_unknown",
        "time_invalid",
        "record_invalid",
        "idempotency_key_invalid",
        "record_invalid",
    ]


def test_it_takes_release_and_time_of_all_envelopes_from_the_query(api, release, key):
    query = f"?release={release}&occurred_at=2026-03-12T15:00:00Z"
    (answer,) = send(api, [signed(key)], query)
    record = api.get(f"records/{answer['receipt']['index']}").json()
    assert (record["release"], record["occurred"]) == (release, "2026-03-12T15:00:00.000000Z")


def test_a_retry_gets_the_same_receipts(api, release, key):
    lines = [line(release, 1), line(release, 2, idempotency_key="mine"), signed(key, 3, release=release)]
    first = send(api, lines, Idempotency_Key="batch-1")
    again = send(api, lines, Idempotency_Key="batch-1")
    assert [row["status"] for row in first] == [201] * 3
    assert [row["status"] for row in again] == [200] * 3
    assert [row["receipt"] for row in again] == [row["receipt"] for row in first]
    changed = send(api, [line(release, 9), *lines[1:]], Idempotency_Key="batch-1")
    assert changed[0]["problem"]["code"] == "idempotency_key_reused"


def test_a_key_named_twice_gives_one_record(api, release):
    twice = line(release, 1, idempotency_key="same")
    answers = send(api, [twice, twice])
    assert [row["status"] for row in answers] == [201, 200]
    assert answers[0]["receipt"] == answers[1]["receipt"]


def test_it_passes_over_a_line_that_is_too_long(api, release, settings):
    settings.MAX_BODY_BYTES = 4096
    answers = send(api, [line(release, 1), b'{"x":"' + b"y" * 300_000 + b'"}', line(release, 2)])
    assert [row["status"] for row in answers] == [201, 413, 201]
    assert answers[1]["problem"]["code"] == "body_too_large"


def test_it_ends_after_the_last_allowed_line(api, release, settings):
    settings.MAX_BATCH_LINES = 2
    answers = send(api, [line(release, number) for number in range(5)])
    assert [row["status"] for row in answers] == [201, 201, 413]
    assert answers[2]["problem"]["code"] == "batch_too_long"


def test_it_needs_no_newline_at_the_end_and_allows_carriage_returns(api, release):
    body = line(release, 1) + b"\r\n" + line(release, 2)
    response = api.post("records/batch", body, content_type=NDJSON)
    assert [json.loads(row)["status"] for row in b"".join(response.streaming_content).splitlines()] == [201, 201]


@pytest.mark.parametrize(
    ("token", "media_type", "status", "code"),
    [
        ("", NDJSON, 401, "not_authenticated"),
        ("pt_0000_x", NDJSON, 401, "token_invalid"),
        (None, "application/json", 415, "media_type_unsupported"),
    ],
)
def test_it_refuses_the_whole_request(api, release, token, media_type, status, code):
    api.token = api.token if token is None else token
    response = api.post("records/batch", line(release), content_type=media_type)
    assert (response.status_code, response.json()["code"]) == (status, code)


def test_a_token_revoked_between_groups_writes_no_more(api, cast, release, monkeypatch):
    from evidence.api import batch

    monkeypatch.setattr(batch, "GROUP_LINES", 2)

    class Revoking(io.BytesIO):
        """The body's second part is read after the first was prepared; by then the token is revoked."""

        def read(self, size: int | None = -1) -> bytes:
            if self.tell():
                token = Token.objects.get(pipeline=cast.ci)
                if token.revoked_at is None:
                    people.revoke_token(token, actor=Actor(SERVICE), reason="lost")
            return super().read(30_000)

    lines = [
        line(release, number, subject={"name": "x" * 5000, "digest": {"sha256": "ab" * 32}}) for number in range(9)
    ]
    monkeypatch.setattr(batch, "_body", lambda request: Revoking(b"\n".join(lines)))
    answers = send(api, [])
    statuses = [row["status"] for row in answers]
    assert statuses == sorted(statuses)
    assert (statuses[0], statuses[-1]) == (201, 401)
    assert answers[-1]["problem"]["code"] == "token_invalid"


def test_it_says_when_it_is_full(api, release, monkeypatch):
    from evidence.api import admission

    monkeypatch.setattr(admission, "batches", admission.Places(0))
    response = api.post("records/batch", line(release), content_type=NDJSON)
    assert (response.status_code, response.json()["code"]) == (503, "busy")
