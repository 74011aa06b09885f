"""Step 9: copies are tampered with, and each lie is found and named."""

import base64
import hashlib
import json
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit, urlunsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.e2e.scenario.stage import NotHeldError, Stage, expect, tick

COPY = "prooftrail_copy"


def step_9_tampering(stage: Stage) -> None:
    """One byte of a copied pack, a re-signed pack, a row of a copied database: each is found; the original is clean"""
    path = Path(stage.state["pack_path"])
    _one_byte(stage, path)
    _signed_by_another(stage, path)
    _one_row(stage)
    printed = stage.manage("check_ledger")
    tick(f"check_ledger on the live ledger finds nothing: {printed.strip().splitlines()[-1]}")


def _one_byte(stage: Stage, path: Path) -> None:
    record = f"records/{stage.state['manifest']}.json"
    copy, contents = stage.files / "pack-one-byte.zip", _read(path)
    name = next(name for name in contents if name.endswith("/" + record))
    data = bytearray(contents[name])
    place = data.index(b'"envelope"') + 60
    data[place] = ord("A") if data[place] != ord("A") else ord("B")
    _rewrite(path, copy, {name: bytes(data)})
    printed = stage.cli("verify", copy, "--log-key", stage.state["log_key"], fails=1)
    expect(record in " ".join(printed.split()), f"one changed byte fails the verification, which names {record}")


def _signed_by_another(stage: Stage, path: Path) -> None:
    """Everything that carries a signature of the whole is signed anew with a key of our own making."""
    copy, mine, contents = stage.files / "pack-resigned.zip", Ed25519PrivateKey.generate(), _read(path)
    top = next(iter(contents)).partition("/")[0] + "/"
    envelope = json.loads(contents[top + "pack.dsse.json"])
    keys = json.loads(contents[top + "data/keys.json"])
    old_note = contents[top + "data/log/checkpoint"].decode()
    new_note, new_vkey = _resigned_note(old_note, mine)
    service = next(key for key in keys["keys"] if key["purpose"] == "service")
    raw = mine.public_key().public_bytes_raw()
    exchanged = {
        old_note: new_note,
        keys["log"][0]["vkey"]: new_vkey,
        service["key_id"]: _sha256(raw),
        service["public_key"]: base64.b64encode(raw).decode(),
    }
    for name, data in contents.items():
        if name.startswith(top + "data/log/") or name == top + "data/keys.json":
            for old, new in exchanged.items():
                data = data.replace(old.encode(), new.encode())
            contents[name] = data
    _reseal(contents, top, envelope, mine)
    _rewrite(path, copy, contents)
    printed = stage.cli("verify", copy, "--log-key", stage.state["log_key"], fails=1)
    failed = next(line.strip() for line in printed.splitlines() if "✗" in line)
    expect(failed.startswith("✗ 5"), f"the whole pack re-signed with another key fails, too: {failed}")


def _reseal(contents: dict[str, bytes], top: str, envelope: dict[str, Any], key: Ed25519PrivateKey) -> None:
    """Bag manifests and the pack's statement, made to fit what is in the pack now."""
    lines = contents[top + "manifest-sha256.txt"].decode().splitlines()
    names = [line.split(None, 1)[1] for line in lines]
    manifest = "".join(f"{_sha256(contents[top + name])}  {name}\n" for name in names).encode()
    old = _sha256(contents[top + "manifest-sha256.txt"])
    contents[top + "manifest-sha256.txt"] = manifest
    payload = base64.b64decode(envelope["payload"]).replace(old.encode(), _sha256(manifest).encode())
    kind = envelope["payloadType"]
    pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)
    keyid = _sha256(key.public_key().public_bytes_raw())
    signature = {"keyid": keyid, "sig": base64.b64encode(key.sign(pae)).decode()}
    sealed = envelope | {"payload": base64.b64encode(payload).decode(), "signatures": [signature]}
    contents[top + "pack.dsse.json"] = json.dumps(sealed, sort_keys=True, separators=(",", ":")).encode()
    tags = [line.split(None, 1)[1] for line in contents[top + "tagmanifest-sha256.txt"].decode().splitlines()]
    tagged = "".join(f"{_sha256(contents[top + name])}  {name}\n" for name in tags)
    contents[top + "tagmanifest-sha256.txt"] = tagged.encode()


def _resigned_note(note: str, key: Ed25519PrivateKey) -> tuple[str, str]:
    """A C2SP signed note with the same text and name under another Ed25519 key, and that key's verifier key."""
    text, _, _ = note.rpartition("\n\n")
    text += "\n"
    name = text.split("\n", 1)[0]
    raw = key.public_key().public_bytes_raw()
    key_id = hashlib.sha256(name.encode() + b"\n\x01" + raw).digest()[:4]
    signature = base64.b64encode(key_id + key.sign(text.encode())).decode()
    vkey = f"{name}+{key_id.hex()}+{base64.b64encode(bytes([1]) + raw).decode()}"
    return f"{text}\n— {name} {signature}\n", vkey


def _one_row(stage: Stage) -> None:
    """A superuser changes an approval's role in a copy of the database."""
    runtime = os.environ["DATABASE_URL"]
    password = (stage.data_dir / "postgres-superuser").read_text().strip()
    parts = urlsplit(runtime)
    place = f"postgres:{password}@{parts.hostname}:{parts.port}"
    source = urlunsplit(parts._replace(netloc=place))
    copy = urlunsplit(parts._replace(netloc=place, path="/" + COPY))
    stage.psql(f"DROP DATABASE IF EXISTS {COPY} WITH (FORCE)", url=source)
    stage.psql(f"CREATE DATABASE {COPY}", url=source)
    _copy_database(source, copy)
    stage.psql(
        "UPDATE evidence_approval SET role = 'cfo' WHERE index ="
        " (SELECT max(index) FROM evidence_approval WHERE role = 'qa')",
        url=copy,
    )
    target = urlunsplit(parts._replace(path="/" + COPY))
    printed = stage.manage("check_ledger", code=1, DATABASE_URL=target)
    expect("evidence_approval" in printed and "role" in printed, "in a copy, a superuser's changed row is named:")
    print("".join(f"      {line}\n" for line in printed.splitlines() if "approval" in line)[:400], end="", flush=True)
    stage.psql(f"DROP DATABASE {COPY} WITH (FORCE)", url=source)


def _copy_database(source: str, target: str) -> None:
    dump = subprocess.Popen(["pg_dump", "-d", source], stdout=subprocess.PIPE)
    load = subprocess.run(
        ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target], stdin=dump.stdout, capture_output=True, text=True
    )
    if dump.wait() or load.returncode:
        raise NotHeldError(f"the database could not be copied: {load.stderr[-400:]}")


def _read(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as pack:
        return {name: pack.read(name) for name in pack.namelist()}


def _rewrite(source: Path, target: Path, contents: Mapping[str, bytes]) -> None:
    """A copy in which some stored entries hold other bytes of the same length, checksums made to fit."""
    shutil.copyfile(source, target)
    with zipfile.ZipFile(source) as pack:
        entries, directory = pack.infolist(), pack.start_dir
    with target.open("r+b") as file:
        for entry in entries:
            file.seek(directory)
            central = file.read(46)
            lengths = struct.unpack("<HHH", central[28:34])
            data = contents.get(entry.filename)
            if data is not None and zlib.crc32(data) != entry.CRC:
                if len(data) != entry.file_size:
                    raise NotHeldError(f"{entry.filename} would change its length")
                _overwrite(file, entry, directory, data)
            directory += 46 + sum(lengths)


def _overwrite(file: BinaryIO, entry: zipfile.ZipInfo, directory: int, data: bytes) -> None:
    checksum = struct.pack("<L", zlib.crc32(data))
    file.seek(entry.header_offset)
    header = file.read(30)
    start = entry.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
    file.seek(start)
    file.write(data)
    if entry.flag_bits & 8:  # the checksum stands behind the data, after a signature
        file.seek(start + len(data) + 4)
    else:
        file.seek(entry.header_offset + 14)
    file.write(checksum)
    file.seek(directory + 16)
    file.write(checksum)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
