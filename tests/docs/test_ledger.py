"""docs/ledger.md can be followed: its commands print what it says, with openssl and coreutils alone."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from evidence.tlog import b64
from evidence.tlog.checkpoint import open_checkpoint
from evidence.tlog.note import Signer, Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from tests.docs import example

DOCS = Path(__file__).resolve().parents[2] / "docs"
_BLOCK = re.compile(r"^```sh\n(.*?)^```\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


def steps() -> list[tuple[str, str]]:
    """(commands, what they print) of each block that says what it prints."""
    return _BLOCK.findall((DOCS / "ledger.md").read_text())


def run(commands: list[str], folder: Path) -> tuple[list[str], int]:
    """What each of the blocks prints, run one after the other in one shell, as a reader pastes them."""
    script = "printf '\\f'\n".join(commands)
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout.split("\f"), done.returncode


@needs_openssl
def test_it_prints_what_the_worked_example_says(tmp_path: Path) -> None:
    commands, printed = zip(*steps(), strict=True)
    assert len(commands) == 5
    assert run(list(commands), tmp_path) == (list(printed), 0)


@needs_openssl
def test_it_takes_the_example_s_own_receipt_apart(tmp_path: Path) -> None:
    run([commands for commands, _ in steps()], tmp_path)
    receipt = parse_receipt((DOCS / "example" / "receipt.json").read_bytes())
    for name in ("leaf", "salt", "context", "envelope"):
        assert (tmp_path / name).read_bytes() == getattr(receipt, name)
    text, signature = receipt.checkpoint.split("\n\n")
    assert (tmp_path / "checkpoint").read_text() == text + "\n"
    assert (tmp_path / "field").read_bytes() == b64.decode(signature.split()[-1])
    for name in ("log.pub.pem", "record.pub.pem"):
        assert (tmp_path / name).read_bytes() == (DOCS / "example" / name).read_bytes()


@needs_openssl
@pytest.mark.parametrize(
    ("said", "changed", "step"),
    [
        ('"passed":402', '"passed":403', 4),  # within the payload, which is base64
        ("release-20260312", "release-20260313", 0),
        ('"by":"pip_4', '"by":"pip_5', 1),
        ("sibling 2KvS", "sibling 3KvS", 2),
        ("prooftrail.example/log 5 ", "prooftrail.example/log 6 ", 3),
    ],
)
def test_it_prints_something_else_where_a_byte_was_changed(tmp_path: Path, said: str, changed: str, step: int) -> None:
    commands = [block for block, _ in steps()]
    payload = re.search(r'"payload":"([^"]*)"', commands[0])
    assert payload is not None
    forged = b64.encode(b64.decode(payload[1]).replace(said.encode(), changed.encode()))
    commands = [block.replace(payload[1], forged).replace(said, changed) for block in commands]
    outputs, _ = run(commands, tmp_path)
    assert outputs[step] != steps()[step][1]


def test_it_ships_the_example_that_its_formats_write() -> None:
    for name, content in example.files().items():
        assert (DOCS / "example" / name).read_bytes() == content
    receipt = parse_receipt(example.files()["receipt.json"])
    public = example.RECORD_KEY.public_key()
    verifier = Verifier.parse(Signer(example.ORIGIN, example.LOG_KEY).vkey)
    found = list(verify_receipt(receipt, verifiers=[verifier], record_keys={"record": public}))
    assert [step.ok for step in found] == [True] * 6
    assert open_checkpoint(receipt.checkpoint, [verifier]).size == example.SIZE
