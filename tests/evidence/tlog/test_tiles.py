import pytest
from hypothesis import given
from hypothesis import strategies as st

from evidence.tlog.errors import MalformedError, ProofError
from evidence.tlog.merkle import consistency_proof, inclusion_proof, root_at
from evidence.tlog.tiles import (
    TILE,
    TileAddress,
    TileNodes,
    decode_bundle,
    encode_bundle,
    entries_path,
    parse_entries_path,
    parse_tile_path,
    partial_width,
    tile_path,
    tile_widths,
)
from tests.evidence.tlog.helpers import hashes, mth, path, quick, subproof


class Tiles:
    """Tiles of a tree, cut from its leaves; remembers what was asked for."""

    def __init__(self, leaves: list[bytes]) -> None:
        self.asked: list[tuple[int, int, int]] = []
        self.levels = [leaves]
        while row := self.levels[-1]:
            full = range(0, len(row) - TILE + 1, TILE)
            self.levels.append([mth(row[start : start + TILE]) for start in full])

    def fetch(self, level: int, n: int, width: int) -> bytes:
        self.asked.append((level, n, width))
        row = self.levels[level][n * TILE : n * TILE + width]
        assert len(row) == width > 0
        assert width == TILE or n == len(self.levels[level]) // TILE
        return b"".join(row)


@pytest.mark.parametrize(
    ("level", "n", "width", "expected"),
    [
        (0, 0, 256, "tile/0/000"),
        (0, 1234067, 256, "tile/0/x001/x234/067"),
        (2, 999, 1, "tile/2/999.p/1"),
        (63, 1000, 255, "tile/63/x001/000.p/255"),
    ],
)
def test_it_spells_tile_paths(level: int, n: int, width: int, expected: str) -> None:
    assert tile_path(level, n, width) == expected
    assert parse_tile_path(expected) == TileAddress(level, n, width)


def test_it_spells_paths_of_entry_bundles() -> None:
    assert entries_path(1234067, 8) == "tile/entries/x001/x234/067.p/8"
    assert parse_entries_path("tile/entries/x001/x234/067") == (1234067, 256)


@quick
@given(st.integers(0, 63), st.integers(0, 10**18 - 1), st.integers(1, 256))
def test_it_reads_the_paths_it_writes(level: int, n: int, width: int) -> None:
    assert parse_tile_path(tile_path(level, n, width)) == TileAddress(level, n, width)
    assert parse_entries_path(entries_path(n, width)) == (n, width)


@pytest.mark.parametrize(
    "path_",
    [
        "",
        "tile/0/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/x000/001",
        "tile/0/001/001",
        "tile/0/x001/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/٠٠٠",
        "tile/0/../000",
        "tile/entries/000",
        "tile/0/x001/x001/x001/x001/x001/x001/000",
    ],
)
def test_it_refuses_other_spellings_of_a_tile_path(path_: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(path_)


@pytest.mark.parametrize("path_", ["tile/entries/0", "tile/0/000", "tile/entries/000.p/256"])
def test_it_refuses_other_spellings_of_a_bundle_path(path_: str) -> None:
    with pytest.raises(MalformedError):
        parse_entries_path(path_)


@pytest.mark.parametrize(
    ("level", "n", "width"), [(-1, 0, 1), (64, 0, 1), (0, -1, 1), (0, 10**18, 1), (0, 0, 0), (0, 0, 257)]
)
def test_it_refuses_addresses_that_no_path_spells(level: int, n: int, width: int) -> None:
    with pytest.raises(MalformedError):
        tile_path(level, n, width)


def test_it_counts_the_tiles_of_a_tree() -> None:
    # The example of the specification: a tree of 70,000.
    assert tile_widths(70_000) == [(273, 112), (1, 17), (0, 1)]
    assert tile_widths(256) == [(1, 0), (0, 1)]
    assert tile_widths(0) == []
    assert [partial_width(level, 70_000) for level in range(4)] == [112, 17, 1, 0]


@quick
@given(st.lists(st.binary(max_size=300), max_size=20))
def test_it_reads_the_bundles_it_writes(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


def test_it_prefixes_entries_with_their_length() -> None:
    assert encode_bundle([b"", b"ab"]) == b"\x00\x00\x00\x02ab"
    assert decode_bundle(encode_bundle([b"x" * 65_535]), 1) == [b"x" * 65_535]
    with pytest.raises(MalformedError, match="65535"):
        encode_bundle([b"x" * 65_536])


@pytest.mark.parametrize(
    ("data", "count"), [(b"", 1), (b"\x00", 1), (b"\x00\x02a", 1), (b"\x00\x01ab", 1), (b"\x00\x01a", 0)]
)
def test_it_refuses_bundles_of_another_length(data: bytes, count: int) -> None:
    with pytest.raises(MalformedError):
        decode_bundle(data, count)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 700])
def test_it_proves_from_tiles_alone(size: int) -> None:
    leaves = hashes(size)
    node = TileNodes(Tiles(leaves).fetch, size)
    assert root_at(size, node) == mth(leaves)
    for index in {0, 1, size // 2, size - 1} & set(range(size)):
        assert inclusion_proof(index, size, node) == path(index, leaves)
    for old in {1, size // 3, size - 1, size} - {0}:
        assert consistency_proof(old, size, node) == subproof(old, leaves)


def test_it_reads_three_levels_of_tiles_and_each_once() -> None:
    leaves = hashes(70_000)
    tiles = Tiles(leaves)
    node = TileNodes(tiles.fetch, 70_000)
    for _ in range(2):
        assert root_at(70_000, node) == mth(leaves)
    assert sorted(tiles.asked) == [(0, 273, 112), (1, 1, 17), (2, 0, 1)]


def test_it_keeps_a_bounded_number_of_tiles() -> None:
    tiles = Tiles(hashes(256 * 66))
    node = TileNodes(tiles.fetch, 256 * 66)
    for n in [*range(65), 0, 64]:
        node(0, n * 256)
    assert tiles.asked.count((0, 0, 256)) == 2
    assert tiles.asked.count((0, 64, 256)) == 1


@pytest.mark.parametrize(("level", "index"), [(0, 300), (2, 75), (9, 0), (-1, 0), (0, -1)])
def test_it_never_reads_past_the_tree(level: int, index: int) -> None:
    tiles = Tiles(hashes(300))
    with pytest.raises(ProofError):
        TileNodes(tiles.fetch, 300)(level, index)
    assert tiles.asked == []


def test_it_refuses_a_tile_of_another_width() -> None:
    with pytest.raises(MalformedError, match=r"tile/0/000\.p/3 has 64 bytes"):
        TileNodes(lambda *_: b"x" * 64, 3)(0, 0)
