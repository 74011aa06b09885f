"""PostgreSQL's disk fills up under a load: no record is half-written, and when there is room again writing goes on."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from config.stack.processes import wait_until
from tests.faults import verdict
from tests.faults.load import Load, Pipeline
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults"), pytest.mark.faults]

_DISK = "256m"
_CODES = {"ledger_unavailable", "database_unavailable", "database_full"}


@pytest.fixture(scope="module")
def disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())  # not below pytest's own folder, which PostgreSQL's account cannot enter
    folder.chmod(0o711)
    mounted = os.geteuid() == 0 and sys.platform == "linux"
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", f"size={_DISK},mode=711", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        folder.rmdir()
        pytest.skip("a small disk can be mounted by root on Linux only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


@pytest.fixture(scope="module")
def site(disk: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One of its own, whose PostgreSQL lives on the small disk."""
    site = Site(tmp_path_factory.mktemp("faults-disk") / "data", postgres_home=disk / "postgres")
    try:
        site.start()
        yield site
    finally:
        site.remove()


@pytest.fixture(scope="module")
def pipeline(site: Site) -> Pipeline:
    return site.pipeline()


@contextlib.contextmanager
def filled(disk: Path, *, left: int) -> Iterator[None]:
    """Somebody else's file takes all room but `left` bytes."""
    ballast = disk / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:  # PostgreSQL takes its part meanwhile, so nothing can be computed
            file.write(bytes(64 * 1024))
    os.truncate(ballast, ballast.stat().st_size - left)
    try:
        yield
    finally:
        ballast.unlink()


def test_it_refuses_while_tables_cannot_grow_and_reads_on(site: Site, disk: Path, load: Load) -> None:
    with load:
        load.wait_for_each(5)
        with filled(disk, left=0):
            assert wait_until(lambda: bool(load.refusals), timeout=60, pause=0.1), "the disk did not fill"
            ready = httpx.get(f"{site.url}/readyz", timeout=30)
            assert site.postgres.is_running()
        load.wait_for_each(5)
    assert ready.json()["engines"]["database"] == "ok", ready.text
    assert load.refusals.keys() <= _CODES, load.trouble()
    verdict.check(site, load)


def _has_given_up(site: Site) -> bool:
    """Whether PostgreSQL has ended; until then it is made to need another file for its log."""
    with contextlib.suppress(psycopg.Error), site.database() as superuser:
        superuser.execute("SELECT pg_switch_wal()")
    return not site.postgres.is_running()


def test_it_goes_on_after_a_database_that_gave_up(site: Site, disk: Path, load: Load) -> None:
    """PostgreSQL ends itself when its write-ahead log cannot grow; an operator frees room and starts it again."""
    web = site.web.process.pid
    with load:
        load.wait_for_each(5)
        with filled(disk, left=3 * 1024**2):
            assert wait_until(lambda: _has_given_up(site), timeout=120, pause=0.2), load.trouble()
        site.start_postgres()
        load.wait_for_each(5)
    assert site.web.process.pid == web
    assert load.refusals.keys() <= _CODES, load.trouble()
    verdict.check(site, load)
