"""PostgreSQL's disk fills up under a load: no record is half-written, and when there is room again writing goes on."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.stack.processes import wait_until
from tests.faults import verdict
from tests.faults.load import Load
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults"), pytest.mark.faults]

_DISK = "256m"
#: What is left on the disk for the load to fill.
_LEFT = 3 * 1024**2


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


@pytest.fixture
def load(site: Site) -> Load:
    return Load(site.pipeline())


def fill(disk: Path) -> Path:
    """Leave little room; PostgreSQL's own files take it."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - _LEFT, 4096))
    return ballast


def test_it_goes_on_after_a_full_disk(site: Site, disk: Path, load: Load) -> None:
    web = site.web.process.pid
    with load:
        load.wait_for_each(5)
        ballast = fill(disk)
        full = wait_until(lambda: any(load.refusals.values()), timeout=120, pause=0.2)
        ended = not wait_until(lambda: not site.postgres.is_running(), timeout=3)
        print(
            f"full after {load.acknowledged} records; PostgreSQL {'went on' if ended else 'gave up'}; {load.refusals}"
        )
        ballast.unlink()
        assert full, "the disk did not fill"
        if not site.postgres.is_running():  # its log's disk was full: an operator starts it again
            site.start_postgres()
        load.wait_for_each(5)
    assert site.web.process.pid == web
    print(load.trouble())
    verdict.check(site, load)
