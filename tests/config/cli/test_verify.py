import json
from pathlib import Path

import pytest

from tests.config.cli.conftest import Prooftrail
from tests.config.cli.service import Service

GOLDEN = Path(__file__).parents[2] / "evidence" / "tlog" / "golden"
SERVICE = GOLDEN / "receipt-service.json"
PIPELINE = GOLDEN / "receipt-pipeline.json"
ENVELOPE = GOLDEN / "envelope-pipeline.json"
VKEY = (GOLDEN / "log.vkey").read_text().strip()


def test_it_prints_numbered_steps(prooftrail: Prooftrail) -> None:
    outcome = prooftrail("verify", SERVICE, "--log-key", VKEY)
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    assert [line[:4] for line in lines[:5]] == [f"✓ {number}." for number in range(1, 6)]
    assert lines[5].endswith("receipt-service.json: verified")


def test_it_takes_the_key_from_a_file_or_a_variable(prooftrail: Prooftrail, monkeypatch: pytest.MonkeyPatch) -> None:
    assert prooftrail("verify", SERVICE, "--log-key", GOLDEN / "log.vkey").code == 0
    monkeypatch.setenv("PROOFTRAIL_LOG_KEY", VKEY)
    assert prooftrail("verify", SERVICE).code == 0


def test_it_cannot_vouch_for_a_signer_it_does_not_know(prooftrail: Prooftrail) -> None:
    outcome = prooftrail("verify", SERVICE)
    assert outcome.code == 1
    assert "– 5. Checkpoint is signed by the log: consistent, signer unknown" in outcome.out
    assert outcome.out.splitlines()[-1].endswith(": consistent, signer unknown")
    assert "--log-key" in outcome.err


def test_it_compares_with_what_was_sent(prooftrail: Prooftrail) -> None:
    assert prooftrail("verify", PIPELINE, "--log-key", VKEY, "--sent", ENVELOPE).code == 0
    incomplete = prooftrail("verify", PIPELINE, "--log-key", VKEY)
    assert incomplete.code == 1
    assert "not everything was checked" in incomplete.out
    other = prooftrail("verify", PIPELINE, "--log-key", VKEY, "--sent", SERVICE)
    assert other.code == 1
    assert "✗ 2. salt, context and envelope have digest" in other.out


def test_it_fails_against_another_key(prooftrail: Prooftrail, service: Service) -> None:
    outcome = prooftrail("verify", SERVICE, "--log-key", service.ledger.log.vkey)
    assert outcome.code == 1
    assert "✗ 5. no trusted key signed this note" in outcome.out


def test_it_answers_programs(prooftrail: Prooftrail) -> None:
    report = json.loads(prooftrail("verify", SERVICE, "--log-key", VKEY, "--json").out)
    assert (report["result"], report["failure"]) == ("verified", None)
    assert [(step["number"], step["ok"]) for step in report["steps"]] == [(n, True) for n in range(1, 6)]
    report = json.loads(prooftrail("verify", SERVICE, "--json").out)
    assert report["result"] == "consistent, signer unknown"
    outcome = prooftrail("verify", PIPELINE, "--log-key", VKEY, "--sent", SERVICE, "--json")
    assert outcome.code == 1
    failure = json.loads(outcome.out)["failure"]
    assert (failure["code"], failure["step"]) == ("verification_failed", 2)


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", SERVICE.read_bytes().replace(b'"index":5', b'"index":6')])
def test_it_fails_a_damaged_receipt(prooftrail: Prooftrail, content: bytes) -> None:
    Path("receipt.json").write_bytes(content)
    outcome = prooftrail("verify", "receipt.json", "--log-key", VKEY)
    assert outcome.code == 1
    assert outcome.out.splitlines()[-1] == "receipt.json: failed"


@pytest.mark.parametrize(
    "options",
    [
        ["missing.json"],
        [SERVICE, "--log-key", "x"],
        [SERVICE, "--log-key", VKEY[:-1]],
        [SERVICE, "--log-key", VKEY, "--sent", "missing"],
        [SERVICE, "--log-key", VKEY, "--record-key", SERVICE],
        [SERVICE, "--log-key", VKEY, "--since", SERVICE],
        ["pack.zip", "--log-key", VKEY, "--sent", ENVELOPE],
        ["pack.zip", "--log-key", VKEY, "--since", "missing"],
    ],
    ids=str,
)
def test_it_never_gives_a_verdict_on_wrong_usage(prooftrail: Prooftrail, options: list[object]) -> None:
    Path("pack.zip").write_bytes(b"PK\x03\x04")
    assert prooftrail("verify", *options).code == 4


def test_it_fails_what_only_looks_like_a_pack(prooftrail: Prooftrail) -> None:
    Path("pack.zip").write_bytes(b"PK\x03\x04 and no more")
    outcome = prooftrail("verify", "pack.zip", "--log-key", VKEY)
    assert outcome.code == 1
    assert outcome.out.splitlines()[-1] == "pack.zip: failed"
