"""A BagIt 1.0 bag (RFC 8493) written straight into a ZIP archive, and the check of one that was read.

Payload lies under ``data/``; ``pack.dsse.json`` is a tag file, since it signs the payload's manifest.
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from types import TracebackType
from typing import IO, Self

from compliance.packs.container import CHUNK, ContainerError, ZipReader, ZipWriter, check_path

BAGIT = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
STATEMENT = "pack.dsse.json"
MANIFEST, TAG_MANIFEST = "manifest-sha256.txt", "tagmanifest-sha256.txt"
TAG_FILES = ("bagit.txt", "bag-info.txt", MANIFEST, STATEMENT)
_LINE = re.compile(r"([0-9a-f]{64})  ([^\r\n%]{1,300})\n")


class BagWriter:
    """Adds payload files as they come; `close` adds the tag files. Leaving the context lets go of temporary files."""

    def __init__(self, out: IO[bytes], folder: str) -> None:
        self._zip = ZipWriter(out)
        self._folder = folder
        self._manifest = tempfile.TemporaryFile()  # noqa: SIM115  (closed by __exit__)
        self._octets = self._files = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._manifest.close()
        self._zip.__exit__(kind, error, tb)

    def add(self, name: str, data: bytes) -> None:
        """One payload file; `name` is below ``data/``."""
        self.add_chunks(name, [data], len(data))

    def add_chunks(self, name: str, chunks: Iterable[bytes], size: int, expected: str | None = None) -> None:
        """One payload file of `size` bytes; ContainerError when it has not the `expected` SHA-256."""
        digest = sha256()

        def hashed() -> Iterator[bytes]:
            for chunk in chunks:
                digest.update(chunk)
                yield chunk

        path = check_path(f"data/{name}")
        self._zip.add(f"{self._folder}/{path}", hashed(), size)
        if expected is not None and digest.hexdigest() != expected:
            raise ContainerError(f"{name} has SHA-256 {digest.hexdigest()}, not {expected}")
        self._manifest.write(f"{digest.hexdigest()}  {path}\n".encode())
        self._octets, self._files = self._octets + size, self._files + 1

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """A payload file of unknown length, kept on disk until it is complete."""
        with tempfile.TemporaryFile() as spool:
            yield spool
            size = spool.tell()
            spool.seek(0)
            self.add_chunks(name, iter(lambda: spool.read(CHUNK), b""), size)

    def close(self, info: Iterable[tuple[str, str]], sign: Callable[[str], bytes]) -> str:
        """Finish the bag: `sign` gets the manifest's SHA-256 and returns the pack's statement. Returns that digest."""
        size = self._manifest.tell()
        digest = _digest_of(self._manifest)
        lines = [*info, ("Payload-Oxum", f"{self._octets}.{self._files}")]
        tags = [("bagit.txt", BAGIT), ("bag-info.txt", "".join(f"{k}: {v}\n" for k, v in lines).encode())]
        tags.append((STATEMENT, sign(digest)))
        self._zip.add(f"{self._folder}/{MANIFEST}", iter(lambda: self._manifest.read(CHUNK), b""), size)
        listed = [f"{sha256(data).hexdigest()}  {name}\n" for name, data in tags] + [f"{digest}  {MANIFEST}\n"]
        for name, data in [*tags, (TAG_MANIFEST, "".join(listed).encode())]:
            self._zip.add(f"{self._folder}/{name}", [data], len(data))
        self._zip.close()
        return digest


def _digest_of(file: IO[bytes]) -> str:
    """SHA-256 of a file, read from its start and left there."""
    digest = sha256()
    file.seek(0)
    shutil.copyfileobj(file, _Sink(digest.update), CHUNK)
    file.seek(0)
    return digest.hexdigest()


class _Sink:
    def __init__(self, write: Callable[[bytes], object]) -> None:
        self.write = write


# -- checking ----------------------------------------------------------------------------------------------------------


def check_bag(container: ZipReader) -> tuple[int, str]:
    """Check every digest of both manifests, and that they name every file. Returns (files, the manifest's SHA-256)."""
    container.index.execute("CREATE TABLE manifest (name TEXT PRIMARY KEY, digest TEXT)")
    manifest = _load_manifest(container, MANIFEST, "data/")
    _load_manifest(container, TAG_MANIFEST, "")
    container.index.execute("INSERT OR IGNORE INTO manifest VALUES (?, NULL)", (TAG_MANIFEST,))
    for question, complaint in (
        ("SELECT name FROM entry EXCEPT SELECT name FROM manifest LIMIT 1", "is in no manifest"),
        ("SELECT name FROM manifest EXCEPT SELECT name FROM entry LIMIT 1", "is in the manifest but not in the pack"),
    ):
        for (name,) in container.index.execute(question):
            raise ContainerError(f"{name} {complaint}")
    for name in TAG_FILES:
        if not container.has(name):
            raise ContainerError(f"{name} is missing")
    if container.read("bagit.txt", 1000) != BAGIT:
        raise ContainerError("bagit.txt is not that of BagIt 1.0")
    return _check_digests(container), manifest


def _check_digests(container: ZipReader) -> int:
    checked = 0
    for name in container.names():
        (digest,) = container.index.execute("SELECT digest FROM manifest WHERE name = ?", (name,)).fetchone()
        if digest is None:
            continue
        computed = sha256()
        for chunk in container.chunks(name):
            computed.update(chunk)
        if computed.hexdigest() != digest:
            raise ContainerError(
                f"{name} was changed: its SHA-256 is {computed.hexdigest()}, the manifest says {digest}"
            )
        checked += 1
    return checked


def _load_manifest(container: ZipReader, name: str, prefix: str) -> str:
    digest = sha256()
    for line in lines(container, name):
        digest.update(line.encode())
        match = _LINE.fullmatch(line)
        if match is None or not match[2].startswith(prefix) or (not prefix and match[2].startswith("data/")):
            raise ContainerError(f"{name} holds a line that is no digest and path: {line[:100]!r}")
        known = container.index.execute("SELECT 1 FROM manifest WHERE name = ?", (match[2],)).fetchone()
        if known:
            raise ContainerError(f"{name} names {match[2]} twice")
        container.index.execute("INSERT INTO manifest VALUES (?, ?)", (match[2], match[1]))
    return digest.hexdigest()


def lines(container: ZipReader, name: str) -> Iterator[str]:
    """Lines of a text file with their ends, in constant memory."""
    rest = b""
    for chunk in container.chunks(name):
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > CHUNK:
            raise ContainerError(f"{name} holds a line longer than {CHUNK} bytes")
        yield from (line.decode("utf-8", "replace") + "\n" for line in whole)
    if rest:
        raise ContainerError(f"{name} does not end with a line end")
