"""What an attacker may do to a pack, and which step says so."""

import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from compliance.packs.layout import PREDICATE_TYPE
from evidence.keys import log_signer
from evidence.tlog import b64
from evidence.tlog.canonical import canonical
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.dsse import parse_envelope, sign_envelope
from evidence.tlog.keys import generate, key_digest
from evidence.tlog.leaf import parse_leaf, payload_digest
from evidence.tlog.merkle import leaf_hash, tree_root
from evidence.tlog.note import Signer, Verifier, sign_note
from evidence.tlog.report import VerificationError
from evidence.tlog.statement import Subject, build_statement, parse_statement
from evidence.tlog.tiles import decode_bundle, encode_bundle
from evidence.tlog.tlog_proof import parse_proof
from tests.compliance.conftest import Story
from tests.compliance.packs.conftest import Pack, Packed, rewrite, steps

KEY = generate()


@pytest.fixture
def packed(played: Story, pack: Pack) -> Packed:
    return pack()


def refused(path: Path, *verifiers: Verifier, since: Path | None = None) -> VerificationError:
    with pytest.raises(VerificationError) as caught:
        steps(path, *verifiers, since=since)
    return caught.value


def resigned(packed: Packed, target: Path, change: Callable[[str, bytes], bytes | None], **predicate: Any) -> Path:
    """A copy with everything rewritten to fit, signed with the attacker's key."""
    stated = parse_statement(parse_envelope(packed.read("pack.dsse.json")).payload)

    def rewritten(name: str, data: bytes) -> bytes | None:
        if name == "data/keys.json":
            keys = json.loads(data)
            mine = b64.encode(KEY.public_key().public_bytes_raw())
            keys["keys"].append({"key_id": key_digest(KEY.public_key()), "purpose": "service", "public_key": mine})
            data = json.dumps(keys).encode()
        if name == "manifest-sha256.txt":
            subject = Subject(name, {"sha256": hashlib.sha256(data).hexdigest()})
            body = stated.predicate | predicate
            return sign_envelope(
                build_statement(subjects=[subject], predicate_type=PREDICATE_TYPE, predicate=body), KEY
            )
        return change(name, data)

    return rewrite(packed, target, rewritten)


def same(name: str, data: bytes) -> bytes:
    return data


def drop(dropped: str) -> Callable[[str, bytes], bytes | None]:
    return lambda name, data: None if name == dropped else data


# -- one byte ----------------------------------------------------------------------------------------------------------


def test_it_names_the_record_whose_byte_was_changed(packed: Packed, played: Story, log_key: Verifier) -> None:
    data = bytearray(packed.path.read_bytes())
    name = f"data/records/{played.placed['approval'].index}.json"
    at = data.index(packed.read(name)[40:200]) + 30
    data[at] ^= 1
    packed.path.write_bytes(data)
    error = refused(packed.path, log_key)
    assert error.step == 2
    assert name in str(error)


def test_it_notices_a_flipped_bit_anywhere(packed: Packed, log_key: Verifier) -> None:
    data = packed.path.read_bytes()
    for position in [*range(0, len(data), len(data) // 40), len(data) - 1]:
        changed = bytearray(data)
        changed[position] ^= 0x10
        packed.path.write_bytes(changed)
        assert refused(packed.path, log_key).step in {1, 2, 3}, position


def test_it_refuses_a_pack_that_was_cut_off(packed: Packed) -> None:
    packed.path.write_bytes(packed.path.read_bytes()[:-100])
    assert refused(packed.path).step == 1


def test_it_refuses_a_file_that_is_no_pack(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello")
    assert refused(tmp_path / "x").step == 1
    assert refused(tmp_path / "nothing").step == 1


# -- manifests that fit, key of the service not known ------------------------------------------------------------------


def test_it_refuses_new_manifests_without_the_packs_key(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    changed = rewrite(packed, tmp_path / "x.zip", drop("data/failures.csv"))
    error = refused(changed, log_key)
    assert (error.step, "another manifest" in str(error)) == (3, True)


def test_it_refuses_a_pack_signed_whole_with_another_key(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    error = refused(resigned(packed, tmp_path / "x.zip", same), log_key)
    assert error.step == 8
    assert "does not create the key" in str(error)


def test_it_refuses_another_key_without_a_key_record_too(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    error = refused(resigned(packed, tmp_path / "x.zip", same, key_record=None), log_key)
    assert error.step == 8
    assert "no record of the log was signed by the service" in str(error)


def test_it_refuses_a_log_made_up_with_another_log_key(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    origin = log_signer().name
    text = packed.read("data/log/checkpoint").decode().partition("\n\n")[0] + "\n"
    note = sign_note(text, [Signer(origin, generate())])

    def change(name: str, data: bytes) -> bytes:
        if name == "data/log/checkpoint":
            return note.encode()
        if name.endswith(".tlog-proof"):
            return data.decode().partition("\n\n")[0].encode() + b"\n\n" + note.encode()
        return data

    assert refused(resigned(packed, tmp_path / "x.zip", change), log_key).step == 5


# -- everything signed again, one thing changed ------------------------------------------------------------------------


def changed_record(packed: Packed, index: int, **members: bytes) -> bytes:
    record = packed.json(f"data/records/{index}.json")
    return canonical(record | {name: b64.encode(data) for name, data in members.items()})


def test_it_refuses_a_record_with_another_envelope(
    packed: Packed, played: Story, tmp_path: Path, log_key: Verifier
) -> None:
    index = played.placed["approval"].index
    record = packed.json(f"data/records/{index}.json")
    payload = json.loads(parse_envelope(b64.decode(record["envelope"])).payload)
    payload["predicate"]["decision"] = "rejected"
    data = changed_record(packed, index, envelope=sign_envelope(canonical(payload), KEY))
    path = f"data/records/{index}.json"
    error = refused(resigned(packed, tmp_path / "x.zip", lambda n, d: data if n == path else d), log_key)
    assert error.step == 6
    assert f"record {index}:" in str(error)


def test_it_refuses_a_record_with_another_leaf(packed: Packed, played: Story, tmp_path: Path) -> None:
    index = played.placed["approval"].index
    record = packed.json(f"data/records/{index}.json")
    leaf = parse_leaf(b64.decode(record["leaf"]))
    context = b64.decode(record["context"]).replace(b'"schema"', b'"schemb"')
    digest = payload_digest(b64.decode(record["salt"]), context, b64.decode(record["envelope"]))
    other = type(leaf)(leaf.kind, leaf.at, leaf.occurred, leaf.by, leaf.scope, digest)
    data = changed_record(packed, index, leaf=other.encode(), context=context)
    path = f"data/records/{index}.json"
    error = refused(resigned(packed, tmp_path / "x.zip", lambda n, d: data if n == path else d))
    assert (error.step, f"record {index}: inclusion proof" in str(error)) == (6, True)


def test_it_misses_a_leaf(packed: Packed, tmp_path: Path) -> None:
    (path,) = [name for name in packed.names() if name.startswith("data/log/tile/entries/")]
    width = int(path.rpartition("/")[2])
    entries = decode_bundle(packed.read(path), width)
    entries[5], entries[6] = entries[6], entries[5]
    changed = encode_bundle(entries)
    assert refused(resigned(packed, tmp_path / "x.zip", lambda n, d: changed if n == path else d)).step == 4
    assert refused(resigned(packed, tmp_path / "y.zip", drop(path))).step == 4


def test_it_notices_a_narrowed_period(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    late = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    changed = resigned(packed, tmp_path / "x.zip", same, **{"from": late})
    assert refused(changed, log_key).step == 8


def test_it_checks_the_proof_of_every_record(packed: Packed, played: Story, tmp_path: Path) -> None:
    index = played.placed["approval"].index
    other = packed.read(f"data/log/proofs/{index - 1}.tlog-proof")
    assert parse_proof(other.decode()).index == index - 1
    path = f"data/log/proofs/{index}.tlog-proof"
    error = refused(resigned(packed, tmp_path / "x.zip", lambda n, d: other if n == path else d))
    assert (error.step, f"record {index}:" in str(error)) == (6, True)


# -- as the operator itself could: signed with the right keys --------------------------------------------------------


@pytest.fixture
def insider(packed: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Changes signed with the service's own key: only the log can contradict them."""
    from evidence.keys import record_signer

    monkeypatch.setattr("tests.compliance.packs.test_tampering.KEY", record_signer().key)
    return lambda change, **predicate: resigned(packed, tmp_path / "x.zip", change, **predicate)


def test_it_holds_the_operator_to_the_log(insider: Callable[..., Path], played: Story, log_key: Verifier) -> None:
    assert steps(insider(same), log_key)[-1].number == 11
    index = played.placed["validation.result"].index
    assert refused(insider(drop(f"data/records/{index}.json")), log_key).step == 9


def test_it_holds_the_operator_to_dispositions(
    packed: Packed, insider: Callable[..., Path], played: Story, log_key: Verifier
) -> None:
    index = played.placed["validation.result"].index
    record = packed.json(f"data/records/{index}.json")
    data = canonical({"index": index, "leaf": record["leaf"], "disposed_by": 0})
    error = refused(insider(lambda n, d: data if n == f"data/records/{index}.json" else d), log_key)
    assert (error.step, "does not dispose of it" in str(error)) == (9, True)


def test_it_holds_the_operator_to_the_populations(insider: Callable[..., Path], log_key: Verifier) -> None:
    for name in ("releases", "deployments", "approvals", "records"):
        error = refused(insider(without_last_row(f"data/populations/{name}.csv")), log_key)
        assert (error.step, f"populations/{name}.csv" in str(error)) == (11, True)


def without_last_row(name: str) -> Callable[[str, bytes], bytes]:
    return lambda path, data: data[: data.rstrip().rindex(b"\n") + 1] if path == name else data


def test_it_holds_the_operator_to_the_counts(insider: Callable[..., Path], log_key: Verifier) -> None:
    def change(path: str, data: bytes) -> bytes:
        return data.replace(b'"satisfied": 1', b'"satisfied": 2', 1) if path == "data/ipe.json" else data

    assert refused(insider(change), log_key).step == 11


# -- history -----------------------------------------------------------------------------------------------------------


def test_it_proves_that_the_log_has_only_grown(
    packed: Packed, played: Story, pack: Pack, tmp_path: Path, log_key: Verifier
) -> None:
    played.write("decision", {"title": "More", "decision": "Go", "rationale": "Green"})
    newer = pack("newer")
    (tmp_path / "note").write_bytes(packed.read("data/log/checkpoint"))
    for since in (packed.path, tmp_path / "note"):
        assert [step.number for step in steps(newer, log_key, since=since)][-1] == 12
    assert refused(packed.path, log_key, since=newer.path).step == 12


def test_it_notices_that_history_was_rewritten(packed: Packed, tmp_path: Path, log_key: Verifier) -> None:
    forged = Checkpoint(log_signer().name, 3, tree_root([leaf_hash(bytes([n])) for n in range(3)]))
    (tmp_path / "note").write_text(sign_note(forged.text(), [log_signer()]))
    error = refused(packed.path, log_key, since=tmp_path / "note")
    assert (error.step, "rewritten" in str(error)) == (12, True)
