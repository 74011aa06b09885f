import base64

import pytest
from tlog_scales import signing, tlog

from evidence.tlog.checkpoint import Checkpoint, open_checkpoint, parse_checkpoint
from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.note import Signer, Verifier, sign_note
from tests.evidence.tlog.helpers import fixed_key

ROOT = bytes(range(32))
ROOT64 = base64.b64encode(ROOT).decode()
LOG = Signer("example.com/log", fixed_key(1))
CHECKPOINT = Checkpoint("example.com/log", 42, ROOT)


def test_it_writes_three_lines() -> None:
    assert CHECKPOINT.text() == f"example.com/log\n42\n{ROOT64}\n"
    assert parse_checkpoint(CHECKPOINT.text()) == CHECKPOINT


def test_it_opens_what_the_log_signed() -> None:
    note = sign_note(CHECKPOINT.text(), [LOG])
    assert open_checkpoint(note, [Verifier.parse(LOG.vkey)]) == CHECKPOINT


def test_it_lets_a_key_speak_for_its_own_log_only() -> None:
    other = Signer("example.com/other", fixed_key(2))
    note = sign_note(CHECKPOINT.text(), [other])
    with pytest.raises(SignatureError, match=r"example\.com/log is signed by no key of that name"):
        open_checkpoint(note, [Verifier.parse(other.vkey)])
    both = sign_note(CHECKPOINT.text(), [other, LOG])
    assert open_checkpoint(both, [Verifier.parse(other.vkey), Verifier.parse(LOG.vkey)]) == CHECKPOINT


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"example.com/log\n42\n{ROOT64}",
        f"example.com/log\n42\n{ROOT64}\nextension\n",
        f"example.com/log\n42\n{ROOT64}\n\n",
        f"\n42\n{ROOT64}\n",
        f"two words\n42\n{ROOT64}\n",
        f"example.com/log\n042\n{ROOT64}\n",
        f"example.com/log\n-1\n{ROOT64}\n",
        f"example.com/log\n+1\n{ROOT64}\n",
        f"example.com/log\n٤\n{ROOT64}\n",
        f"example.com/log\n\n{ROOT64}\n",
        f"example.com/log\n{2**63}\n{ROOT64}\n",
        f"example.com/log\n42\n{ROOT64[:-4]}\n",
        f"example.com/log\n42\n{ROOT64[:-1]}\n",
        "example.com/log\n42\n" + base64.b64encode(b"x" * 31).decode() + "\n",
    ],
)
def test_it_refuses_any_other_text(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint(text)


def test_it_refuses_values_that_no_text_holds() -> None:
    with pytest.raises(MalformedError):
        Checkpoint("example.com/log", -1, ROOT)


def test_it_agrees_with_an_implementation_from_elsewhere() -> None:
    theirs = tlog.Checkpoint.from_text(sign_note(CHECKPOINT.text(), [LOG]))
    assert (theirs.origin, theirs.size, theirs.root_hash) == ("example.com/log", 42, ROOT)
    theirs.verify(signing.Vkey.from_string(LOG.vkey))
