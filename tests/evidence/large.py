"""One ledger of 70,201 entries for the whole run: three levels of tiles, each with a partial one at its end.

Tests read it; nothing may be appended. Those that use it share a worker: ``pytest.mark.xdist_group("large-log")``.
"""

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise

import psycopg
from django.db import connections
from pytest_django import DjangoDbBlocker

from config.stack import postgres
from evidence.ledger import Actor, reader
from evidence.models.people import SERVICE
from evidence.people import save_system
from evidence.setup import ensure_signing_keys
from evidence.tlog.merkle import Frontier
from tests import engines
from tests.evidence.bulk import fill

NAME = "test_large_log"
SIZE = 65_536 + 18 * 256 + 57


@contextmanager
def large_log(blocker: DjangoDbBlocker) -> Iterator[None]:
    """Connect the service to the large ledger, made by the first who asks."""
    at = connections.settings["default"]  # the dict from which every thread's connection is made
    before = {key: at[key] for key in ("NAME", "HOST", "PORT", "USER", "PASSWORD")}
    dsn = psycopg.conninfo.conninfo_to_dict(engines.url(postgres.RUNTIME, NAME))
    connections.close_all()
    at.update(NAME=NAME, HOST=dsn["host"], PORT=dsn["port"], USER=dsn["user"], PASSWORD=dsn["password"])
    try:
        with blocker.unblock():
            _make()
            yield
            connections.close_all()
    finally:
        at.update(before)


def _make() -> None:
    done = engines.run_folder() / "large-log.done"
    template = engines.template()
    with engines.locked(engines.run_folder() / "large-log.lock"):
        if not done.exists():
            postgres.ensure_database(engines.server(), NAME, template=template)
            ensure_signing_keys()
            system = save_system(actor=Actor(SERVICE), name="netlify-trading").pk
            for size in (256, 30_000, 65_536, SIZE):  # signed checkpoints where trees are perfect, and elsewhere
                fill(size - reader.size(), system=system)
            done.touch()


@functools.cache
def leaf_hashes() -> tuple[bytes, ...]:
    """Every leaf hash of the large ledger."""
    return tuple(reader.leaf_hashes(0, SIZE))


def roots(sizes: set[int]) -> Mapping[int, bytes]:
    """The root at each of these sizes, grown leaf by leaf from the start."""
    frontier, found, leaves = Frontier(0, ()), {}, leaf_hashes()
    for old, new in pairwise([0, *sorted(sizes)]):
        frontier = frontier.extend(leaves[old:new]).frontier
        found[new] = frontier.root()
    return found
