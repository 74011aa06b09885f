"""A whole stack as a subprocess, looked at from outside."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from config.stack.processes import MARKER, wait_until
from config.stack.reset import reset
from tests.engines import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def clean_environment(**variables: str) -> dict[str, str]:
    """What a shell has that never heard of the product."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG", "TMPDIR"}}
    return kept | variables


class RunningStack:
    """``python -m config.stack run`` in a folder of its own."""

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.output = data_dir.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self.output, "wb") as out:
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", "config.stack", "run", "--port", str(self.port)],
                cwd=ROOT,
                env=clean_environment(DATA_DIR=str(self.data_dir)),
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        up = wait_until(lambda: "is running at" in self.said() or process.poll() is not None, timeout=90)
        assert up, self.said()
        assert process.poll() is None, self.said()

    def kill(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait()

    def remove(self) -> None:
        """The data folder, and PostgreSQL's where it had to lie elsewhere."""
        self.kill()
        assert reset([self.data_dir], sure=True) == 0

    def said(self) -> str:
        return self.output.read_text()

    def wait(self) -> int:
        assert self.process
        return self.process.wait(60)

    def end(self, with_signal: signal.Signals = signal.SIGTERM) -> int:
        assert self.process
        self.process.send_signal(with_signal)
        return self.wait()

    @property
    def state(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.data_dir / "state.json").read_text())
        return content

    @property
    def env(self) -> dict[str, str]:
        lines = (self.data_dir / "env").read_text().splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        return {name: value.strip("'") for name, value in pairs}

    def pids(self) -> set[int]:
        """The supervisor and all that came from it: by parent, and by the mark in the environment."""
        parents = {pid: _parent(pid) for pid in _all_pids()}
        assert self.process
        mine = {self.process.pid} | {pid for pid in parents if _has_mark(pid, self.state["marker"])}
        while more := {pid for pid, parent in parents.items() if parent in mine} - mine:
            mine |= more
        return mine

    def is_healthy(self) -> bool:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=5) as answer:
            return bool(answer.status == 200)


def listening_addresses(pids: set[int]) -> set[str]:
    """``address:port`` of every TCP and UDP socket these processes wait on."""
    inodes = {inode for pid in pids for inode in _sockets(pid)}
    found = set()
    for table, listening in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == listening and fields[9] in inodes:
                host, _, port = fields[1].partition(":")
                found.add(f"{_address(host)}:{int(port, 16)}")
    return found


def _address(text: str) -> str:
    if len(text) == 8:
        return socket.inet_ntop(socket.AF_INET, bytes.fromhex(text)[::-1])
    words = [bytes.fromhex(text[i : i + 8])[::-1] for i in range(0, 32, 8)]
    return socket.inet_ntop(socket.AF_INET6, b"".join(words))


def _sockets(pid: int) -> list[str]:
    try:
        links = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return []
    return [link[8:-1] for link in links if link.startswith("socket:[")]


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _has_mark(pid: int, marker: str) -> bool:
    try:
        return f"{MARKER}={marker}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
