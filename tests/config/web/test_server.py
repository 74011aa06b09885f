"""The web server's workers: as many as there should be, and none without their server."""

import http.client
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.stack.processes import wait_until
from config.stack.services import ROOT
from tests.faults.site import children_of
from tests.served import server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")


def _connection(url):
    return http.client.HTTPConnection(urlsplit(url).netloc, timeout=10)


def _status(url):
    with closing(_connection(url)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        except OSError:
            return None


def test_a_worker_that_ends_is_replaced_and_all_end_with_their_server(ledger, tmp_path):
    with server(ledger, tmp_path) as (url, child):
        workers = children_of(child.process.pid)
        assert len(workers) == 2
        assert wait_until(lambda: child.recent_output().count("this worker answers") == 2, timeout=60)

        port = urlsplit(url).port
        second = [sys.executable, "-m", "config.web", "--port", str(port)]
        refused = subprocess.run(second, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert refused.returncode == 1
        assert refused.stderr == f"error: 127.0.0.1:{port} cannot be listened at: Address already in use.\n"

        os.kill(workers[0], signal.SIGKILL)
        assert wait_until(lambda: not Path(f"/proc/{workers[0]}").exists(), timeout=5)  # and with it its socket
        with ThreadPoolExecutor(4) as asking:  # the other one answers meanwhile
            assert set(asking.map(lambda _: _status(url), range(40))) == {200}
        assert wait_until(lambda: child.recent_output().count("this worker answers") == 3, timeout=60)
        assert "has ended (-9), and is started again" in child.recent_output()

        workers = children_of(child.process.pid)
        child.process.kill()
        child.process.wait()
        assert wait_until(lambda: not any(map(_is_alive, workers)), timeout=20)
        assert _status(url) is None


def _is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_it_stops_when_told_and_finishes_what_is_under_way(ledger, tmp_path):
    with (
        server(ledger, tmp_path) as (url, child),
        closing(_connection(url)) as idle,
        closing(_connection(url)) as busy,
    ):
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        busy.putrequest("POST", "/api/v1/records/batch")
        busy.putheader("Content-Length", "2")
        busy.putheader("Authorization", "Bearer ptk_none")
        busy.endheaders(b"{")
        assert wait_until(lambda: _status(url) == 200, timeout=5)
        child.ask()
        assert wait_until(lambda: _status(url) is None, timeout=5)  # takes nothing new
        busy.send(b"}")
        assert busy.getresponse().status == 415
        assert child.process.wait(10) == 0
        assert not child.process.pid or not children_of(child.process.pid)


@pytest.mark.parametrize("arguments", [["--port", "0"], ["--port", "web"], ["--workers", "0"], ["--workers", "65"]])
def test_it_says_what_it_cannot_be_told(arguments):
    told = [sys.executable, "-m", "config.web", *arguments]
    done = subprocess.run(told, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert arguments[1] in done.stderr
    assert "Traceback" not in done.stderr
