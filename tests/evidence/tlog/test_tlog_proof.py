from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tlog_scales import backend, reader, signing, tlog, writer

from evidence.tlog import b64
from evidence.tlog.checkpoint import open_checkpoint
from evidence.tlog.errors import MalformedError
from evidence.tlog.merkle import consistency_proof, inclusion_proof, leaf_hash, root_at, verify_consistency
from evidence.tlog.note import Signer, Verifier
from evidence.tlog.tiles import TileNodes, decode_bundle, entries_path, tile_path
from evidence.tlog.tlog_proof import TlogProof, format_proof, parse_proof
from tests.evidence.tlog.helpers import fixed_key, quick

NOTE = "example.com/log\n1\nAAAA\n\n— example.com/log AAAA\n"
HASH = b"\x05" * 32
LOG = Signer("example.com/log", fixed_key(1))


def test_it_writes_the_format() -> None:
    assert format_proof(73894, [HASH], NOTE) == (f"c2sp.org/tlog-proof@v1\nindex 73894\n{b64.encode(HASH)}\n\n{NOTE}")


@quick
@given(st.integers(0, 2**63 - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=63))
def test_it_reads_what_it_writes(index: int, hashes: list[bytes]) -> None:
    assert parse_proof(format_proof(index, hashes, NOTE)) == TlogProof(index, tuple(hashes), NOTE)


def test_it_reads_extra_data_of_other_tools() -> None:
    text = format_proof(0, [HASH], NOTE).replace("\nindex", "\nextra aGVsbG8=\nindex", 1)
    assert parse_proof(text) == TlogProof(0, (HASH,), NOTE, extra=b"hello")


@pytest.mark.parametrize(
    "text",
    [
        "",
        NOTE,
        "c2sp.org/tlog-proof@v1\nindex 0\n",
        "c2sp.org/tlog-proof@v1\nindex 0\n\n",
        f"c2sp.org/tlog-proof@v2\nindex 0\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nextra aGVsbG8=\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\nextra aGVsbG8=\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 00\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex -1\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\nindex 0\nnot base64\n\n{NOTE}",
        f"c2sp.org/tlog-proof@v1\r\nindex 0\r\n\r\n{NOTE}",
        format_proof(0, [HASH] * 64, NOTE),
    ],
)
def test_it_refuses_any_other_text(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_proof(text)


def test_it_proves_a_log_that_another_implementation_wrote(tmp_path: Path) -> None:
    """Their writer lays out tiles; our reader, proofs and checkpoint agree with theirs, and theirs with ours."""
    root = tmp_path / "log"
    log = writer.TilesWriter.create(root, "example.com/log")
    entries = [f"entry {number}".encode() for number in range(600)]
    for entry in entries[:300]:
        log.add_leaf(entry)
    log.commit([signing.PlainEd25519Signer("example.com/log", fixed_key(1))], gc=False)
    first = open_checkpoint((root / "checkpoint").read_text(), [Verifier.parse(LOG.vkey)])
    for entry in entries[300:]:
        log.add_leaf(entry)
    log.commit([signing.PlainEd25519Signer("example.com/log", fixed_key(1))], gc=False)
    note = (root / "checkpoint").read_text()
    checkpoint = open_checkpoint(note, [Verifier.parse(LOG.vkey)])

    node = TileNodes(lambda level, n, width: (root / tile_path(level, n, width)).read_bytes(), 600)
    assert root_at(600, node) == checkpoint.root
    assert decode_bundle((root / entries_path(2, 88)).read_bytes(), 88) == entries[512:]

    theirs = reader.TilesReader(backend.LocalBackend(root))
    theirs.set_size(600)
    for index in (0, 255, 256, 511, 599):
        ours = inclusion_proof(index, 600, node)
        assert ours == theirs.get_inclusion_proof(index, 600).node_hashes
        read = parse_proof(format_proof(index, ours, note))
        checked = tlog.InclusionProof(read.index, checkpoint.size, list(read.hashes))
        checked.check(leaf_hash(entries[index]), checkpoint.root)
    proof = consistency_proof(300, 600, node)
    assert proof == theirs.get_consistency_proof(300, 600).node_hashes
    tlog.ConsistencyProof(300, 600, proof).check(first.root, checkpoint.root)
    verify_consistency(old_size=300, new_size=600, proof=proof, old_root=first.root, new_root=checkpoint.root)
