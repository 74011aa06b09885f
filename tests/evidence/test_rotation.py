"""Keys that change while others write: no gap, every receipt still verifies, and an ended key counts no further."""

import json
import threading
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction
from django.test import Client

from config.errors import ProoftrailError, UnavailableError
from evidence import keyfile, keys
from evidence.ledger import Actor, Placed, append, draft, reader, service_draft, store
from evidence.ledger.check import check
from evidence.ledger.draft import FactsChangedError
from evidence.models import Head, Note, Record, SigningKey
from evidence.models.people import SERVICE
from evidence.setup import ensure_signing_keys
from evidence.tlog import keyring
from evidence.tlog.checkpoint import LogKey, open_checkpoint
from evidence.tlog.dsse import parse_envelope, sign_envelope
from evidence.tlog.errors import TlogError
from evidence.tlog.keys import dump_private, generate, load_privates
from evidence.tlog.note import Signer, Verifier, parse_note, sign_note
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.report import VerificationError


@pytest.fixture
def folder(ledger, settings, tmp_path):
    """Keys of this test alone, published: ``log.key`` and ``record.key`` in the folder."""
    for name in ("LOG", "RECORD"):
        new_file(tmp_path / f"{name.lower()}.key")
        setattr(settings, f"{name}_KEY_FILE", str(tmp_path / f"{name.lower()}.key"))
    keys.forget()
    ensure_signing_keys()
    yield tmp_path
    keys.forget()


def new_file(path, mode=0o600):
    path.touch(mode=0o600)
    path.write_bytes(dump_private(generate()))
    path.chmod(mode)
    return path


def decide():
    body = {"title": "A", "decision": "B", "rationale": "C"}
    return append(service_draft("decision", body, actor=Actor(SERVICE)))


def rotate(purpose, *options):
    out = StringIO()
    call_command(f"rotate_{purpose}_key", *options, "--json", stdout=out)
    return json.loads(out.getvalue())


def refused(purpose, *options):
    with pytest.raises(CommandError) as caught:
        rotate(purpose, *options)
    return str(caught.value)


def listed(settings):
    settings.LOG_PUBLIC = True
    return keyring.parse_keys(Client().get("/api/v1/log/keys").content)


def verified(placed, known):
    receipt = parse_receipt(placed.receipt())
    steps = list(verify_receipt(receipt, verifiers=known.log, record_keys=known.record_keys(receipt.index)))
    assert [step.ok for step in steps] == [True] * 6


class Writers:
    """Four threads that write until they are stopped, each retrying what was refused as retryable."""

    def __init__(self):
        self.placed: list[Placed] = []
        self.failed: list[Exception] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._write) for _ in range(4)]

    def __enter__(self):
        store_appender().group_commits()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _write(self):
        while not self._stop.is_set():
            try:
                self.placed.append(decide())
            except FactsChangedError:
                continue
            except Exception as error:
                self.failed.append(error)
                break
        connection.close()

    def some_more(self):
        wanted = len(self.placed) + 12
        while len(self.placed) < wanted and not self.failed:
            self._stop.wait(0.01)


def store_appender():
    from evidence.ledger import appender

    return appender


def opens(note, key):
    try:
        open_checkpoint(note.text, [Verifier.parse(key)])
    except TlogError:
        return False
    return True


@pytest.mark.timeout(120)
def test_it_rotates_while_writers_write(folder, settings):
    with Writers() as writers:
        writers.some_more()
        for purpose in keys.PURPOSES:
            rotate(purpose)
            writers.some_more()
            rotate(purpose, "--finish")
            writers.some_more()
    assert writers.failed == []
    size = Head.objects.get().size
    assert sorted(
        [p.index for p in writers.placed]
        + list(Record.objects.exclude(kind="decision").values_list("index", flat=True))
    ) == list(range(size))

    old, new = SigningKey.objects.filter(purpose="log").order_by("from_size")
    assert old.ended_by is not None
    assert old.to_size is not None
    assert (new.from_size, old.to_size) == (new.started_by + 2, old.ended_by + 1)
    for note in Note.objects.order_by("size"):
        assert opens(note, old.key_id) == (note.size <= old.to_size), note.size
        assert opens(note, new.key_id) == (note.size >= new.from_size), note.size
    assert Note.objects.filter(size__gte=new.from_size, size__lte=old.to_size).count() > 1, "an overlap"

    known = listed(settings)
    for placed in writers.placed:
        verified(placed, known)
    used = {reader.get(placed.index).recorded.context["key"] for placed in writers.placed}
    assert used == set(SigningKey.objects.filter(purpose="record").values_list("key_id", flat=True))
    assert check() == []


@pytest.mark.parametrize("options", [[()], [(), ("--finish",)]], ids=["overlap", "ended"])
def test_it_names_the_key_that_signed_though_another_begins_meanwhile(folder, monkeypatch, options):
    """What the four writers do by chance: the keys change just when a record has been signed."""
    (old,) = keys.in_force("record")

    def sign(*args):
        monkeypatch.setattr(draft, "sign_envelope", sign_envelope)
        envelope = sign_envelope(*args)
        for chosen in options:
            rotate("record", *chosen)
        return envelope

    monkeypatch.setattr(draft, "sign_envelope", sign)
    signed = service_draft("decision", {"title": "A", "decision": "B", "rationale": "C"}, actor=Actor(SERVICE))
    assert signed.key == parse_envelope(signed.envelope).signatures[0].keyid == old
    (outcome,) = store.write([signed])
    if old in keys.in_force("record"):
        assert isinstance(outcome, Placed)
    else:
        assert isinstance(outcome, FactsChangedError), "what an ended key signed is not written under its successor"
    assert check() == []


def test_it_leads_from_a_trusted_key_to_its_successors(folder, settings):
    published = keys.log_keys()[0]
    first = LogKey(published.name, published.public_key)
    for _ in range(2):
        rotate("log")
        rotate("log", "--finish")
    newest = decide()
    known = listed(settings)
    followed = keyring.follow([first], known.offered)
    assert followed == list(known.log)
    list(verify_receipt(parse_receipt(newest.receipt()), verifiers=followed))
    with pytest.raises(VerificationError, match="no trusted key"):
        list(verify_receipt(parse_receipt(newest.receipt()), verifiers=[first]))

    stranger = Signer(settings.LOG_ORIGIN, generate())
    lie = keyring.Offered(LogKey(stranger.name, stranger.public_key), known.offered[1].introduced, None)
    assert keyring.follow([first], [lie]) == [first], "a receipt introduces the key that it names, and no other"
    assert keyring.follow([Verifier.parse(stranger.vkey)], known.offered)[1:] == [], "and under trusted keys only"


def test_it_counts_no_later_note_of_a_retired_key(folder, settings, superuser):
    (retired,) = load_privates((folder / "log.key").read_bytes())
    rotate("log")
    rotate("log", "--finish")
    placed = decide()
    known = listed(settings)
    forger = Signer(settings.LOG_ORIGIN, retired)
    forged = sign_note(parse_note(placed.checkpoint).text, [forger])

    receipt = json.loads(placed.receipt())
    receipt |= {"checkpoint": forged, "proof": receipt["proof"].replace(placed.checkpoint, forged)}
    with pytest.raises(VerificationError, match="signs for sizes 0 to 4") as caught:
        list(verify_receipt(parse_receipt(json.dumps(receipt).encode()), verifiers=known.log))
    assert caught.value.step == 5

    superuser.execute("ALTER TABLE evidence_note DISABLE TRIGGER ALL")
    superuser.execute("UPDATE evidence_note SET text = %s WHERE size = 5", [forged])
    (deviation,) = check()
    assert (deviation.what, deviation.where) == ("checkpoint", "size 5")
    assert "signs for sizes 0 to 4" in deviation.detail


def test_it_wants_every_key_in_force_under_a_checkpoint(folder, settings, superuser):
    (old,) = load_privates((folder / "log.key").read_bytes())
    rotate("log")
    text = parse_note(decide().checkpoint).text
    alone = sign_note(text, [Signer(settings.LOG_ORIGIN, old)])
    superuser.execute("ALTER TABLE evidence_note DISABLE TRIGGER ALL")
    superuser.execute("UPDATE evidence_note SET text = %s WHERE size = 4", [alone])
    (deviation,) = check()
    assert "did not sign it" in deviation.detail


def test_it_takes_no_envelope_of_a_retired_record_key(folder, monkeypatch):
    body = {"title": "A", "decision": "B", "rationale": "C"}
    before = service_draft("decision", body, actor=Actor(SERVICE))
    rotate("record")
    assert isinstance(store.write([before])[0], Placed), "both count through the overlap"
    late, later = (service_draft("decision", body, actor=Actor(SERVICE)) for _ in range(2))
    old = service_draft("decision", body, actor=Actor(SERVICE))
    old.envelope, old.key = before.envelope, before.key
    rotate("record", "--finish")
    (outcome,) = store.write([old])
    assert isinstance(outcome, UnavailableError)
    assert outcome.code == "signing_key_changed"
    assert all(isinstance(outcome, Placed) for outcome in store.write([late, later]))
    assert check() == []

    monkeypatch.setattr(keys, "may_sign_records", lambda *_: True)
    old = service_draft("decision", body, actor=Actor(SERVICE))
    old.envelope, old.key = before.envelope, before.key
    (outcome,) = store.write([old])
    assert isinstance(outcome, Placed)
    (deviation,) = check()
    assert (deviation.what, deviation.where) == ("signature", f"entry {outcome.index}")
    assert "signs records from 0 to" in deviation.detail


@pytest.mark.parametrize("purpose", keys.PURPOSES)
def test_it_revokes_a_key_at_once(folder, settings, purpose):
    (old,) = keys.in_force(purpose)
    assert "[key_needed]" in refused(purpose, "--revoke", old, "--reason", "leaked")
    rotate(purpose)
    assert "[reason_required]" in refused(purpose, "--revoke", old)
    assert "[key_unknown]" in refused(purpose, "--revoke", "nobody", "--reason", "leaked")
    done = rotate(purpose, "--revoke", old, "--reason", "leaked")
    assert Record.objects.get(index=done["record"]).kind == "key.revoked"
    assert [key["status"] for key in done["keys"]] == ["revoked", "in force"]
    assert rotate(purpose, "--revoke", old, "--reason", "leaked")["record"] is None
    assert old not in keys.private_keys(purpose)
    newest = decide()
    assert old not in newest.checkpoint
    known = listed(settings)
    for index in range(newest.index + 1):
        verified(reader.replay(index), known)
    assert check() == []


def test_it_goes_on_where_a_crash_stopped_it(folder, monkeypatch):
    class CrashError(Exception):
        pass

    def crash(*_):
        raise CrashError

    with monkeypatch.context() as broken:
        broken.setattr(store, "write", crash)
        with pytest.raises(CrashError):
            rotate("log")
    held = list(keys.private_keys("log"))
    assert len(held) == 2
    assert len(keys.in_force("log")) == 1
    assert rotate("log")["record"] == 2
    assert list(keys.in_force("log")) == held, "the key that was waiting in the file"
    assert rotate("log")["record"] is None

    with monkeypatch.context() as broken:
        broken.setattr(keyfile, "keep", crash)
        with pytest.raises(CrashError):
            rotate("log", "--finish")
    assert list(keys.private_keys("log")) == held
    assert rotate("log", "--finish")["record"] is None
    assert list(keys.private_keys("log")) == held[1:]
    assert (folder / "log.key").stat().st_mode & 0o777 == 0o600
    assert check() == []


def test_it_takes_the_operator_s_own_key(folder):
    assert "[key_exposed]" in refused("log", "--new-key", str(new_file(folder / "open.key", 0o644)))
    assert "[key_unreadable]" in refused("log", "--new-key", str(folder / "missing.key"))
    (folder / "not.key").touch(mode=0o600)
    assert "[key_invalid]" in refused("log", "--new-key", str(folder / "not.key"))
    assert "[key_known]" in refused("log", "--new-key", str(folder / "log.key"))
    assert Head.objects.get().size == 2
    own = new_file(folder / "own.key")
    assert rotate("log", "--new-key", str(own))["record"] == 2
    assert rotate("log", "--new-key", str(own))["record"] is None
    assert keys.key_id("log", keyfile.load(own)) == keys.in_force("log")[1]


def test_it_takes_keys_from_variables(folder, monkeypatch):
    monkeypatch.setenv("LOG_KEY", (folder / "log.key").read_text())
    assert "[key_from_environment]" in refused("log")
    both = (folder / "log.key").read_text() + new_file(folder / "new.key").read_text()
    monkeypatch.setenv("LOG_KEY", both)
    assert len(rotate("log")["keys"]) == 2
    assert "Remove the private half" in rotate("log", "--finish")["said"]
    assert decide().checkpoint.count("— ") == 1


def test_it_names_the_key_whose_private_half_is_missing(folder):
    (old,) = keys.in_force("log")
    rotate("log")
    both = (folder / "log.key").read_bytes()
    keyfile.keep(keys.source("log"), load_privates(both)[1:])
    keys.forget()
    with pytest.raises(UnavailableError, match="which is in force, is not in") as caught:
        decide()
    assert caught.value.code == "signing_key_missing"
    assert old in caught.value.detail
    (folder / "log.key").write_bytes(both)
    decide()  # without a restart


@pytest.mark.parametrize("purpose", keys.PURPOSES)
def test_it_replaces_a_lost_key(folder, settings, purpose):
    (old,) = keys.in_force(purpose)
    first = decide()
    assert "[key_not_lost]" in refused(purpose, "--lost", "--reason", "disk gone")
    (folder / f"{purpose}.key").unlink()
    keys.forget()
    with pytest.raises(ProoftrailError):
        decide()
    assert "[reason_required]" in refused(purpose, "--lost")
    done = rotate(purpose, "--lost", "--reason", "disk gone")
    assert [key["status"] for key in done["keys"]] == ["lost", "in force"]
    known = listed(settings)
    for placed in (first, reader.replay(done["record"]), decide()):
        verified(placed, known)
    if purpose == "log":
        assert len(keyring.follow([Verifier.parse(old)], known.offered)) == 1, "nothing vouches for the new key"
    assert check() == []


REFUSED = {
    "moved": "UPDATE evidence_signingkey SET to_size = 1, ended_by = 0, ending = 'retired'",
    "begun anew": "UPDATE evidence_signingkey SET from_size = 1",
    "deleted": "DELETE FROM evidence_signingkey",
    "truncated": "TRUNCATE evidence_signingkey",
    "slipped in": "INSERT INTO evidence_signingkey (key_id, purpose, public_key, from_size, started_by, ending)"
    " VALUES ('x', 'log', '', 0, 99, '')",
}


@pytest.mark.parametrize("statement", REFUSED.values(), ids=REFUSED)
def test_it_lets_nobody_change_the_table_of_keys(folder, superuser, statement):
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    with pytest.raises(Exception, match=r"append-only|begins only|ends once"):
        superuser.execute(statement)


def test_it_names_a_key_that_no_record_gave(folder, superuser):
    stranger = Signer("prooftrail.local/log", generate())
    superuser.execute("ALTER TABLE evidence_signingkey DISABLE TRIGGER ALL")
    superuser.execute(
        "INSERT INTO evidence_signingkey"
        " (key_id, purpose, public_key, from_size, to_size, started_by, ended_by, ending)"
        " VALUES (%s, 'log', '', 1, 1, 0, 0, 'retired')",
        [stranger.vkey],
    )
    found = [(deviation.what, deviation.where) for deviation in check()]
    assert ("checkpoint", "size 1") in found
    assert ("projection", f"evidence_signingkey key_id={stranger.vkey}") in found
