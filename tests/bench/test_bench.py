"""The bench's own instruments: what they count, and that nothing is left out of the table."""

import json
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import pytest

from config.stack.processes import kill_group
from evidence.kinds import load as load_kinds
from evidence.tlog.merkle import leaf_hash, tree_root
from evidence.tlog.tiles import encode_bundle
from tests.bench import batch, bodies, compression, load, overload, pacing, workers
from tests.bench.checking import _root
from tests.bench.memory import Watch, family
from tests.bench.table import Row, printed, write_json


class _Script(BaseHTTPRequestHandler):
    """Answers by the `X-Script` header: a list of statuses for one request, 0 closes the connection."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, int] = {}
    lock = threading.Lock()

    def do_POST(self) -> None:
        if self.path == batch.PATH:
            self.answer_batch()
            return
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        statuses = json.loads(self.headers["X-Script"])
        with self.lock:
            turn = self.seen[body] = self.seen.get(body, 0) + 1
        status = statuses[min(turn, len(statuses)) - 1]
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        if status in (429, 503) and "X-No-Hint" not in self.headers:
            self.send_header("Retry-After", "1")
        answer = f"answer to {body}".encode()
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def answer_batch(self) -> None:
        """A line of answer for each line, while more come in."""
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left, number = int(self.headers["Content-Length"]), 0
        while left:
            line = self.rfile.readline()
            left, number = left - len(line), number + 1
            status = b"422" if b"bad" in line else b"201"
            answer = b'{"line":%d,"status":%b,"was":"%b"}\n' % (number, status, line.strip())
            self.wfile.write(b"%x\r\n%b\r\n" % (len(answer), answer))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on the terminal."""


@contextmanager
def _server() -> Iterator[int]:
    _Script.seen = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), _Script) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def _connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def _requests(*scripts: list[int]) -> list[bytes]:
    return [load.post("/", f"request {n}".encode(), {"X-Script": json.dumps(s)}) for n, s in enumerate(scripts)]


def test_it_sends_each_request_once_and_counts_the_acknowledged_ones():
    with _server() as port:
        result = load.drive(port, _requests(*[[201]] * 50), connections=4, seconds=30, sample_every=10)
        assert _Script.seen == {f"request {number}": 1 for number in range(50)}
    assert (len(result.latencies), result.refused, result.lost) == (50, 0, 0)
    assert result.rate == pytest.approx(50 / result.seconds)
    assert len(result.samples) == 5
    assert all(answer == f"answer to request {number}".encode() for number, answer in result.samples)


def test_it_sends_a_refused_write_again_after_the_time_asked_for_and_counts_its_wait():
    with _server() as port:
        result = load.drive(port, _requests([503, 201], [201]), connections=2, seconds=30)
        assert _Script.seen == {"request 0": 2, "request 1": 1}
    assert (len(result.latencies), result.refused) == (2, 1)
    assert max(result.latencies) >= 1_000_000_000 > min(result.latencies)


def test_it_sends_a_write_again_whose_connection_was_lost():
    with _server() as port:
        result = load.drive(port, _requests([201], [0, 201], [201]), connections=1, seconds=30)
        assert _Script.seen == {"request 0": 1, "request 1": 2, "request 2": 1}
    assert (len(result.latencies), result.lost) == (3, 1)


def test_it_stops_at_an_answer_that_acknowledges_nothing():
    with _server() as port, pytest.raises(load.LoadError, match="Answered 422: answer to request 1"):
        load.drive(port, _requests([201], [422], [201]), connections=1, seconds=30)


def test_it_ends_when_time_is_up():
    with _server() as port:
        result = load.drive(port, _requests(*[[201]] * 5), connections=1, seconds=0.0)
    assert result.latencies == []


def test_it_counts_the_wait_for_a_connection_from_the_moment_a_request_was_due():
    stream = pacing.Stream(_requests(*[[201]] * 12), [0] * 12, connections=1)
    with _server() as port:
        pacing.drive_paced(port, [stream], sample_every=4)
    waits = [took for _, took in stream.seen.admitted]
    assert len(waits) == 12
    assert waits == sorted(waits), "each has waited for all before it"
    assert [number for number, _ in stream.seen.samples] == [0, 4, 8]


def test_it_sends_nothing_before_it_is_due_and_keeps_senders_apart():
    due = [0, 100_000_000, 200_000_000]
    slow, quick = (pacing.Stream(_requests(*[[201]] * 3), due, connections=n) for n in (1, 2))
    with _server() as port:
        pacing.drive_paced(port, [slow, quick])
    for stream in (slow, quick):
        assert [at for at, _ in stream.seen.admitted] == due
        assert min(stream.seen.late) >= 0


def test_it_takes_any_idle_connection():
    with _server() as port:
        sender = pacing._Sender(port, pacing.Stream(_requests(*[[201]] * 60), [0] * 60, connections=3))
        taken = []
        while connection := sender.due(0):
            taken.append(sender.all.index(connection))
            sender.idle.append(connection)
        for connection in sender.all:
            connection.socket.close()
    assert len(taken) == 60
    follows = Counter((after - before) % 3 for before, after in pairwise(taken))
    assert min(follows[step] for step in range(3)) >= 5, "neither in turn nor the same again and again"


def test_each_second_counts_by_itself():
    seconds = [(0.5, 900), (1.2, 20), (1.4, 10), (1.5, 30), (2.9, 7), (1.9, 40)]
    seen = pacing.Seen(admitted=[(int(due * 1e9), took * 1_000_000) for due, took in seconds])
    assert seen.each_second_ms(50, since=1) == [20, 7]
    assert seen.each_second_ms(95) == [900, 40, 7]


def test_it_does_not_send_again_what_was_refused_at_a_pace():
    stream = pacing.Stream(_requests([429, 201], [201], [503, 201]), [0, 0, 0], connections=3)
    with _server() as port:
        pacing.drive_paced(port, [stream])
        assert set(_Script.seen.values()) == {1}
    assert stream.seen.statuses == {429: 1, 201: 1, 503: 1}
    assert (len(stream.seen.admitted), len(stream.seen.refused)) == (1, 2)


@pytest.mark.parametrize(("status", "headers"), [(422, {}), (429, {"X-No-Hint": "1"})])
def test_it_stops_at_an_answer_that_neither_acknowledges_nor_says_when_to_come_again(status, headers):
    request = load.post("/", b"request", {"X-Script": json.dumps([status]), **headers})
    with _server() as port, pytest.raises(load.LoadError, match=f"Answered {status}"):
        pacing.drive_paced(port, [pacing.Stream([request], [0], connections=1)])


def test_it_offers_the_load_that_it_was_asked_for():
    due = pacing.arrivals(1000, 10.0, seed=1)
    assert due == pacing.arrivals(1000, 10.0, seed=1) != pacing.arrivals(1000, 10.0, seed=2)
    assert due == sorted(due)
    assert len(due) == pytest.approx(10_000, rel=0.05)
    assert max(due) < 10_000_000_000


def test_each_run_is_compared_with_those_before_and_after_it():
    def seen(*milliseconds):
        """The first two seconds do not count."""
        each = enumerate([1_000, 1_000, *milliseconds])
        return pacing.Seen(admitted=[(int((second + 0.1) * 1e9), took * 1_000_000) for second, took in each])

    def load(*blocks):
        return overload.Load("one", "1 ×", [1.0], [[seen(*run) for run in block] for block in blocks])

    rated = load([[10, 10], [14, 10], [40]], [[20], [40]])
    over = load([[11, 90, 11], [13]], [[45]])
    assert over.ratios(rated, 50) == [1.0, 0.5, 1.5]
    assert over.percentile_ms(50) == 13


def test_it_compares_the_rated_load_with_three_times_as_much():
    assert [[sum(load.offered) for load in loads] for loads in (overload.one(), overload.two())] == [[1, 3], [1, 3]]
    assert [load.offered[0] for load in overload.two()] == [0.5, 0.5], "shown is who keeps to it"


def test_it_sends_a_batch_while_its_answer_comes_in(tmp_path):
    lines = 3 * batch._SAMPLE_EVERY  # more than the buffers between the two hold
    (tmp_path / "lines").write_bytes(b"".join(b"%d " % number + b"x" * 2000 + b"\n" for number in range(lines)))
    with _server() as port, _connected(port) as connection:
        answered = batch.send(connection, tmp_path / "lines", "token")
    assert answered.acknowledged == lines
    assert [number for number, _ in answered.samples] == [0, 1000, 2000]
    assert [json.loads(line)["was"].split()[0] for _, line in answered.samples] == ["0", "1000", "2000"]


def test_it_does_not_pass_over_a_line_that_was_refused(tmp_path):
    (tmp_path / "lines").write_bytes(b"good\nbad\ngood\n")
    refused = pytest.raises(load.LoadError, match=r"Line 2 was answered .*422")
    with _server() as port, _connected(port) as connection, refused:
        batch.send(connection, tmp_path / "lines", "token")


def test_it_finds_out_which_process_holds_a_connection():
    serve = "import socket, os; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    forked = f"{serve}; os.fork(); kept = [s.accept() for _ in range(60)]"
    with subprocess.Popen([sys.executable, "-c", forked], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        with workers.apart(port, process.pid, 2) as (connections, found):
            assert len(connections) == 2
            assert found == 2
            assert {workers._holder(connection, process.pid) for connection in connections} == set(family(process.pid))
        kill_group(process.pid)


@pytest.mark.parametrize(("percent", "wanted"), [(50, 500), (95, 950), (99, 990), (99.9, 999), (0.01, 1)])
def test_it_takes_exact_percentiles(percent, wanted):
    assert load.percentile(list(range(1000, 0, -1)), percent) == wanted


def test_it_has_no_percentile_of_nothing():
    assert load.percentile([], 99) == 0


def test_it_shows_every_row_in_the_table_and_in_the_file(tmp_path):
    rows = [
        Row(part="writes", name="(a)", at="64 connections", rate=801.2, unit="/s", p50_ms=7.64, p95_ms=25.8, p99_ms=35),
        Row(part="writes", name="(b)", at="64 connections", rate=2500.0, unit="/s", refused=3, errors=0, ratio=3.12,
            wanted="≥ 3 × (a)", met=True, more={"receipts": 12, "rates": [1.0, 2.0]}),
        Row(part="proofs", name="inclusion", at="1,000 entries", wanted="tiles ≤ 7", met=False),
    ]  # fmt: skip
    lines = printed(rows).splitlines()
    assert [line for line in lines if line in ("writes", "proofs")] == ["writes", "proofs"]
    (plain, signed, proof) = [" ".join(line.split()) for line in lines if line.startswith("  ") and " at " not in line]
    assert plain == "(a) 64 connections 801 /s 7.64 25.8 35"
    assert signed == "(b) 64 connections 2,500 /s 3 3.12 ≥ 3 × (a) yes receipts 12"
    assert proof == "inclusion 1,000 entries tiles ≤ 7 NO"
    write_json(tmp_path / "bench.json", rows, quick=True, seconds=61.4)
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [(row["name"], row["met"]) for row in kept["rows"]] == [("(a)", None), ("(b)", True), ("inclusion", False)]
    assert kept["rows"][1]["more"]["rates"] == [1.0, 2.0]
    assert kept["quick"] is True
    assert kept["machine"]["cores"] >= 1
    assert kept["versions"]["django"].startswith("5.2")


@pytest.mark.parametrize(("kind", "predicate", "body"), bodies.KINDS)
def test_it_measures_with_bodies_that_the_kinds_take(kind, predicate, body):
    declared = load_kinds().named(kind)
    if predicate is not None:
        assert predicate in declared.predicate_types
    else:
        declared.validate(body(1), declared.predicate_types[0])
    assert body(1) != body(2)


def test_it_reports_each_level_of_compression():
    row = compression.row(
        "letters", [b"%d" % number + b"evidence" * 100 + bytes([number]) * 9 for number in range(100)]
    )
    assert [level["level"] for level in row.more["levels"]] == [1, 3, 9, 3]
    assert row.ratio is not None
    assert row.ratio > 20


def test_it_hashes_entry_bundles_up_to_the_root():
    leaves = [b"leaf %d" % number for number in range(700)]
    data = b"".join(encode_bundle(leaves[start : start + 256]) for start in range(0, 700, 256))
    assert _root(data, 700) == tree_root([leaf_hash(leaf) for leaf in leaves])


def test_it_sees_the_memory_of_a_process_and_its_children():
    holder = "data = b'x' * 80_000_000; print(len(data), flush=True); input()"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holder!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"80000000\n"
    with Watch(process.pid) as watch:
        pass
    process.communicate(b"\n")
    assert 80_000_000 < watch.peak < 200_000_000
