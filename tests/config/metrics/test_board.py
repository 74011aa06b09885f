"""Counting: each process in a file of its own, an answer from all of them."""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.metrics import board
from config.metrics.board import BOUNDS, ROUTES, STATUSES, Board, route_of, status_of


@pytest.mark.parametrize(
    ("method", "path", "route"),
    [
        ("POST", "/api/v1/records", "record"),
        ("GET", "/api/v1/records", "read"),
        ("POST", "/api/v1/records/batch", "batch"),
        ("POST", "/api/v1/releases/shop:1/gate", "gate"),
        ("GET", "/api/v1/log/tile/0/000", "log"),
        ("DELETE", "/api/v1/" + "x" * 9000, "write"),
        ("GET", "/readyz", "health"),
        ("GET", "/static/a.css", "static"),
        ("GET", "/admin/", "page"),
        ("PROPFIND", "//", "page"),
    ],
)
def test_it_knows_few_routes_whatever_is_asked_for(method, path, route):
    assert ROUTES[route_of(method, path)] == route


def test_it_tells_refusals_from_faults():
    codes = (201, 304, 422, 429, 503, 500, 0, 999)
    assert [STATUSES[status_of(code)] for code in codes] == ["2xx", "3xx", "4xx", "429", "503", "5xx", "gone", "5xx"]


def test_it_adds_up_the_processes_of_a_server_and_what_ended_ones_counted(tmp_path):
    ended = multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path, 3))
    ended.start()
    ended.join()
    assert ended.exitcode == 0
    # A child's server is this process; this process has a server of its own.
    (file,) = tmp_path.iterdir()
    file.rename(tmp_path / f"{os.getppid()}-{ended.pid}")
    _count(tmp_path, 2)

    sums = board.read(tmp_path)

    (series,) = sums.series
    assert (series.route, series.status) == ("record", "2xx")
    assert series.seconds == pytest.approx(5 * 0.004)
    assert series.buckets == [5.0 if bound == 0.005 else 0.0 for bound in (*BOUNDS, None)]
    assert sums.noted == {"rate_limit_refusals": 14, "rate_limit_unanswered": 2}
    assert sums.processes == 1
    assert sums.in_flight["record"] == 1, "what an ended process had under way is over"


def _count(folder: Path, requests: int) -> None:
    """So many requests of 4 ms, and one that is under way."""
    mine, record = Board.open(folder), route_of("POST", "/api/v1/records")
    for _ in range(requests):
        mine.begin(record)
        mine.end(record, status_of(201), 0.004)
    mine.note(7, 1)
    mine.begin(record)


def test_it_sweeps_away_what_servers_left_that_have_ended(tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    (tmp_path / f"{int(gone.stdout)}-77").write_bytes(bytes(board.SIZE))
    (tmp_path / "notes.txt").write_text("somebody's own")
    Board.open(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{os.getppid()}-{os.getpid()}", "notes.txt"]


def test_it_goes_on_where_nothing_can_be_counted(tmp_path, caplog):
    (tmp_path / "taken").write_text("a file where the folder would be")
    Board.open(tmp_path / "taken").begin(0)
    assert "requests are not counted" in caplog.text
    assert board.read(tmp_path / "taken").processes == 0
