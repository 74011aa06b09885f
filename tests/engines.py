"""One PostgreSQL, one Valkey and one SeaweedFS for a whole test run, each started when a test first needs it.

The first process that asks for an engine starts a host process for it (this module as a program); xdist's
workers find it through the run's folder. Hosts end when the run does, however it ends: each waits for a lock
that the run's first process holds as long as it lives.
"""

import atexit
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from config.stack import postgres
from config.stack.account import Account, home_of_postgres, own_folder, service_account
from config.stack.keys import ensure_keys
from config.stack.ports import choose
from config.stack.processes import Child
from config.stack.seaweed import Credential, Credentials, Seaweed, SeaweedPorts
from config.stack.valkey import Valkey

ROOT = Path(__file__).resolve().parent.parent
RUN = "PROOFTRAIL_TEST_RUN"
BUCKET = "prooftrail-test"
ANCHOR_BUCKET = "prooftrail-test-anchors"
TEMPLATE = "template_prooftrail"
_PASSWORD = "only-for-this-test-run"
#: Copying a database, which most tests begin with, takes 0.04 s there and half a second on a disk.
_MEMORY, _ROOM = Path("/dev/shm"), 1 << 30  # noqa: S108 -- a folder of this run's own is made in it


def run_folder() -> Path:
    """The folder of this run; the first process to ask makes it, and names it to its children."""
    if RUN not in os.environ:
        folder = Path(tempfile.mkdtemp(prefix="prooftrail-test-"))
        folder.chmod(0o711)  # PostgreSQL's account passes through it where the tests run as root
        os.environ[RUN] = str(folder)
        _hold_alive(folder)
        atexit.register(end_run)  # settings may be read by something else than a test run
    return Path(os.environ[RUN])


_alive: list[tuple[int, int]] = []  # (pid, descriptor) of the process that made the folder
_hosts: list[subprocess.Popen[bytes]] = []  # kept, since an unwaited child warns when collected


def _hold_alive(folder: Path) -> None:
    descriptor = os.open(folder / "alive", os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    _alive.append((os.getpid(), descriptor))


def end_run() -> None:
    """Let the hosts go, wait for them and remove the run's folder. For the run's first process."""
    if not _alive or _alive[0][0] != os.getpid():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # they go on until the first process ends
            _hosts.clear()
        return
    os.close(_alive.pop()[1])
    folder = Path(os.environ.pop(RUN))
    end = time.monotonic() + 30
    while any(folder.glob("*.host")) and time.monotonic() < end:
        time.sleep(0.05)
    shutil.rmtree(folder, ignore_errors=True)
    for host in _hosts:
        host.wait(10)


def ask(engine: str) -> dict[str, Any]:
    """Where the engine is; started if this is the first need of it."""
    folder = run_folder()
    answer = folder / f"{engine}.json"
    with locked(folder / f"{engine}.lock"):
        if not answer.exists():
            log = folder / f"{engine}-host.log"
            with open(log, "wb") as out:
                host = subprocess.Popen(
                    [sys.executable, "-m", "tests.engines", engine, str(folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    cwd=ROOT,
                    start_new_session=True,
                )
            _hosts.append(host)
            while not answer.exists():
                if host.poll() is not None:
                    raise RuntimeError(f"the test run's {engine} did not start:\n{log.read_text()}")
                time.sleep(0.02)
    found: dict[str, Any] = json.loads(answer.read_text())
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process of the run at a time."""
    with open(path, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def server() -> postgres.Postgres:
    """The run's PostgreSQL, with its roles."""
    found = ask("postgres")
    return postgres.Postgres(Path(found["folder"]), found["port"], _PASSWORD, Path(found["log"]), durable=False)


def url(user: str, database: str) -> str:
    """A URL for one of PostgreSQL's roles."""
    return server().url(user, _PASSWORD, database)


def valkey(database: int) -> str:
    """The broker's URL."""
    found = ask("valkey")
    return Valkey(Path(found["folder"]), found["port"], _PASSWORD, Path(found["log"])).url(database)


def seaweed() -> Seaweed:
    """The run's object store; its buckets have Object Lock."""
    found = ask("seaweed")
    return _seaweed(Path(found["folder"]), SeaweedPorts(**found["ports"]))


def template() -> str:
    """The database that tests clone: migrated once per run by the owner, through the product's own command."""
    running = server()
    done = run_folder() / "template.done"
    with locked(run_folder() / "template.lock"):
        if not done.exists():
            postgres.ensure_database(running, TEMPLATE)
            environment = {
                **os.environ,
                "DATABASE_URL": url(postgres.RUNTIME, TEMPLATE),
                "OWNER_DATABASE_URL": url(postgres.OWNER, TEMPLATE),
                "DJANGO_SETTINGS_MODULE": "config.settings",
            }
            command = [sys.executable, "manage.py", "migrate", "-v", "0"]
            migrated = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
            if migrated.returncode:
                with running.connect() as connection:
                    connection.execute(f"DROP DATABASE {TEMPLATE} WITH (FORCE)")
                raise RuntimeError(f"migrating the template database failed:\n{migrated.stdout}{migrated.stderr}")
            ensure_keys(run_folder() / "keys")
            done.touch()
    return TEMPLATE


def _seaweed(folder: Path, ports: SeaweedPorts) -> Seaweed:
    credentials = Credentials(*(Credential(f"test-{name}", _PASSWORD) for name in ("admin", "service", "anchors")))
    return Seaweed(folder, ports, credentials, folder.parent / "seaweed.log", BUCKET, ANCHOR_BUCKET)


def _start_postgres(folder: Path) -> tuple[Child, dict[str, Any]]:
    account = service_account()
    home = _in_memory(folder, account) or home_of_postgres(folder, account)
    log = folder / "postgres.log"
    running = postgres.Postgres(home, choose(1)[0], _PASSWORD, log, account, durable=False)
    child = running.start()
    postgres.ensure_roles(running, owner_password=_PASSWORD, runtime_password=_PASSWORD)
    return child, {"folder": str(home), "port": running.port, "log": str(log)}


def _in_memory(folder: Path, account: Account | None) -> Path | None:
    """A home for PostgreSQL where files are memory, if there is such a place with room: a run takes about 100 MB."""
    try:
        place = os.statvfs(_MEMORY)
    except OSError:
        return None
    if place.f_bavail * place.f_frsize < _ROOM or place.f_flag & os.ST_NOEXEC:
        return None
    home = _MEMORY / f"{folder.name}-postgres"
    own_folder(home, account)
    return home


def _start_valkey(folder: Path) -> tuple[Child, dict[str, Any]]:
    running = Valkey(folder / "valkey", choose(1)[0], _PASSWORD, folder / "valkey.log", durable=False)
    return running.start(), {"folder": str(running.folder), "port": running.port, "log": str(running.log)}


def _start_seaweed(folder: Path) -> tuple[Child, dict[str, Any]]:
    ports = SeaweedPorts(*choose(5))
    child = _seaweed(folder / "seaweed", ports).start()
    child.stop_signal = signal.SIGKILL  # it takes two seconds over a good end, and its data goes with the run
    return child, {"folder": str(folder / "seaweed"), "ports": vars(ports)}


_START: dict[str, Callable[[Path], tuple[Child, dict[str, Any]]]] = {
    "postgres": _start_postgres,
    "valkey": _start_valkey,
    "seaweed": _start_seaweed,
}


def main(engine: str, folder: Path) -> None:
    """Host one engine until the run's first process is gone."""
    (folder / f"{engine}.host").touch()
    child, found = _START[engine](folder)
    unfinished = folder / f"{engine}.unfinished"
    unfinished.write_text(json.dumps(found))
    unfinished.rename(folder / f"{engine}.json")
    with open(folder / "alive") as alive:
        fcntl.flock(alive, fcntl.LOCK_SH)
    child.stop()
    if "folder" in found and not Path(found["folder"]).is_relative_to(folder):
        shutil.rmtree(found["folder"], ignore_errors=True)
    (folder / f"{engine}.host").unlink()
    if not any(folder.glob("*.host")):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
