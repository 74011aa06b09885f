"""The log over HTTP: tiles as C2SP describes them, and an audit by a client that is not ours."""

import threading
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import pytest
import requests
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import connection, connections
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoDbBlocker, Settings
from tlog_scales import backend, reader, signing, tiles

from evidence.models import Note
from evidence.people import create_pipeline, issue_token
from evidence.tlog import b64
from evidence.tlog.checkpoint import parse_checkpoint
from evidence.tlog.merkle import verify_consistency
from evidence.tlog.note import parse_note
from evidence.tlog.tiles import decode_bundle, entries_path, tile_path
from tests.cast import Cast
from tests.evidence.bulk import fill
from tests.evidence.conftest import Api
from tests.evidence.large import SIZE, large_log, leaf_hashes, roots
from tests.evidence.tlog.helpers import mth

LARGE = pytest.mark.xdist_group("large-log")
#: In a log of 600 entries.
BEYOND = [
    "0/002",  # not full yet
    "0/002.p/89",  # one more than there is
    "0/003",
    "0/003.p/1",
    "1/000",
    "1/000.p/3",
    "2/000.p/1",
    "63/000.p/1",
    "0/x999/x999/x999/x999/x999/999",
    "1/x999/x999/x999/x999/x999/999.p/1",
    "entries/002",
    "entries/002.p/89",
    "entries/x999/x999/x999/x999/x999/999",
]
MALFORMED = [
    *("0/2", "0/0000", "0/x000/001", "00/001", "64/000", "-1/000", "0/000/1", "0/٠٠٠", "x", "data/000"),
    *("0/000.p/0", "0/000.p/256", "0/000.p/01", "entries/1", "entries/000.p/", "entries/000.p/256", "entries/000/.p/5"),
]


@pytest.fixture
def public(settings: Settings) -> None:
    settings.LOG_PUBLIC = True


@pytest.fixture
def anyone(public: None, cast: Cast) -> Api:
    """Somebody without credentials, before a log of 600 entries that is public."""
    from evidence.ledger import reader as ours

    fill(600 - ours.size(), system=cast.trading.pk)
    return Api()


# -- paths, widths, headers --------------------------------------------------------------------------------------------


def test_it_serves_tiles_of_exactly_the_width_that_is_asked(anyone: Api) -> None:
    full = anyone.get("log/tile/0/001")
    assert full.status_code == 200
    assert full["Content-Type"] == "application/octet-stream"
    assert len(full.content) == 8192
    assert len(anyone.get("log/tile/0/002.p/88").content) == 88 * 32
    for width in (1, 88, 255):  # of a tile that is full too: every size the log has had keeps its tiles
        assert anyone.get(f"log/tile/0/001.p/{width}").content == full.content[: width * 32]
    assert anyone.get("log/tile/1/000.p/2").content == anyone.get("log/tile/1/000.p/1").content + mth(
        [full.content[at : at + 32] for at in range(0, 8192, 32)]
    )


def test_it_serves_bundles_of_the_leaves_that_the_tiles_hash(anyone: Api) -> None:
    for number, width in ((0, 256), (1, 256), (2, 88), (2, 1), (1, 13)):
        bundle = anyone.get(f"log/{entries_path(number, width)}")
        leaves = decode_bundle(bundle.content, width)
        hashes = b"".join(sha256(b"\0" + leaf).digest() for leaf in leaves)
        assert hashes == anyone.get(f"log/{tile_path(0, number, width)}").content


def test_it_has_no_tile_beyond_the_log(anyone: Api) -> None:
    for path in BEYOND:
        answer = anyone.get(f"log/tile/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "tile_unknown"), path
        assert "immutable" not in answer.get("Cache-Control", "")


def test_it_knows_each_tile_by_one_path_only(anyone: Api) -> None:
    for path in MALFORMED:
        answer = anyone.get(f"log/tile/{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "tile_path_malformed"), path


def test_it_lets_caches_keep_full_tiles_for_ever_and_nothing_else(anyone: Api, settings: Settings, cast: Cast) -> None:
    for full in ("log/tile/0/000", "log/tile/entries/001"):
        answer = anyone.get(full)
        assert answer["Cache-Control"] == "public, max-age=31536000, immutable"
        assert "Cookie" not in answer.get("Vary", "")
    for growing in ("log/tile/0/000.p/7", "log/tile/0/002.p/88", "log/tile/entries/002.p/88", "log/checkpoint"):
        assert anyone.get(growing)["Cache-Control"] == "no-store"
    settings.LOG_PUBLIC = False
    answer = Api(cast.ci_token).get("log/tile/0/000")
    assert answer["Cache-Control"] == "private, max-age=31536000, immutable"


def test_it_costs_one_query_whatever_the_tile(anyone: Api) -> None:
    for path in ("0/000", "0/002.p/88", "1/000.p/2", "entries/000", "entries/002.p/88", "0/003"):
        with CaptureQueriesContext(connection) as queries:
            anyone.get(f"log/tile/{path}")
        assert len(queries) == 1, path


# -- who may read ------------------------------------------------------------------------------------------------------


def test_it_opens_a_private_log_to_tokens_with_the_scope_and_to_people(cast: Cast) -> None:
    from evidence.ledger import Actor
    from evidence.models.people import SERVICE

    path = "log/tile/entries/000.p/3"
    pipeline, _ = create_pipeline(actor=Actor(SERVICE), name="blind", systems=[cast.trading])
    blind = issue_token(pipeline, actor=Actor(SERVICE), label="", scopes=["records:write"], days=1)
    assert Api().get(path).json()["code"] == "not_authenticated"
    assert Api("pt_none_such").get(path).json()["code"] == "token_invalid"
    assert Api(blind.text).get(path).json()["code"] == "scope_missing"
    assert Api(cast.ci_token).get(path).status_code == 200
    person = Client()
    person.force_login(cast.ada)
    assert person.get(f"/api/v1/{path}").status_code == 200


# -- proofs over HTTP --------------------------------------------------------------------------------------------------


def test_it_proves_consistency_between_any_two_sizes(anyone: Api) -> None:
    from evidence.ledger import reader as ours
    from evidence.tlog.merkle import Frontier

    leaves = ours.leaf_hashes(0, 600)
    root = {size: Frontier(0, ()).extend(leaves[:size]).root for size in range(1, 601)}
    for old, new in [(1, 1), (1, 600), (600, 600), (255, 257), (256, 600), (511, 512), (599, 600), (13, 401)]:
        answer = anyone.get(f"log/consistency?from={old}&to={new}").json()
        proof = [b64.decode(hash_) for hash_ in answer["hashes"]]
        verify_consistency(old_size=old, new_size=new, proof=proof, old_root=root[old], new_root=root[new])
    for old, new in [(0, 5), (6, 5), (1, 601)]:
        assert anyone.get(f"log/consistency?from={old}&to={new}").json()["code"] == "size_unknown"


# -- an audit by somebody else's client --------------------------------------------------------------------------------


class _Quiet(WSGIRequestHandler):
    disable_nagle_algorithm = True  # headers and body leave apart: the body would wait for the other side's delayed ACK

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def log_url(django_db_blocker: DjangoDbBlocker) -> Iterator[str]:
    """The large log, public, behind real HTTP."""
    with large_log(django_db_blocker), override_settings(LOG_PUBLIC=True):
        monkey = pytest.MonkeyPatch()
        monkey.setitem(connections.settings["default"], "CONN_MAX_AGE", None)
        server = ThreadedWSGIServer(("127.0.0.1", 0), _Quiet)
        server.set_app(get_wsgi_application())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api/v1/log"
        server.shutdown()
        server.server_close()
        thread.join()
        monkey.undo()


@pytest.fixture
def fetch(log_url: str) -> Iterator[backend.HttpBackend]:
    """tlog-scales' own HTTP client."""
    client = backend.HttpBackend(log_url)
    yield client
    client.session.close()


def _at(fetch: backend.HttpBackend, size: int) -> reader.TilesReader:
    log = reader.TilesReader(fetch)
    log.set_size(size)
    return log


@LARGE
def test_it_is_audited_whole_by_another_implementation(fetch: backend.HttpBackend, log_url: str) -> None:
    log = reader.TilesReader(fetch)
    checkpoint = log.get_checkpoint()
    keys = requests.get(f"{log_url}/keys", timeout=10).json()["keys"]
    checkpoint.verify(signing.Vkey.from_string(keys[0]["vkey"]))
    assert (checkpoint.size, log.calculate_root_hash()) == (SIZE, checkpoint.root_hash)
    hashes = [tiles.leaf_hash(log.get_entry(index)) for index in range(SIZE)]
    assert mth(hashes) == checkpoint.root_hash
    for index in (0, 1, 255, 256, 30_000, 65_535, 65_536, 70_143, 70_144, SIZE - 1):
        log.get_inclusion_proof(index, SIZE).check(hashes[index], checkpoint.root_hash)


@LARGE
def test_it_serves_every_tile_of_every_level_as_the_tree_has_it(fetch: backend.HttpBackend) -> None:
    row, level = list(leaf_hashes()), 0
    while row:
        full, width = tiles.level_tiles(SIZE, level)
        for number in range(full):
            assert fetch.get(*tiles.tile_path(level, number)) == b"".join(row[number * 256 : number * 256 + 256])
        assert width
        assert fetch.get(*tiles.tile_path(level, full, width)) == b"".join(row[full * 256 :])
        assert fetch.get(*tiles.tile_path(level, full)) is None
        row, level = [mth(row[at : at + 256]) for at in range(0, full * 256, 256)], level + 1
    assert level == 3


@LARGE
def test_it_proves_to_another_implementation_that_it_only_grew(fetch: backend.HttpBackend) -> None:
    signed = {
        note.size: note.root
        for note in (parse_checkpoint(parse_note(text).text) for text in Note.objects.values_list("text", flat=True))
    }
    sizes = {1, 255, 256, 10_256, 65_535, 65_536, 65_537, 70_144, SIZE}
    root = roots(sizes)
    for size in sizes:
        assert _at(fetch, size).calculate_root_hash() == root[size] == signed.get(size, root[size])
    for old, new in zip(sorted(sizes), sorted(sizes)[1:], strict=False):
        for later in (new, SIZE):
            _at(fetch, later).get_consistency_proof(old, later).check(root[old], root[later])
