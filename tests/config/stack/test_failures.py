"""A start that cannot work ends in one line with cause and cure, and a code that is not 0."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.stack.account import home_of_postgres, service_account
from config.stack.errors import StackError
from config.stack.ports import choose
from config.stack.postgres import Postgres
from config.stack.preflight import check_disk, check_platform
from config.stack.processes import Identity, end_orphan, identify
from config.stack.state import load, load_or_create, shell_lines
from config.stack.valkey import Valkey
from tests.config.stack.running import clean_environment, free_port
from tests.engines import ROOT


def _run(*command: str, **variables: str) -> tuple[int, str]:
    done = subprocess.run(
        command,
        cwd=variables.pop("cwd", str(ROOT)),
        env=clean_environment(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout


def _stack(*arguments: str, data_dir: Path, **variables: str) -> tuple[int, str]:
    return _run(sys.executable, "-m", "config.stack", *arguments, DATA_DIR=str(data_dir), **variables)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())  # not below pytest's own folder, which PostgreSQL's account cannot enter
    folder.chmod(0o711)
    mounted = os.geteuid() == 0 and sys.platform == "linux"
    if mounted:
        command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=711", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if not mounted:
        folder.rmdir()
        pytest.skip("a small disk can be mounted by root on Linux only")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


def test_it_names_a_disk_without_room(small_disk: Path) -> None:
    code, said = _stack("run", "--port", str(free_port()), data_dir=small_disk / "data")
    assert code == 1
    assert said.startswith("error: The disk is full: ")
    assert said.count("\n") == 1
    with pytest.raises(StackError, match=r"24 MiB free|2\d MiB free"):
        check_disk(small_disk)


def test_it_names_a_disk_that_fills_up_under_an_engine(small_disk: Path) -> None:
    account = service_account()
    home = home_of_postgres(small_disk, account)
    server = Postgres(home, choose(1)[0], "secret", small_disk / "postgres.log", account)
    with pytest.raises(StackError, match=r"^The disk is full: .*No space left on device.* Free some space"):
        server.start()


def test_it_quotes_an_engine_that_does_not_come_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "valkey-server"
    broken.write_text("#!/bin/sh\necho 'FATAL: unexpected moon phase'\necho bye\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PROOFTRAIL_VALKEY_BIN", str(broken))
    server = Valkey(tmp_path / "valkey", choose(1)[0], "secret", tmp_path / "valkey.log")
    with pytest.raises(StackError, match=r"The start of Valkey failed; it says “FATAL: unexpected moon phase”. See "):
        server.start()


def test_it_stops_what_is_up_when_a_later_engine_fails(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    code, said = _stack("run", "--port", str(free_port()), data_dir=data_dir, PROOFTRAIL_VALKEY_BIN="/no/such/program")
    assert code == 1
    assert said.splitlines()[-1].startswith("error: Valkey could not be started: ")
    state = load(data_dir)
    assert state is not None
    assert state.children == []
    assert not (state.postgres_home / "data" / "postmaster.pid").exists()
    assert _stack("reset", "--yes", data_dir=data_dir)[0] == 0
    assert not data_dir.exists()
    assert not state.postgres_home.exists()


def test_it_names_a_platform_without_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(platform, "machine", lambda: "riscv64")
        with pytest.raises(StackError, match=r"no embedded engines for \w+ on riscv64. Use 64-bit Linux"):
            check_platform()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "linux")
        patch.setattr(platform, "libc_ver", lambda: ("", ""))
        with pytest.raises(StackError, match="another C library than glibc"):
            check_platform()
    check_platform()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What make needs of a checkout, without an environment."""
    copy = tmp_path / "checkout"
    for part in ("config", "requirements"):
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Makefile", copy)
    return copy


def test_it_names_a_missing_venv_module(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "ensurepip.py").write_text("raise ImportError('as in Debian without python3-venv')")
    code, said = _run("make", "run", cwd=str(checkout), PYTHONPATH=str(tmp_path / "without"))
    assert code != 0
    assert "error: Python's venv module is missing. Install it (Debian, Ubuntu: apt-get install python3-venv)." in said
    assert not (checkout / ".venv").exists()


@pytest.mark.slow
def test_it_tells_a_lost_network_from_a_platform_without_wheels(checkout: Path, tmp_path: Path) -> None:
    (checkout / "requirements" / "run.txt").write_text(f"only-elsewhere==1.0 --hash=sha256:{'0' * 64}\n")
    empty = {"PIP_FIND_LINKS": str(tmp_path), "PIP_RETRIES": "1", "cwd": str(checkout)}
    code, said = _run("make", "run", PIP_INDEX_URL="http://127.0.0.1:1/", **empty)
    assert code != 0
    assert "error: The package index cannot be reached. Check the network, PIP_INDEX_URL and PIP_CERT." in said
    code, said = _run("make", "run", PIP_NO_INDEX="1", **empty)
    assert code != 0
    assert "error: There is no wheel of only-elsewhere==1.0 for Python 3." in said


def test_it_names_a_missing_python(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    old = tmp_path / "bin" / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    make = shutil.which("make")
    assert make
    code, said = _run(make, "demo", cwd=str(checkout), PATH=str(tmp_path / "bin"))
    assert code != 0
    assert "error: There is no Python 3.11 or later here. Install one" in said


def test_it_refuses_a_port_that_is_none(tmp_path: Path) -> None:
    code, said = _stack("run", data_dir=tmp_path / "data", PORT="80a")
    assert code == 2
    assert "80a is not a port from 1024 to 65535" in said


def test_it_removes_nothing_without_a_yes_and_nothing_that_is_not_its_own(data_dir: Path, tmp_path: Path) -> None:
    load_or_create(data_dir)
    code, said = _stack("reset", data_dir=data_dir)
    assert code == 1
    assert said.endswith("nothing was removed\n")
    assert (data_dir / "state.json").exists()
    (tmp_path / "home").mkdir()
    code, said = _stack("reset", "--yes", data_dir=tmp_path / "home")
    assert code == 1
    assert "is not a data folder of this product" in said
    assert (tmp_path / "home").exists()


def test_it_keeps_its_ports_and_chooses_anew_only_those_that_are_taken(data_dir: Path) -> None:
    state = load_or_create(data_dir)
    before = dict(state.ports)
    with socket.socket() as other:
        other.bind(("127.0.0.1", before["valkey"]))
        other.listen()
        state.choose_ports_again()
    assert state.ports.pop("valkey") != before.pop("valkey")
    assert state.ports == before


def test_it_never_ends_a_stranger_that_got_an_old_pid() -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        known = identify(stranger.pid)
        assert known is not None
        end_orphan(Identity(known.pid, "another-boot:1", known.command))
        end_orphan(Identity(known.pid, known.started, "something else"))
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_it_writes_lines_that_a_shell_and_the_settings_read_alike() -> None:
    assert shell_lines({"A": "b c$d"}) == "export A='b c$d'\n"
    with pytest.raises(StackError, match="quote or a line break"):
        shell_lines({"DATA_DIR": "/home/o'neill"})
