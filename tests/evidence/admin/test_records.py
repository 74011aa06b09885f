"""Records and the ledger in the admin: found, read, proven; never changed."""

import html

import pytest

from evidence.keys import log_verifier
from evidence.ledger import Actor, append, reader, service_draft
from evidence.models import Payload, Record
from evidence.models.people import SERVICE
from evidence.tlog.merkle import leaf_hash, verify_inclusion
from evidence.tlog.note import open_note
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.tlog_proof import parse_proof

LIST = "/admin/evidence/record/"


def test_it_finds_records_by_index_release_and_digest(as_, cast, release):
    alice = as_("alice")
    searches = {
        f"#{release.manifest_index}": {release.manifest_index},
        release.pk: {release.opened_by, release.manifest_index},
        "sha256:" + "b" * 64: {release.manifest_index},
        "b" * 64: {release.manifest_index},
        "no such thing": set(),
    }
    for term, wanted in searches.items():
        found = alice.get(LIST, {"q": term}).context["cl"].result_list
        assert {record.index for record in found} == wanted, term
    filtered = alice.get(LIST, {"kind": "deploy.manifest", "signed_by": "service"}).context["cl"].result_list
    assert [record.index for record in filtered] == [release.manifest_index]


def test_it_gives_receipt_and_proof_that_verify(as_, cast, release):
    alice = as_("alice")
    index = release.opened_by
    receipt = alice.get(f"{LIST}{index}/receipt/")
    assert receipt["Content-Disposition"] == f'attachment; filename="receipt-{index}.json"'
    assert receipt.content == reader.replay(index).receipt()
    assert all(step.ok for step in verify_receipt(parse_receipt(receipt.content), verifiers=[log_verifier()]))
    check_proof(alice.get(f"{LIST}{index}/proof/").content.decode(), index)


def check_proof(text: str, index: int) -> None:
    from evidence.tlog.checkpoint import open_checkpoint

    proof = parse_proof(text)
    checkpoint = open_checkpoint(proof.note, [log_verifier()])
    hash_ = leaf_hash(reader.get(index).leaf_bytes)
    verify_inclusion(index=index, size=checkpoint.size, leaf_hash=hash_, proof=proof.hashes, root=checkpoint.root)


def test_it_shows_what_was_verified_and_how_long_it_is_kept(as_, cast, release):
    page = html.unescape(as_("alice").get(f"{LIST}{release.manifest_index}/change/").content.decode())
    stored = reader.get(release.manifest_index)
    payload = Payload.objects.get(pk=release.manifest_index)
    for text in (stored.leaf.digest, leaf_hash(stored.leaf_bytes).hex(), '"commit": "aaaa', "audit, until"):
        assert text in page
    assert f"{payload.retain_until.year}, " in page


def test_it_offers_the_proof_of_what_was_disposed_of(as_, cast, superuser):
    decision = {"title": "t", "decision": "d", "rationale": "secret rationale"}
    index = append(service_draft("decision", decision, actor=Actor(SERVICE))).index
    superuser.execute("ALTER TABLE evidence_payload DISABLE TRIGGER USER")  # as if its retention had ended
    superuser.execute("DELETE FROM evidence_payload WHERE index = %s", [index])
    Record.objects.filter(pk=index).update(disposed_by=0, facts={}, subjects=[], signed_by=None)
    alice = as_("alice")
    page = alice.get(f"{LIST}{index}/change/").content.decode()
    assert "disposed of" in page
    assert "secret rationale" not in page
    assert "receipt/" not in page
    assert alice.get(f"{LIST}{index}/receipt/").status_code == 404
    check_proof(alice.get(f"{LIST}{index}/proof/").content.decode(), index)


@pytest.mark.parametrize("path", ["add/", "0/delete/"])
def test_it_changes_no_record(as_, cast, path):
    root = as_("root")
    assert root.post(LIST + path, {"post": "yes"}).status_code == 403
    before = reader.get(0)
    root.post(f"{LIST}0/change/", {"kind": "decision"})
    assert reader.get(0) == before


def test_it_answers_404_for_what_is_not_there(as_, cast):
    alice = as_("alice")
    for path in ("999/change/", "999/receipt/", "999/proof/", "x/change/", "99999999999999999999/change/"):
        assert alice.get(LIST + path).status_code == 404, path


def test_it_shows_the_signed_checkpoint_and_the_key_that_signs_it(as_, cast):
    note = reader.latest_note()
    assert note is not None
    page = html.unescape(as_("ada").get("/admin/ledger/").content.decode())
    assert note.text in page
    assert log_verifier().vkey in page
    open_note(note.text, [log_verifier()])
