"""A log key changes: who pinned the old one moves on by what the log proves, and by nothing else."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.cli import profile
from evidence.tlog.checkpoint import LogKey
from evidence.tlog.note import Signer, parse_note, sign_note
from tests.config.cli.conftest import Outcome, Prooftrail
from tests.config.cli.service import TOKEN, Reply, Service

KEYS = "GET /api/v1/log/keys"
FIRST = Signer("test.example/log", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
SECOND = Signer("test.example/log", Ed25519PrivateKey.from_private_bytes(b"\x09" * 32))


@pytest.fixture
def pinned(service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> Prooftrail:
    """Somebody who logged in before the key changed."""
    assert log_in(service, prooftrail, monkeypatch).code == 0
    return prooftrail


def log_in(service: Service, prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> Outcome:
    monkeypatch.setattr(sys, "stdin", io.StringIO(TOKEN + "\n"))
    return prooftrail("login", "--url", service.url, "--token-stdin")


def rotate(service: Service) -> dict[str, Any]:
    answer = service.ledger.rotate(SECOND)
    service.on(KEYS, Reply(answer))
    return answer


def sizes(service: Service) -> list[tuple[str, int, int | None]]:
    known = profile.known(service.url)
    assert known is not None
    return [(key.vkey, key.from_size, key.to_size) for key in known.log_keys if isinstance(key, LogKey)]


def test_it_follows_a_rotation_at_login(service: Service, pinned: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate(service)
    outcome = log_in(service, pinned, monkeypatch)
    assert outcome.code == 0
    assert sizes(service) == [(FIRST.vkey, 0, 2), (SECOND.vkey, 2, None)]


def test_it_follows_a_rotation_when_a_receipt_needs_it(service: Service, pinned: Prooftrail) -> None:
    rotate(service)
    outcome = pinned("attest", "drill")
    assert (outcome.code, "log key was changed" in outcome.err) == (0, True)
    assert sizes(service) == [(FIRST.vkey, 0, 2), (SECOND.vkey, 2, None)]
    assert "log key was changed" not in pinned("attest", "drill").err


def test_it_follows_no_key_that_merely_signs_too(
    service: Service, pinned: Prooftrail, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can add a line of his own to a checkpoint: two signatures introduce nobody."""
    answer = rotate(service)
    stranger = Signer("test.example/log", Ed25519PrivateKey.from_private_bytes(b"\x07" * 32))
    service.ledger.log, service.ledger.signers = stranger, [stranger]
    begun = answer["keys"][1]["introduced"]
    doubled = sign_note(parse_note(begun["checkpoint"]).text, [FIRST, stranger])
    begun = begun | {"checkpoint": doubled, "proof": begun["proof"].replace(begun["checkpoint"], doubled)}
    entry = {"vkey": stranger.vkey, "from_size": 2, "to_size": None, "introduced": begun}
    service.on(KEYS, Reply({"keys": [answer["keys"][0], entry]}))
    assert pinned("attest", "drill").code == 1
    assert "not trusted yet" in log_in(service, pinned, monkeypatch).err
    assert stranger.vkey not in profile.path().read_text()


def test_it_verifies_with_a_list_of_keys(service: Service, prooftrail: Prooftrail, tmp_path: Path) -> None:
    before = service.ledger.plain({"kind": "drill", "body": {}})
    answer = rotate(service)
    after = service.ledger.plain({"kind": "drill", "body": {}})
    listed = tmp_path / "keys.json"
    listed.write_text(json.dumps(answer))
    for receipt in (before, answer["keys"][1]["introduced"], answer["keys"][0]["ended"], after):
        path = tmp_path / "receipt.json"
        path.write_text(json.dumps(receipt))
        assert prooftrail("verify", path, "--log-key", listed).code == 0
        assert prooftrail("verify", path, "--log-key", FIRST.vkey, "--log-key", SECOND.vkey).code == 0


def test_it_refuses_what_a_retired_key_signs_later(
    service: Service, pinned: Prooftrail, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answer = rotate(service)
    service.ledger.plain({"kind": "drill", "body": {}})
    receipt = service.ledger.plain({"kind": "drill", "body": {}})
    note = sign_note(parse_note(receipt["checkpoint"]).text, [FIRST])
    receipt |= {"checkpoint": note, "proof": receipt["proof"].replace(receipt["checkpoint"], note)}
    forged, listed = tmp_path / "forged.json", tmp_path / "keys.json"
    forged.write_text(json.dumps(receipt))
    listed.write_text(json.dumps(answer))
    assert pinned("verify", forged).code == 0, "who has not heard of the end cannot know"
    log_in(service, pinned, monkeypatch)
    for options in ([], ["--log-key", listed], ["--log-key", FIRST.vkey]):
        outcome = pinned("verify", forged, *options)
        assert (outcome.code, "signs for sizes 0 to 2" in outcome.out) == (1, True), options
