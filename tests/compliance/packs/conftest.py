"""Packs built from real ledgers, and tools to change one as an attacker would."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from compliance.packs.builder import Built, build
from compliance.packs.container import ZipWriter
from compliance.packs.plan import Order
from compliance.packs.verifier import verify_pack
from evidence.keys import log_signer
from evidence.ledger import reader
from evidence.tlog.note import Verifier
from evidence.tlog.report import Step
from tests.cast import Cast
from tests.compliance.conftest import Story


@dataclass
class Packed:
    """A pack on disk."""

    path: Path
    built: Built

    def names(self) -> list[str]:
        with zipfile.ZipFile(self.path) as archive:
            return [name.partition("/")[2] for name in archive.namelist()]

    def read(self, name: str) -> bytes:
        with zipfile.ZipFile(self.path) as archive:
            return archive.read(archive.namelist()[0].partition("/")[0] + "/" + name)

    def json(self, name: str) -> Any:
        return json.loads(self.read(name))


Pack = Callable[..., Packed]


@pytest.fixture
def pack(cast: Cast, tmp_path: Path) -> Pack:
    """Build a pack of netlify-trading around now, or of other parameters."""

    def make(name: str = "one", **changes: Any) -> Packed:
        now = datetime.now(UTC).replace(microsecond=0)
        asked = {
            "pack": "20261001-abcdef",
            "start": now - timedelta(days=30),
            "end": now + timedelta(days=30),
            "systems": (cast.trading.pk,),
            "excluded": (),
            "size": reader.size(),
            **changes,
        }
        path = tmp_path / f"{name}.zip"
        with path.open("w+b") as out:
            built = build(Order(**asked), out, progress=lambda percent, stage: None)
        return Packed(path, built)

    return make


@pytest.fixture
def played(cast: Cast, story: Callable[..., Story]) -> Story:
    return story().open().build().approve().deploy().validate()


@pytest.fixture
def log_key(cast: Cast) -> Verifier:
    return Verifier.parse(log_signer().vkey)


def steps(packed: Packed | Path, *verifiers: Verifier, since: Path | None = None) -> list[Step]:
    path = packed if isinstance(packed, Path) else packed.path
    return list(verify_pack(path, verifiers=verifiers, since=since))


def rewrite(packed: Packed, target: Path, change: Callable[[str, bytes], bytes | None]) -> Path:
    """A copy whose files went through `change` (None leaves one out), with manifests that fit, unsigned."""
    with zipfile.ZipFile(packed.path) as archive, target.open("w+b") as out, ZipWriter(out) as writer:
        folder = archive.namelist()[0].partition("/")[0]
        kept: dict[str, bytes] = {}
        for full in archive.namelist():
            name = full.partition("/")[2]
            if name not in {"manifest-sha256.txt", "tagmanifest-sha256.txt"}:
                data = change(name, archive.read(full))
                if data is not None:
                    kept[name] = data
        manifest = _manifest({n: d for n, d in kept.items() if n.startswith("data/")})
        signed = change("manifest-sha256.txt", manifest)
        assert signed is not None
        if b'"payload"' not in signed:
            signed = kept["pack.dsse.json"]
        kept["pack.dsse.json"] = signed
        kept["manifest-sha256.txt"] = manifest
        kept["tagmanifest-sha256.txt"] = _manifest({n: d for n, d in kept.items() if not n.startswith("data/")})
        for name, data in kept.items():
            writer.add(f"{folder}/{name}", [data], len(data))
        writer.close()
    return target


def _manifest(files: dict[str, bytes]) -> bytes:
    return "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in files.items()).encode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
