"""C2SP tlog-tiles: paths, widths and contents of tiles and entry bundles.

A tile of level L holds 256 hashes of the tree's level 8·L; what lies between is hashed from them.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evidence.tlog.errors import MalformedError, ProofError
from evidence.tlog.merkle import HASH_SIZE, pair_up

TILE = 256
MAX_ENTRY = 0xFFFF
_HEIGHT = 8
_MAX_LEVEL = 63
_CACHED_TILES = 64

_NUMBER = r"((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?"
_TILE_PATH = re.compile(rf"tile/(0|[1-9][0-9]?)/{_NUMBER}")
_ENTRIES_PATH = re.compile(rf"tile/entries/{_NUMBER}")
_MAX_NUMBER = 10**18 - 1

FetchTile = Callable[[int, int, int], bytes]
"""(level, n, width) to the bytes of that tile, 32 for each hash."""


@dataclass(frozen=True)
class TileAddress:
    level: int
    n: int
    width: int


def tile_path(level: int, n: int, width: int = TILE) -> str:
    if not 0 <= level <= _MAX_LEVEL:
        raise MalformedError(f"tile level {level} is not between 0 and {_MAX_LEVEL}")
    return f"tile/{level}/{_number_path(n, width)}"


def entries_path(n: int, width: int = TILE) -> str:
    return f"tile/entries/{_number_path(n, width)}"


def parse_tile_path(path: str) -> TileAddress:
    """The inverse of `tile_path`, for exactly the paths that it writes."""
    match = _TILE_PATH.fullmatch(path)
    if match is None or int(match[1]) > _MAX_LEVEL:
        raise MalformedError("not the path of a tile")
    return TileAddress(int(match[1]), *_parse_number(match[2], match[3]))


def parse_entries_path(path: str) -> tuple[int, int]:
    """(n, width) of an entry bundle, for exactly the paths that `entries_path` writes."""
    match = _ENTRIES_PATH.fullmatch(path)
    if match is None:
        raise MalformedError("not the path of an entry bundle")
    return _parse_number(match[1], match[2])


def _number_path(n: int, width: int) -> str:
    if not 0 <= n <= _MAX_NUMBER:
        raise MalformedError(f"tile number {n} is out of range")
    if not 1 <= width <= TILE:
        raise MalformedError(f"tile width {width} is not between 1 and {TILE}")
    path = f"{n % 1000:03d}"
    while n := n // 1000:
        path = f"x{n % 1000:03d}/{path}"
    return path if width == TILE else f"{path}.p/{width}"


def _parse_number(groups: str, width: str | None) -> tuple[int, int]:
    if groups.startswith("x000/"):
        raise MalformedError("a tile number has a leading group of zeros")
    if width is not None and int(width) >= TILE:
        raise MalformedError(f"a partial tile is narrower than {TILE}")
    return int(groups.replace("x", "").replace("/", "")), TILE if width is None else int(width)


def partial_width(level: int, size: int) -> int:
    """Width of the partial tile of ``level`` in a tree of ``size``; 0 when there is none."""
    return (size >> (_HEIGHT * level)) % TILE


def width_of(level: int, n: int, size: int) -> int:
    """Width of tile ``n`` of ``level`` in a tree of ``size``: 256 where it is full."""
    full = size >> (_HEIGHT * level) >> _HEIGHT
    return TILE if n < full else partial_width(level, size) if n == full else 0


def tile_widths(size: int) -> list[tuple[int, int]]:
    """For each level of a tree of ``size``: how many full tiles, and the width of the partial one or 0."""
    widths = []
    while size:
        widths.append(divmod(size, TILE))
        size //= TILE
    return widths


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    if any(len(entry) > MAX_ENTRY for entry in entries):
        raise MalformedError(f"an entry is longer than {MAX_ENTRY} bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Exactly ``count`` entries, with nothing after them."""
    entries = []
    start = 0
    for number in range(count):
        length = int.from_bytes(data[start : start + 2], "big")
        entry = data[start + 2 : start + 2 + length]
        if start + 2 + length > len(data):
            raise MalformedError(f"entry bundle ends within entry {number} of {count}")
        entries.append(entry)
        start += 2 + length
    if start != len(data):
        raise MalformedError(f"entry bundle holds more than {count} entries")
    return entries


def _place(level: int, index: int, size: int) -> tuple[int, int, int]:
    """Where a node is found: number of its tile, its position in the row of that height, the height within the tile."""
    if level < 0 or index < 0 or (index + 1) << level > size:
        raise ProofError(f"node {index} of level {level} is outside a tree of size {size}")
    height = level % _HEIGHT
    n, offset = divmod(index << height, TILE)
    return n, offset >> height, height


class TilePlan:
    """A node reader that reads nothing: it notes the tiles that a proof will need, so that they are fetched at once."""

    def __init__(self, size: int) -> None:
        self._size = size
        self.tiles: dict[TileAddress, None] = {}

    def __call__(self, level: int, index: int) -> bytes:
        n, _, _ = _place(level, index, self._size)
        tile_level = level // _HEIGHT
        self.tiles[TileAddress(tile_level, n, width_of(tile_level, n, self._size))] = None
        return bytes(HASH_SIZE)


class TileNodes:
    """A node reader over the tiles of a tree of ``size`` leaves.

    ``fetch`` is asked only for tiles that this size has: full ones, or the partial one of exactly
    its width, never an empty one. The tiles used last are kept, hashed up to their own roots.
    """

    def __init__(self, fetch: FetchTile, size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._tiles: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        n, offset, height = _place(level, index, self._size)
        return self._rows(level // _HEIGHT, n)[height][offset]

    def _rows(self, level: int, n: int) -> list[list[bytes]]:
        """The hashes of a tile and the seven levels above them, as far as they are perfect."""
        rows = self._tiles.get((level, n))
        if rows is None:
            rows = [self._hashes(level, n)]
            while len(rows) < _HEIGHT:
                rows.append(pair_up(rows[-1]))
            self._tiles[level, n] = rows
        self._tiles.move_to_end((level, n))
        if len(self._tiles) > _CACHED_TILES:
            self._tiles.popitem(last=False)
        return rows

    def _hashes(self, level: int, n: int) -> list[bytes]:
        width = width_of(level, n, self._size)
        data = self._fetch(level, n, width)
        if len(data) != width * HASH_SIZE:
            raise MalformedError(f"{tile_path(level, n, width)} has {len(data)} bytes, not {width * HASH_SIZE}")
        return [data[start : start + HASH_SIZE] for start in range(0, len(data), HASH_SIZE)]
