"""A right that ends within a batch: what lies in front of the record that ended it counts, what lies behind not."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence import authority, people
from evidence.authority import Facts
from evidence.ledger import Actor, Draft, Idempotency, Placed, append_all, reader, service_draft, wire
from evidence.ledger.check import check
from evidence.ledger.draft import Outcome
from evidence.ledger.imports import append_import
from evidence.models import Pipeline, PipelineKey, System, Token, User
from evidence.models.people import SERVICE
from evidence.records import plain_draft, signed_draft
from evidence.setup import ensure_signing_keys
from evidence.tlog.dsse import sign_envelope
from evidence.tlog.keys import dump_public, generate
from evidence.tlog.statement import Subject, build_statement
from tests.conftest import Clone

DECISION = {"title": "A", "decision": "B", "rationale": "C"}
US = Actor(SERVICE)


@dataclass(frozen=True)
class Site:
    """A pipeline with a key and a token, and a person: whoever writes, and what may end."""

    system: System
    pipeline: Pipeline
    token: Token
    private: Ed25519PrivateKey
    person: User

    @property
    def key(self) -> PipelineKey:
        return self.pipeline.keys.get()

    def signed(self, text: str, facts: Facts) -> Draft:
        """An envelope that the pipeline signed."""
        payload = build_statement(
            subjects=[Subject("build.zip", {"sha256": "ab" * 32})],
            predicate_type="urn:prooftrail:predicate:decision:v1",
            predicate=DECISION | {"title": text},
        )
        return signed_draft(
            sign_envelope(payload, self.private),
            principal=self.pipeline,
            actor=Actor(self.pipeline.uid),  # no token: only the key may end
            release=None,
            system=self.system.name,
            idempotency=Idempotency.of(text, method="POST", path="/", body=payload),
            facts=facts,
        )

    def plain(self, text: str, facts: Facts, credential: tuple[str, str], principal: people.Principal) -> Draft:
        data = {"kind": "decision", "system": self.system.name, "body": DECISION | {"title": text}}
        actor = Actor(principal.uid, credential)
        return plain_draft(data, principal=principal, actor=actor, facts=facts)

    def written(self, what: str, text: str, facts: Facts) -> Draft:
        """A draft that hangs on one right."""
        if what == "key":
            return self.signed(text, facts)
        if what == "token":
            return self.plain(text, facts, ("token", self.token.pk), self.pipeline)
        return self.plain(text, facts, ("user", self.person.uid), self.person)

    def end(self, what: str) -> None:
        if what == "key":
            people.revoke_key(self.key, actor=US, reason="leaked")
        elif what == "token":
            people.revoke_token(self.token, actor=US, reason="leaked")
        else:
            people.change_user(self.person, actor=US, is_active=False)


@pytest.fixture
def site(ledger: Clone) -> Site:
    ensure_signing_keys()
    private = generate()
    system = people.save_system(actor=US, name="netlify-trading")
    public = dump_public(private.public_key())
    pipeline, new = people.create_pipeline(actor=US, name="ci", systems=[system], public_key=public)
    person = people.create_user(actor=US, name="Alice", email="alice@example.com", roles=["engineer"])
    return Site(system, pipeline, new.token, private, person)


Drafted = Callable[[Callable[[], object]], Draft]


@pytest.fixture
def drafted(monkeypatch: pytest.MonkeyPatch) -> Drafted:
    """The draft that a call of `people` would append."""

    def catch(call: Callable[[], object]) -> Draft:
        caught: list[Draft] = []
        with monkeypatch.context() as patched:
            patched.setattr(people, "append", caught.append)
            call()
        (draft,) = caught
        return draft

    return catch


RIGHTS = pytest.mark.parametrize("what", ["key", "token", "person"])
MEMORY = pytest.mark.parametrize("remembered", [True, False], ids=["remembered", "asked"])


def facts_of(remembered: bool) -> Facts:
    return Facts(authority.epoch_now() if remembered else None)


def code_of(outcome: Outcome) -> str | None:
    return None if isinstance(outcome, Placed) else outcome.code


@RIGHTS
@MEMORY
def test_it_takes_what_lies_in_front_of_the_end(site: Site, drafted: Drafted, what: str, remembered: bool) -> None:
    facts, size = facts_of(remembered), reader.size()
    before = [site.written(what, text, facts) for text in "ab"]
    outcomes = append_all([*before, drafted(lambda: site.end(what))])
    assert [outcome.index for outcome in outcomes if isinstance(outcome, Placed)] == [size, size + 1, size + 2]
    assert check() == []


@RIGHTS
@MEMORY
def test_it_refuses_everything_behind_the_end(site: Site, drafted: Drafted, what: str, remembered: bool) -> None:
    facts, size = facts_of(remembered), reader.size()
    behind = [site.written(what, text, facts) for text in "ab"]
    other = service_draft("decision", DECISION, actor=US)
    outcomes = append_all([drafted(lambda: site.end(what)), *behind, other])
    refused = "facts_changed" if remembered else "credential_revoked"
    assert [code_of(outcome) for outcome in outcomes] == [None, refused, refused, None]
    assert reader.size() == size + 2
    assert check() == []


def test_it_takes_what_hangs_on_another_right(site: Site, drafted: Drafted) -> None:
    """Looked up again with those that ended, and found."""
    facts = Facts()
    signed, posted = site.written("key", "a", facts), site.written("token", "b", facts)
    outcomes = append_all([signed, drafted(lambda: site.end("key")), posted, site.written("key", "c", facts)])
    assert [code_of(outcome) for outcome in outcomes] == [None, None, None, "credential_revoked"]
    assert check() == []


@pytest.mark.parametrize(
    ("column", "moved_by", "unsigned"),
    [("to_index", 1, False), ("to_index", -1, True), ("from_index", 1, False), ("from_index", -1, False)],
)
def test_the_check_names_a_key_whose_range_was_moved(
    site: Site, drafted: Drafted, superuser: psycopg.Connection[Any], column: str, moved_by: int, unsigned: bool
) -> None:
    signed, _ = append_all([site.written("key", "a", Facts()), drafted(lambda: site.end("key"))])
    assert isinstance(signed, Placed)
    key = site.key
    assert (key.to_index, key.valid_until) == (signed.index + 1, signed.at)
    superuser.execute(f"UPDATE evidence_pipelinekey SET {column} = {column} + %s", [moved_by])
    named = [("projection", f"evidence_pipelinekey key_id={key.key_id}, column {column}")]
    named += [("signature", f"entry {signed.index}")] if unsigned else []
    assert sorted((one.what, one.where) for one in check()) == named


def test_the_check_judges_a_signature_by_its_place(
    site: Site, drafted: Drafted, superuser: psycopg.Connection[Any]
) -> None:
    """All records of a batch share their time; a key that had begun behind its record did not sign it."""
    signed, _ = append_all([site.written("key", "a", Facts()), drafted(lambda: site.end("key"))])
    assert isinstance(signed, Placed)
    superuser.execute("UPDATE evidence_pipelinekey SET from_index = %s", [signed.index])
    (found,) = (one for one in check() if one.what == "signature")
    assert found.where == f"entry {signed.index}"
    assert f"signs records from {signed.index + 1} to {signed.index}" in found.detail


def test_it_gives_the_keys_of_an_older_database_their_indexes(site: Site, superuser: psycopg.Connection[Any]) -> None:
    site.end("key")
    people.add_key(site.pipeline, actor=US, public_key=dump_public(generate().public_key()))
    superuser.execute("ALTER TABLE evidence_pipelinekey DROP COLUMN from_index, DROP COLUMN to_index")
    superuser.execute(import_module("evidence.migrations.0010_pipeline_keys_end_by_index").SQL)
    assert sorted(key.to_index is None for key in site.pipeline.keys.all()) == [False, True]
    assert check() == []


def test_it_does_not_write_the_records_of_an_import_one_by_one(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """They change tables at its end only: none in front of another can end its right."""
    messages: list[bool] = []
    tell = wire.tell

    def counted(*calls: Any, commit: bool) -> None:
        messages.append(commit)
        tell(*calls, commit=commit)

    def drafts(actor: Actor) -> list[Draft]:
        bodies = [{"system": f"sys_{n:016}", "name": f"s-{n}", "title": "", "sandbox": False} for n in range(20)]
        return [service_draft("config.system", body, actor=actor) for body in bodies]

    monkeypatch.setattr(wire, "tell", counted)
    append_import(drafts, actor=Actor(site.person.uid, ("user", site.person.uid)))
    assert messages == [True, False, True]  # the twenty; then what completes the import, and its checkpoint
    assert check() == []
