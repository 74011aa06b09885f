"""Step 7 of the check: what was published outside, against the ledger and against the rows that speak of it.

1. each object: signed by a log key of its size, under lock, not hidden; not beyond the ledger; with its root
2. each row: with the ledger's root; its object is there, in the version that it names
3. each object but the newest has its row; each anchor names one before it that is there
4. the pointer names an anchor that is there
5. full tiles and entry bundles of the newest anchor are there, tiles with the bytes that they should have
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from config.errors import MissingError, ProoftrailError, UnavailableError
from evidence import storage
from evidence.anchors.outside import CHECKPOINTS, POINTER, Outside, configured, open_anchor, previous_of
from evidence.ledger import reader
from evidence.ledger.check.deviations import Deviates
from evidence.models import Anchor
from evidence.tlog.errors import TlogError
from evidence.tlog.note import Verifier
from evidence.tlog.tiles import TILE, TileAddress, entries_path, tile_path, tile_widths

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectOutputTypeDef

#: Objects read at a time.
READERS = 8
#: Tiles compared with one query.
TILES = 256

RootAt = Callable[[int], bytes]


def check_anchors(deviates: Deviates, *, log_keys: Sequence[Verifier], root_at: RootAt, size: int) -> None:
    """Compare the outside copies with a ledger of which `size` entries are recomputed.

    To be called outside a transaction that pins a snapshot: anchors of entries that came since are passed over.
    Raises UnavailableError ``store_unavailable`` when the object store fails: nothing is said of anchors then.
    """
    if not configured():
        if noted := Anchor.objects.count():
            deviates("anchor", "S3_ANCHOR_BUCKET", f"is not set here, though {noted} anchors were published")
        return
    check = _Anchors(deviates, log_keys, root_at, size)
    try:
        with storage.unavailable("checking the anchors"):
            check.objects()
            check.rows()
            check.links()
            check.pointer()
            check.tiles()
    except ClientError as error:
        raise UnavailableError(f"The bucket of anchors cannot be read: {error}", code="store_unavailable") from error


class _Anchors:
    def __init__(self, deviates: Deviates, log_keys: Sequence[Verifier], root_at: RootAt, size: int) -> None:
        self._deviates = deviates
        self._log_keys = log_keys
        self._root_at = root_at
        self._size = size
        self._outside = Outside(storage.client())
        #: Versions that count, by size.
        self._there: dict[int, set[str]] = defaultdict(set)
        self._noted: set[int] = set()
        #: (anchor, the one that it names before it)
        self._links: set[tuple[int, int]] = set()

    # -- 1. objects ------------------------------------------------------------------------------------------------

    def objects(self) -> None:
        where = {"Bucket": self._outside.bucket, "Prefix": self._outside.key(CHECKPOINTS)}
        pages = self._outside.client.get_paginator("list_object_versions").paginate(**where)  # type: ignore[arg-type]  # by parts
        with ThreadPoolExecutor(READERS) as readers:
            for page in pages:
                for marker in filter(self._is_anchor, page.get("DeleteMarkers", [])):
                    self._says(marker["Key"], f"hidden by a delete marker, version {marker['VersionId']}")
                versions = list(filter(self._is_anchor, page.get("Versions", [])))
                for version, answer in zip(versions, readers.map(self._get, versions), strict=True):
                    self._object(version["Key"], version["VersionId"], *answer)

    def _is_anchor(self, version: Any) -> bool:
        """Other names have their place beside the anchors: cosignatures, timestamps."""
        name: str = version["Key"].removeprefix(self._outside.key(CHECKPOINTS))
        return name.isascii() and name.isdecimal()

    def _get(self, version: Any) -> "tuple[GetObjectOutputTypeDef, bytes]":
        answer = self._outside.client.get_object(
            Bucket=self._outside.bucket, Key=version["Key"], VersionId=version["VersionId"]
        )
        return answer, answer["Body"].read(1 << 16)

    def _object(self, key: str, version: str, answer: "GetObjectOutputTypeDef", body: bytes) -> None:
        try:
            checkpoint = open_anchor(body.decode(errors="replace"), self._log_keys)
        except TlogError as error:
            self._says(key, f"version {version} does not count: {error}")
            return
        size = checkpoint.size
        if key != self._outside.key(f"{CHECKPOINTS}{size}"):
            self._says(key, f"version {version} speaks of size {size}")
            return
        self._there[size].add(version)
        if answer.get("ObjectLockMode") != "COMPLIANCE":
            self._says(key, f"version {version} lies under no lock: it can be taken away")
        if (previous := previous_of(answer["Metadata"])) is not None:
            self._links.add((size, previous))
        self._compare(key, size, checkpoint.root)

    def _compare(self, where: str, size: int, root: bytes) -> None:
        if size > self._size:
            held = reader.size()
            if size > held:
                self._says(
                    where,
                    f"covers {size} entries, the ledger holds {held}: an older copy was restored, or the end cut off",
                )
            return
        try:
            ours = self._root_at(size)
        except (ProoftrailError, TlogError, KeyError) as error:
            self._says(where, f"the ledger's root of that size cannot be recomputed: {error}")
            return
        if ours != root:
            self._says(
                where,
                f"its root is {root.hex()}, the entries give {ours.hex()}: the ledger was rewritten after it was "
                "published",
            )

    # -- 2. and 3. rows and links ----------------------------------------------------------------------------------

    def rows(self) -> None:
        newest = max(self._there, default=0)
        for row in Anchor.objects.order_by("size").iterator():
            self._noted.add(row.size)
            where = f"row {row.size}"
            if row.previous is not None:
                self._links.add((row.size, row.previous))
            if row.size not in self._there:
                if row.size <= newest or self._is_gone(row):
                    self._says(where, f"its object {CHECKPOINTS}{row.size} is gone from the bucket")
            elif row.version_id not in self._there[row.size]:
                self._says(where, f"version {row.version_id} of its object is gone: another was put in its place")
            if row.size <= self._size:
                self._compare(where, row.size, bytes(row.root))
        for size in sorted(set(self._there) - self._noted - self._on_its_way(newest)):
            self._says(f"{CHECKPOINTS}{size}", "was published, but its row is gone from the database")

    def _on_its_way(self, newest: int) -> set[int]:
        """The newest anchor's row follows its object, which follows an anchor that is noted, or is the first."""
        before = {previous for size, previous in self._links if size == newest}
        return {newest} if before <= self._noted else set()

    def _is_gone(self, row: Anchor) -> bool:
        """Whether an anchor newer than those listed is missing, or was only published since."""
        return self._outside.read(f"{CHECKPOINTS}{row.size}") is None

    def links(self) -> None:
        known = self._noted | set(self._there)
        for size, previous in sorted(self._links):
            if previous not in known:
                self._says(
                    f"{CHECKPOINTS}{previous}", f"gone, object and row alike: anchor {size} was published after it"
                )

    # -- 4. the pointer --------------------------------------------------------------------------------------------

    def pointer(self) -> None:
        newest = max(self._there, default=0)
        pointer = self._outside.pointer()
        if pointer is None:
            if newest:
                self._says(POINTER, "there is none that a log key signed; the next round of publishing writes it again")
        elif pointer.size > newest and self._outside.read(f"{CHECKPOINTS}{pointer.size}") is None:
            self._says(POINTER, f"names size {pointer.size}, of which there is no anchor")

    # -- 5. tiles --------------------------------------------------------------------------------------------------

    def tiles(self) -> None:
        newest = max((size for size in self._there if size <= self._size), default=0)
        for level, (full, _) in enumerate(tile_widths(newest)):
            etags = dict(self._listed(f"tile/{level}/")) if full else {}
            for start in range(0, full, TILES):
                self._compare_tiles(level, range(start, min(full, start + TILES)), etags)
            if level == 0 and full:
                bundles = {path for path, _ in self._listed("tile/entries/")}
                for number in range(full):
                    if entries_path(number) not in bundles:
                        self._deviates("anchor", entries_path(number), "gone from the bucket")

    def _compare_tiles(self, level: int, numbers: range, etags: dict[str, str]) -> None:
        try:
            ours = reader.tiles(TileAddress(level, number, TILE) for number in numbers)
        except MissingError:
            return  # step 4 names the tiles that the database lacks
        for address, hashes in ours.items():
            path = tile_path(level, address.n)
            if path not in etags:
                self._deviates("anchor", path, "gone from the bucket")
            elif etags[path] != hashlib.md5(hashes, usedforsecurity=False).hexdigest() and self._differs(path, hashes):
                self._deviates("anchor", path, "is not the tile that the ledger has")

    def _differs(self, path: str, hashes: bytes) -> bool:
        """An ETag is the MD5 of the bytes only where the store does not encrypt with a key of its own."""
        where = self._outside
        return where.client.get_object(Bucket=where.bucket, Key=where.key(path))["Body"].read() != hashes

    def _listed(self, folder: str) -> Iterator[tuple[str, str]]:
        where = {"Bucket": self._outside.bucket, "Prefix": self._outside.key(folder)}
        skipped = len(self._outside.key(""))
        for page in self._outside.client.get_paginator("list_objects_v2").paginate(**where):  # type: ignore[arg-type]  # by parts
            for entry in page.get("Contents", []):
                yield entry["Key"][skipped:], entry["ETag"].strip('"')

    def _says(self, where: str, detail: str) -> None:
        self._deviates("anchor", where.removeprefix(self._outside.key("")), detail)
