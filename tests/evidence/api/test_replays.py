"""R4.1: what was recorded is answered as it was, whatever would refuse it today; and what a replay still requires."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.utils import timezone

from evidence import kinds, people
from evidence.ledger import Actor, reader
from evidence.ledger.check import check
from evidence.models import Artifact, Token
from evidence.models.people import SERVICE, Limits
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import build_statement
from tests.cast import Cast
from tests.evidence.conftest import RELEASE, Api

US = Actor(SERVICE)
DSSE = "application/vnd.dsse.envelope.v1+json"
NDJSON = "application/x-ndjson"
TEST = {"suite": "unit", "outcome": "passed", "passed": 412}
PLAIN = {"kind": "test.result", "release": "netlify-trading:release-20260312", "body": TEST}


@pytest.fixture
def envelope(cast: Cast) -> bytes:
    """Signed by the pipeline's own key."""
    own = generate()
    people.add_key(cast.ci, actor=US, public_key=dump_public(own.public_key()))
    predicate = "urn:prooftrail:predicate:test.result:v1"
    subjects = [{"name": "app", "digest": {"sha256": "ab" * 32}}]
    return sign_envelope(build_statement(subjects=subjects, predicate_type=predicate, predicate=TEST), own)


class Sender:
    """Sends one record in each way that there is, and the same again."""

    def __init__(self, api: Api, envelope: bytes) -> None:
        self.api, self.envelope = api, envelope

    def single(self) -> Any:
        return self.api.post("records", PLAIN, Idempotency_Key="single")

    def signed(self) -> Any:
        return self.api.post(f"records?release={PLAIN['release']}", self.envelope, content_type=DSSE)

    def lines(self) -> list[dict[str, Any]]:
        signed = json.dumps(json.loads(self.envelope) | {"release": PLAIN["release"]})
        body = f"{json.dumps(PLAIN | {'idempotency_key': 'own'})}\n{json.dumps(PLAIN)}\n{signed}\n"
        answer = self.api.post("records/batch", body.encode(), content_type=NDJSON, Idempotency_Key="batch")
        return [json.loads(line) for line in b"".join(answer.streaming_content).splitlines()]

    def all(self) -> list[tuple[int, Any]]:
        """Status, and the receipt or the code, of each."""
        singles = [self.single(), self.signed()]
        said = [(each.status_code, each.json() if each.status_code < 300 else each.json()["code"]) for each in singles]
        rows = [(row["status"], row.get("receipt") or row["problem"]["code"]) for row in self.lines()]
        return [*said, *rows]


@pytest.fixture
def sender(api: Api, release: str, envelope: bytes) -> Sender:
    return Sender(api, envelope)


def allow(cast: Cast, **changes: Any) -> None:
    now: dict[str, Any] = {"systems": [cast.trading], "kinds": [], "is_active": True, "signatures_required": 0}
    people.change_pipeline(cast.ci, actor=US, **now | changes)


def retire_its_kind(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(kinds.load().named("test.result")), "retired", True)


def take_its_kind(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    allow(cast, kinds=["decision"])


def want_two_signatures(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    people.add_key(cast.ci, actor=US, public_key=dump_public(generate().public_key()))
    allow(cast, signatures_required=2)


def revoke_its_key(cast: Cast, monkeypatch: pytest.MonkeyPatch) -> None:
    people.revoke_key(cast.ci.keys.get(), actor=US, reason="rotated")


Change = Callable[[Cast, pytest.MonkeyPatch], None]


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (retire_its_kind, {"kind_retired"}),
        (take_its_kind, {"kind_not_allowed"}),
        (want_two_signatures, {"signature_required", "signatures_missing"}),
        (revoke_its_key, {"key_unknown"}),
    ],
)
def test_what_was_recorded_is_answered_as_before(
    cast: Cast, sender: Sender, monkeypatch: pytest.MonkeyPatch, change: Change, refused: set[str]
) -> None:
    first = sender.all()
    assert {status for status, _ in first} == {201}
    change(cast, monkeypatch)
    size = reader.size()
    again = sender.all()
    assert again == [(200, receipt) for _, receipt in first]
    assert reader.size() == size
    assert sender.single()["Idempotency-Replayed"] == "true"

    other = PLAIN | {"body": TEST | {"passed": 1}}
    fresh = [
        sender.api.post("records", other, Idempotency_Key="fresh"),
        sender.api.post(f"records?fresh&release={PLAIN['release']}", sender.envelope, content_type=DSSE),
    ]
    assert {answer.json()["code"] for answer in fresh if answer.status_code >= 300} == refused
    reused = sender.api.post("records", other, Idempotency_Key="single")
    assert reused.json()["code"] == "idempotency_key_reused", "an answer goes to the same request only"
    assert check() == []


def test_who_lost_the_token_or_the_system_gets_no_receipt(cast: Cast, sender: Sender) -> None:
    sender.all()
    allow(cast, systems=[cast.billing])
    assert {code for _, code in sender.all()} == {"release_unknown"}
    allow(cast, systems=[cast.trading, cast.billing])
    token = people.issue_token(cast.ci, actor=US, label="b", limits=Limits(systems=frozenset({cast.billing.pk})))
    assert {code for _, code in Sender(Api(token.text), sender.envelope).all()} == {"release_unknown"}
    assert {status for status, _ in sender.all()} == {200}

    people.revoke_token(Token.objects.get(label="first token"), actor=US, reason="leaked")
    assert sender.single().json()["code"] == sender.signed().json()["code"] == "token_invalid"


def test_a_record_outlives_the_file_that_it_named(
    api: Api, cast: Cast, release: str, superuser: psycopg.Connection[Any]
) -> None:
    Artifact.objects.create(
        system=cast.trading,
        sha256="cd" * 32,
        size=5,
        name="deploy.log",
        media_type="text/plain",
        state=Artifact.CONFIRMED,
        retention_class="deploy-log",
        retain_until=timezone.now() + timedelta(days=400),
        created_by=cast.ci.uid,
    )
    log = {"kind": "deploy.log", "release": release, "body": {"environment": "production"}}
    log |= {"subject": {"name": "deploy.log", "digest": {"sha256": "cd" * 32}}}
    first = api.post("records", log, Idempotency_Key="log")
    superuser.execute("ALTER TABLE evidence_artifact DISABLE TRIGGER USER")  # its time is over
    superuser.execute("DELETE FROM evidence_artifact")
    again = api.post("records", log, Idempotency_Key="log")
    assert (first.status_code, again.status_code, again.content) == (201, 200, first.content)
    assert api.post("records", log).json()["code"] == "artifact_required"


def test_a_release_that_may_no_longer_be_opened_was_opened(api: Api, cast: Cast) -> None:
    first = api.post("releases", RELEASE, Idempotency_Key="r-1")
    allow(cast, kinds=["test.result"])
    again = api.post("releases", RELEASE, Idempotency_Key="r-1")
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json()
    assert api.post("releases", RELEASE | {"tag": "release-2"}).json()["code"] == "kind_not_allowed"
