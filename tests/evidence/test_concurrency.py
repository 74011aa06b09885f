"""Sixteen writers in two processes, each waiting for its receipt."""

import json
import os
import subprocess
import sys

import pytest

from evidence.keys import log_verifier
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.models import Entry, Note
from evidence.setup import ensure_signing_keys
from evidence.tlog.checkpoint import open_checkpoint
from evidence.tlog.merkle import leaf_hash, tree_root
from evidence.tlog.receipt import parse_receipt, verify_receipt

EACH = 40
WRITERS = 16


@pytest.mark.timeout(120)
def test_it_gives_every_writer_its_own_proven_index(ledger, settings):
    ensure_signing_keys()
    before = reader.size()
    command = [sys.executable, "-m", "tests.evidence.writers"]
    keys = {name: getattr(settings, name) for name in ("LOG_KEY_FILE", "RECORD_KEY_FILE")}
    environment = os.environ | ledger.environment | keys
    environment |= {"DATABASE_POOL": "1", "DJANGO_SETTINGS_MODULE": "config.settings"}
    processes = [
        subprocess.Popen([*command, name, str(EACH)], env=environment, stdout=subprocess.PIPE, text=True)
        for name in ("one", "two")
    ]
    lines = [line for process in processes for line in process.communicate(timeout=100)[0].splitlines()]
    assert [process.returncode for process in processes] == [0, 0]

    receipts = [parse_receipt(json.loads(line).encode()) for line in lines]
    assert sorted(r.index for r in receipts) == list(range(before, before + WRITERS * EACH))
    for receipt in receipts:
        assert all(step.ok is not False for step in verify_receipt(receipt, verifiers=[log_verifier()]))

    hashes = [leaf_hash(bytes(leaf)) for leaf in Entry.objects.order_by("index").values_list("leaf", flat=True)]
    for note in Note.objects.order_by("size"):
        assert open_checkpoint(note.text, [log_verifier()]).root == tree_root(hashes[: note.size])
    assert Note.objects.count() < len(hashes), "writers shared transactions"
    assert check() == []
