"""Files that the user names: JSON bodies, and files to upload with their digests."""

import hashlib
import mimetypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.cli import progress
from config.cli.errors import usage
from evidence.tlog.canonical import parse_strict
from evidence.tlog.errors import MalformedError

CHUNK = 1 << 20
#: Above this a file is uploaded in parts of this size, each with its own digest.
MULTIPART, PART = 64 << 20, 32 << 20


@dataclass(frozen=True)
class LocalFile:
    path: Path
    size: int
    sha256: str
    #: Of each part in hex; none of a file that goes in one piece.
    part_sha256: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def media_type(self) -> str:
        return mimetypes.guess_type(self.path.name)[0] or "application/octet-stream"


def local_file(path: Path) -> LocalFile:
    """Size and digests of a file, read once."""
    whole, part, size = hashlib.sha256(), hashlib.sha256(), 0
    parts: list[str] = []
    expected = read_from(path).stat().st_size
    with progress.of_bytes(f"Reading {path.name}", expected) as shown, path.open("rb") as file:
        while chunk := file.read(min(CHUNK, PART - size % PART)):
            whole.update(chunk)
            part.update(chunk)
            size += len(chunk)
            shown.advance(len(chunk))
            if size % PART == 0:
                parts.append(part.hexdigest())
                part = hashlib.sha256()
    if size % PART:
        parts.append(part.hexdigest())
    return LocalFile(path, size, whole.hexdigest(), tuple(parts) if size > MULTIPART else ())


def chunks(path: Path, offset: int = 0, size: int | None = None) -> Iterator[bytes]:
    """A file, or `size` bytes of it from `offset` on, piece by piece."""
    left = size
    with read_from(path).open("rb") as file:
        file.seek(offset)
        while chunk := file.read(CHUNK if left is None else min(CHUNK, left)):
            yield chunk
            left = None if left is None else left - len(chunk)


def read_from(path: Path) -> Path:
    """``path``, if it is a file that can be read."""
    if not path.is_file():
        raise usage(f"There is no file {path}")
    if not os.access(path, os.R_OK):
        raise usage(f"{path} may not be read")
    return path


def read_body(source: str | None) -> dict[str, Any]:
    """A JSON object from a file, from standard input (``-``), or an empty one."""
    if source is None:
        return {}
    data = sys.stdin.buffer.read() if source == "-" else read_from(Path(source)).read_bytes()
    where = "standard input" if source == "-" else source
    try:
        body = parse_strict(data)
    except MalformedError as error:
        raise usage(f"{where}: {error}") from error
    if not isinstance(body, dict):
        raise usage(f"{where} holds JSON, but not an object")
    return body


def write_new(path: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write a file that must not exist yet."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError as error:
        raise usage(f"{path} exists already", "Choose another name or move it away.") from error
    except OSError as error:
        raise usage(f"{path} cannot be written: {error.strerror}") from error
    with open(descriptor, "wb") as file:
        file.write(data)
