"""Proofs on a log of three tile levels: they hold for any size, and read little."""

import random
from collections.abc import Iterator

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker

from config.errors import MissingError
from evidence.ledger import reader
from evidence.models import Note
from evidence.tlog.checkpoint import parse_checkpoint
from evidence.tlog.errors import ProofError
from evidence.tlog.merkle import consistency_proof, inclusion_proof, verify_consistency, verify_inclusion
from evidence.tlog.note import parse_note
from evidence.tlog.tiles import TilePlan
from tests import engines
from tests.evidence.large import NAME, SIZE, large_log, leaf_hashes, roots

pytestmark = [pytest.mark.xdist_group("large-log"), pytest.mark.usefixtures("large")]
MAX_TILES = 7
MAX_QUERIES = 3
#: Sizes at which something begins, ends or is complete.
EDGES = [1, 2, 3, 255, 256, 257, 511, 512, 30_000, 65_279, 65_535, 65_536, 65_537, 65_792, 70_144, SIZE - 1, SIZE]


@pytest.fixture(scope="module")
def large(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    with large_log(django_db_blocker):
        yield


@pytest.fixture
def tile_reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tiles each proof fetched."""
    counted: list[int] = []
    fetch = reader.tiles

    def counting(addresses):
        addresses = list(addresses)
        counted.append(len(addresses))
        return fetch(addresses)

    monkeypatch.setattr(reader, "tiles", counting)
    return counted


def places() -> list[tuple[int, int]]:
    """(index, size): edges, right edges of historic sizes, and a few hundred anywhere."""
    dice = random.Random(70_201)  # noqa: S311  # the same pairs each time
    edges = [(index, size) for size in EDGES for index in {0, size // 2, size - 2, size - 1} if 0 <= index < size]
    sizes = [dice.randint(1, SIZE) for _ in range(150)]
    return edges + [(dice.randrange(size), size) for size in sizes] + [(size - 1, size) for size in sizes[:50]]


def spans() -> list[tuple[int, int]]:
    dice = random.Random(30_000)  # noqa: S311  # the same pairs each time
    edges = [(old, new) for old in EDGES for new in EDGES if old <= new]
    return edges + [(old, dice.randint(old, SIZE)) for old in (dice.randint(1, SIZE) for _ in range(150))]


def test_it_proves_inclusion_at_any_size_with_few_reads(tile_reads: list[int]) -> None:
    root, leaves = roots({size for _, size in places()}), leaf_hashes()
    for index, size in places():
        with CaptureQueriesContext(connection) as queries:
            proof = reader.inclusion(index, size)
        verify_inclusion(index=index, size=size, leaf_hash=leaves[index], proof=proof, root=root[size])
        assert len(queries) <= MAX_QUERIES, (index, size)
    assert max(tile_reads) == 4  # the leaf's own and the last one, of two levels; the third has a single hash


def test_it_proves_consistency_between_any_two_sizes_with_few_reads(tile_reads: list[int]) -> None:
    root = roots({size for span in spans() for size in span})
    for old, new in spans():
        with CaptureQueriesContext(connection) as queries:
            proof = reader.consistency(old, new)
        verify_consistency(old_size=old, new_size=new, proof=proof, old_root=root[old], new_root=root[new])
        assert len(queries) <= MAX_QUERIES, (old, new)
    assert max(tile_reads) <= MAX_TILES


def test_it_agrees_with_every_signed_checkpoint() -> None:
    notes = [parse_checkpoint(parse_note(text).text) for text in Note.objects.values_list("text", flat=True)]
    root = roots({note.size for note in notes})
    assert {note.size for note in notes} >= {256, 30_000, 65_536, SIZE}
    assert {note.size: note.root for note in notes} == root


@pytest.mark.parametrize("size", [1_000, 1_000_000, 16_777_217, 2**32 - 1])
def test_it_plans_at_most_seven_tiles_up_to_four_billion_entries(size: int) -> None:
    dice = random.Random(size)  # noqa: S311  # the same places each time
    for index in [0, size // 2, size - 1, *(dice.randrange(size) for _ in range(300))]:
        included, grown = TilePlan(size), TilePlan(size)
        inclusion_proof(index, size, included)
        consistency_proof(index + 1, size, grown)
        assert len(included.tiles) <= MAX_TILES
        assert len(grown.tiles) <= MAX_TILES


def test_it_says_what_it_cannot_prove() -> None:
    with pytest.raises(ProofError):
        reader.inclusion(5, 5)
    with pytest.raises(ProofError):
        reader.consistency(5, 4)
    with pytest.raises(MissingError) as caught:
        reader.inclusion(SIZE, SIZE + 1)
    assert caught.value.code == "tile_unknown"


@pytest.mark.parametrize(
    ("old", "new"), [(0, SIZE), (255, 256), (256, 511), (65_535, 65_536), (65_300, SIZE), (65_536, SIZE)]
)
def test_the_database_fills_the_tiles_that_are_new(old: int, new: int) -> None:
    """Beside the ones that were made leaf by leaf outside of it."""

    def full(size: int) -> set[tuple[int, int]]:
        return {(level, n) for level in range(3) for n in range(size // 256 ** (level + 1))}

    with engines.server().connect(NAME) as superuser, superuser.transaction(force_rollback=True):
        made = "SELECT level, number, hashes FROM evidence_tile"
        before = {(level, number): hashes for level, number, hashes in superuser.execute(made)}
        superuser.execute("SET LOCAL session_replication_role = replica")  # here a superuser tampers
        superuser.execute("ALTER TABLE evidence_tile DISABLE TRIGGER USER")
        superuser.execute("DELETE FROM evidence_tile")
        superuser.execute("SELECT evidence_fill_tiles(0, %s)", [old])
        superuser.execute("SELECT evidence_fill_tiles(%s, %s)", [old, new])
        after = {(level, number): hashes for level, number, hashes in superuser.execute(made)}
    assert set(after) == full(new)
    assert after == {place: before[place] for place in after}
