"""The product's own processes on top of the engines: web, worker, beat, and the commands before them."""

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.stack.errors import StackError
from config.stack.failures import failed_to_start, failure
from config.stack.processes import Child, spawn, wait_until

ROOT = Path(__file__).resolve().parent.parent.parent


def manage(*arguments: str, env: Mapping[str, str]) -> str:
    """Run a management command and answer what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, env=dict(env), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise failure(f"`manage.py {arguments[0]}`", done.stderr or done.stdout, "Run it by hand to see all of it.")
    return done.stdout


def without_owner(env: Mapping[str, str]) -> dict[str, str]:
    """The service's own environment. Empty, not absent: settings would fill it from ``DATA_DIR/env``."""
    return {**env, "OWNER_DATABASE_URL": ""}


#: The module that serves.
SERVED = ("config.web",)


def start_web(env: Mapping[str, str], *, port: int, logs: Path, served: Sequence[str] = SERVED) -> Child:
    """Two workers. `served`: another server's module and arguments; it is told host, port and workers."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "2"]
    web_env = {**without_owner(env), "DATABASE_POOL": "1"}
    command = [sys.executable, "-m", *served, *options]
    return spawn("The web server", command, log=logs / "web.log", env=web_env, cwd=ROOT)


def start_worker(env: Mapping[str, str], *, logs: Path) -> Child:
    options = ["worker", "--concurrency", "2", "--loglevel", "INFO", "--without-gossip", "--without-mingle"]
    command = [sys.executable, "-m", "celery", "-A", "config.celery", *options]
    return spawn("The worker", command, log=logs / "worker.log", env=without_owner(env), cwd=ROOT)


def start_beat(env: Mapping[str, str], *, logs: Path, folder: Path) -> Child:
    """No pid file: the stack's own lock already sees to there being one."""
    folder.mkdir(mode=0o700, exist_ok=True)
    options = ["beat", "--loglevel", "INFO", "--pidfile=", "--schedule", str(folder / "schedule")]
    command = [sys.executable, "-m", "celery", "-A", "config.celery", *options]
    return spawn("Beat", command, log=logs / "beat.log", env=without_owner(env), cwd=ROOT)


def wait_for_web(web: Child, *, port: int, timeout: float = 60) -> None:
    """Until ``/healthz`` answers 200; a server that refuses to start says why in its log."""

    def settled() -> bool:
        return _is_healthy(port) or not web.is_running() or "refusing to start" in web.recent_output()

    wait_until(settled, timeout=timeout, pause=0.1)
    if not _is_healthy(port):
        _explain_refusal(web)
        raise failed_to_start(web)


def _explain_refusal(web: Child) -> None:
    for line in web.recent_output().splitlines():
        if line.startswith("refusing to start: "):
            raise StackError(f"The web server refuses to start: {line.partition(': ')[2]}", f"See {web.log}.")


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def base_environment() -> dict[str, str]:
    """The caller's variables (mail, limits, intervals …); what the stack decides is laid over them."""
    env = {**os.environ, "DJANGO_SETTINGS_MODULE": "config.settings", "PYTHONUNBUFFERED": "1"}
    return {name: value for name, value in env.items() if name not in {"PYTHONSTARTUP", "PYTHONHOME"}}
