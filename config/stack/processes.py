"""Child processes: started with a log, recognised again after a crash, stopped by their group.

Each child leads its own process group, so Ctrl-C in a terminal reaches only the supervisor, which then
stops them in order. On Linux the kernel also signals a child when the supervisor dies without a word.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from config.stack.account import Account, identity_arguments
from config.stack.errors import StackError

#: The environment variable by which all processes of one data folder are known.
MARKER = "PROOFTRAIL_STACK"
#: A log larger than this is put aside at the next start; one older one is kept.
_LOG_BYTES = 20 * 1024**2
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Identity:
    """A process as it can be found again: a pid alone may have been given to somebody else since."""

    pid: int
    started: str
    command: str

    def is_alive(self) -> bool:
        return identify(self.pid) == self


def identify(pid: int) -> Identity | None:
    """Who runs under this pid now, or None. A zombie is nobody."""
    if sys.platform == "linux":
        return _identify_by_proc(pid)
    shown = subprocess.run(
        ["/bin/ps", "-p", str(pid), "-o", "lstart=,command="], capture_output=True, text=True, check=False
    ).stdout.strip()
    return Identity(pid, shown[:24], shown[24:].strip()) if shown else None


def _identify_by_proc(pid: int) -> Identity | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()
    if fields[0] in "ZX":
        return None
    return Identity(pid, f"{boot}:{fields[19]}", command.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace"))


@dataclass
class Child:
    """One running child of this process."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    patience: float = 20.0
    identity: Identity | None = None
    log_began: int = 0
    asked: bool = False

    def is_running(self) -> bool:
        return self.process.poll() is None

    def recent_output(self) -> str:
        """The end of what it wrote since it was started."""
        with open(self.log, "rb") as file:
            file.seek(max(self.log_began, self.log.stat().st_size - 16_384))
            return file.read().decode(errors="replace")

    def ask(self) -> None:
        """Tell it to end, once."""
        if self.is_running() and not self.asked:
            self.asked = True
            self.process.send_signal(self.stop_signal)

    def stop(self) -> None:
        """Ask, wait, insist: nothing of the child's group is left afterwards."""
        self.ask()
        if self.is_running():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(self.patience)
        kill_group(self.process.pid)
        self.process.wait()


def spawn(
    name: str,
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    cwd: Path | None = None,
    account: Account | None = None,
    stop_signal: signal.Signals = signal.SIGTERM,
    patience: float = 20.0,
) -> Child:
    """Start a child whose output goes to ``log`` (appended, 0600). Call it from the main thread only:
    the kernel's death signal follows the thread that started the child."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    began = log.stat().st_size if log.exists() else 0
    try:
        with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent(stop_signal),
                **identity_arguments(account),
            )
    except OSError as error:
        raise StackError(
            f"{name} could not be started: {error}", "Remove .venv and start again: make builds it anew."
        ) from error
    return Child(name, process, log, stop_signal, patience, identify(process.pid), began)


@contextlib.contextmanager
def ended_on_failure(child: Child) -> Iterator[None]:
    """Leave no half-started child behind, whatever interrupts the wait for it."""
    try:
        yield
    except BaseException:
        child.stop()
        raise


def die_with_parent(with_signal: signal.Signals) -> Callable[[], None] | None:
    """For a child's ``preexec_fn``. None where the kernel knows no such thing."""
    if _LIBC is None:
        return None
    libc = _LIBC

    def ask_kernel() -> None:  # runs in the child after its user is set: a change of user clears the request
        libc.prctl(_PR_SET_PDEATHSIG, int(with_signal), 0, 0, 0)

    return ask_kernel


def kill_group(group: int) -> None:
    """End what is left of a process group of ours; an empty group is fine."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def end_orphan(orphan: Identity, *, patience: float = 10.0) -> None:
    """Stop a child that a killed supervisor left behind; nothing happens if the pid is somebody else's now."""
    if not orphan.is_alive():
        return
    os.kill(orphan.pid, signal.SIGTERM)
    if not wait_until(lambda: not orphan.is_alive(), timeout=patience):
        kill_group(orphan.pid)
        wait_until(lambda: not orphan.is_alive(), timeout=5)


def wait_until(condition: Callable[[], bool], *, timeout: float, pause: float = 0.05) -> bool:
    """True as soon as ``condition`` holds, False after ``timeout`` seconds."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(pause)
    return condition()
