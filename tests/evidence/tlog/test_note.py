import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_scales import signing, tlog

from evidence.tlog.errors import MalformedError, SignatureError
from evidence.tlog.note import NoteSignature, SignedBy, Signer, Verifier, open_note, parse_note, sign_note
from tests.evidence.tlog.helpers import fixed_key, flipped, quick

# The example of Go's sumdb/note package, where the format comes from.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
NEUMANN_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
NEUMANN_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of C2SP signed-note: its text has an empty line of its own.
QUASIMODO = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+"
    "EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
GO_SUM = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

TEXT = "one\n\ntwo\n"
LOG = Signer("example.com/log", fixed_key(1))
OTHER = Signer("example.com/other", fixed_key(2))


def trusted(signer: Signer) -> Verifier:
    return Verifier.parse(signer.vkey)


def test_it_opens_the_example_of_the_format() -> None:
    opened = open_note(NEUMANN_TEXT + "\n" + NEUMANN_LINE, [Verifier.parse(NEUMANN)])
    assert opened.text == NEUMANN_TEXT
    assert opened.signers == (SignedBy("PeterNeumann", "c74f20a3"),)


def test_it_splits_at_the_last_empty_line() -> None:
    note = parse_note(QUASIMODO)
    assert note.text.endswith("\n\ned è subito sera.\n")
    assert [(s.name, s.key_id, len(s.signature)) for s in note.signatures] == [
        ("quasimodo.example/salvatore", "367ba04b", 64)
    ]


@pytest.mark.parametrize("vkey", [NEUMANN, GO_SUM, LOG.vkey])
def test_it_reads_verifier_keys_with_plus_signs_in_their_base64(vkey: str) -> None:
    assert Verifier.parse(vkey).vkey == vkey


def test_it_signs_what_it_opens() -> None:
    note = sign_note(TEXT, [LOG, OTHER])
    assert note.startswith("one\n\ntwo\n\n— example.com/log ")
    for verifiers in ([trusted(LOG)], [trusted(OTHER)], [trusted(OTHER), trusted(LOG)]):
        opened = open_note(note, verifiers)
        assert opened.text == TEXT
        assert {signer.name for signer in opened.signers} == {verifier.name for verifier in verifiers}


@quick
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="".join(map(chr, range(32))))))
def test_it_carries_any_text_without_control_characters(line: str) -> None:
    text = f"{line}\n\n{line}\n"
    assert open_note(sign_note(text, [LOG]), [trusted(LOG)]).text == text


def test_it_covers_the_last_newline_but_not_the_empty_line() -> None:
    line = parse_note(sign_note("x\n", [LOG])).signatures[0]
    fixed_key(1).public_key().verify(line.signature, b"x\n")


def test_it_passes_over_keys_it_does_not_know() -> None:
    same_name = Signer(LOG.name, fixed_key(3))
    note = sign_note(TEXT, [same_name, OTHER, LOG])
    assert open_note(note, [trusted(LOG)]).signers == (SignedBy(LOG.name, LOG.key_id),)
    with pytest.raises(SignatureError, match="no trusted key"):
        open_note(sign_note(TEXT, [same_name, OTHER]), [trusted(LOG)])
    with pytest.raises(SignatureError):
        open_note(note, [])


def test_it_refuses_a_bad_signature_of_a_known_key_beside_a_good_one() -> None:
    good = sign_note(TEXT, [LOG, OTHER])
    bad = good.replace(OTHER.sign(TEXT), OTHER.sign("another\n"))
    with pytest.raises(SignatureError, match=r"example\.com/other"):
        open_note(bad, [trusted(LOG), trusted(OTHER)])
    assert open_note(bad, [trusted(LOG)]).text == TEXT


@quick
@given(st.data())
def test_it_refuses_a_changed_text(data: st.DataObject) -> None:
    note = sign_note("ledger\n7\nroot\n", [LOG])
    place = data.draw(st.integers(0, len("ledger\n7\nroot") - 1))
    changed = note[:place] + ("x" if note[place] != "x" else "y") + note[place + 1 :]
    with pytest.raises((SignatureError, MalformedError)):
        open_note(changed, [trusted(LOG)])


def test_it_names_a_signer_once() -> None:
    note = sign_note(TEXT, [LOG, LOG])
    assert len(open_note(note, [trusted(LOG)]).signers) == 1


def test_it_reads_a_hundred_signatures_and_no_more() -> None:
    assert len(parse_note(sign_note(TEXT, [LOG] * 100)).signatures) == 100
    with pytest.raises(MalformedError, match="101"):
        parse_note(sign_note(TEXT, [LOG] * 101))


LINE = LOG.sign("x\n")


@pytest.mark.parametrize(
    "note",
    [
        "",
        "x\n",
        "x\n\n",
        f"x\n\n{LINE}",
        f"x\n{LINE}\n",
        f"x\r\n\r\n{LINE}\r\n",
        f"x\x00\n\n{LINE}\n",
        f"x\n\n{LINE}\n{LINE.replace('— ', '- ')}\n",
        f"x\n\n{LINE} trailing\n",
        f"x\n\n{LINE[:-1]}\n",
        "x\n\n— example.com/log\n",
        "x\n\n— example.com/log AAAAAA==\n",
        "x\n\n— a+b " + base64.b64encode(b"12345").decode() + "\n",
        "x\n\n—  " + base64.b64encode(b"12345").decode() + "\n",
        f"\ud800\n\n{LINE}\n",
    ],
)
def test_it_refuses_what_is_not_a_note(note: str) -> None:
    with pytest.raises(MalformedError):
        parse_note(note)


def test_it_reads_unknown_signature_types_without_judging_them() -> None:
    note = "x\n\n— w " + base64.b64encode(b"1234" + b"cosignature").decode() + "\n"
    assert parse_note(note).signatures == (NoteSignature("w", b"1234".hex(), b"cosignature"),)


def test_it_signs_only_texts_that_are_notes() -> None:
    with pytest.raises(MalformedError, match="newline"):
        sign_note("x", [LOG])
    with pytest.raises(SignatureError, match="signer"):
        sign_note("x\n", [])


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "a\x01"])
def test_it_refuses_names_that_a_line_could_not_hold(name: str) -> None:
    with pytest.raises(MalformedError):
        Signer(name, fixed_key(1))


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "PeterNeumann",
        NEUMANN.replace("c74f20a3", "c74f20a4"),
        NEUMANN.replace("c74f20a3", "C74F20A3"),
        NEUMANN.replace("PeterNeumann", "Peter"),
        NEUMANN[:-1],
        NEUMANN + "=",
        "x+00000000+" + base64.b64encode(b"\x04" + b"\x00" * 32).decode(),
        "x+00000000+" + base64.b64encode(b"\x01" + b"\x00" * 31).decode(),
    ],
)
def test_it_refuses_what_is_not_a_verifier_key(vkey: str) -> None:
    with pytest.raises(MalformedError):
        Verifier.parse(vkey)


def test_it_agrees_with_an_implementation_from_elsewhere() -> None:
    theirs = signing.PlainEd25519Signer("example.com/log", fixed_key(1))
    assert theirs.vkey.serialize() == LOG.vkey
    checkpoint = tlog.Checkpoint.make_signed("example.com/log", 3, b"\x07" * 32, [theirs])
    assert checkpoint.serialize() == sign_note(checkpoint.serialize_body(), [LOG])
    assert open_note(checkpoint.serialize(), [trusted(LOG)]).text == checkpoint.serialize_body()
    ours = tlog.Checkpoint.from_text(sign_note(checkpoint.serialize_body(), [LOG]))
    ours.verify(signing.Vkey.from_string(LOG.vkey))


def test_it_tells_a_flipped_signature() -> None:
    line = parse_note(sign_note(TEXT, [LOG])).signatures[0]
    assert trusted(LOG).verifies(TEXT, line.signature)
    assert not trusted(LOG).verifies(TEXT, flipped(line.signature, 5))
    assert not trusted(LOG).verifies(TEXT, line.signature[:-1])
