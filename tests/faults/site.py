"""A site of the product whose parts can be killed, stopped and started one by one.

It consists of what `make run` starts, through the same functions and with the same options: PostgreSQL with fsync,
Valkey, SeaweedFS, web server, worker and beat. Only the supervisor is missing, which ends everything when a part dies.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg

from config.stack import services, supervisor
from config.stack.account import own_folder
from config.stack.engines import DATABASE, engines_of, environment_of
from config.stack.errors import StackError
from config.stack.keys import LOG_KEY, ensure_keys
from config.stack.processes import MARKER, Child, kill_group, wait_until
from config.stack.reset import reset
from config.stack.state import load_or_create, make_data_dir
from evidence.tlog.keys import dump_public, generate, load_private
from evidence.tlog.note import Signer, Verifier
from tests.config.stack.running import clean_environment, free_port
from tests.faults.load import Pipeline

#: Tasks that come every minute or day in real life come every second.
SHORT_INTERVALS = {"REMINDER_INTERVAL": "1", "DISPOSITION_INTERVAL": "3", "OUTBOX_INTERVAL": "1"}
_COMPANY = Path(__file__).resolve().parent / "company"
_RECOVERY_SECONDS = 60


class Site:
    """Everything of one data folder. Its methods are for the main thread (see `processes.spawn`)."""

    def __init__(self, data_dir: Path, *, postgres_home: Path | None = None) -> None:
        make_data_dir(data_dir)
        self.data_dir = data_dir
        self.state = load_or_create(data_dir)
        if postgres_home is not None:
            own_folder(postgres_home, engines_of(self.state).postgres.account)
            shutil.rmtree(self.state.postgres_home)  # made a moment ago, still empty
            self.state.postgres_home = postgres_home
            self.state.save()
        self.engines = engines_of(self.state)
        self.port = free_port()
        self.env = self._environment()
        self.stack = supervisor.Stack(self.state, self.engines, self.port, self.env)
        self.web_env: dict[str, str] = {}

    def _environment(self) -> dict[str, str]:
        own = environment_of(self.state, self.engines, port=self.port) | {MARKER: self.state.marker}
        company = {"PROOFTRAIL_DATA_PATHS": str(_COMPANY), "DJANGO_SETTINGS_MODULE": "config.settings"}
        return clean_environment(PYTHONUNBUFFERED="1") | own | SHORT_INTERVALS | company

    @property
    def url(self) -> str:
        return self.env["PROOFTRAIL_URL"]

    def start(self) -> None:
        """Engines, tables, first records and the web server; worker and beat are started by who needs them."""
        ensure_keys(self.data_dir / "keys")
        supervisor._start_engines(self.stack)
        self.postgres, self.valkey, self.seaweed = self.stack.children
        self.manage("migrate", "-v", "0", owner=True)
        self.manage("setup")
        self.start_web()

    def remove(self) -> None:
        """End every process, by its pid, and remove every file."""
        for child in reversed(self.stack.children):
            kill_group(child.process.pid)
            child.process.wait()
        assert reset([self.data_dir], sure=True) == 0

    def manage(self, *arguments: str, owner: bool = False, **variables: str) -> str:
        """What a management command prints; all of it when it fails."""
        env = (self.env if owner else services.without_owner(self.env)) | variables
        command = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(command, cwd=services.ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"manage.py {' '.join(arguments)} ended with {done.returncode}:\n{_said(done)}"
        return done.stdout

    def database(self) -> psycopg.Connection[Any]:
        """A superuser's connection, to look and to set traps."""
        return self.engines.postgres.connect(DATABASE)

    def log_verifier(self) -> Verifier:
        """Of the key file: nothing that the service says of itself is believed."""
        key = load_private((self.data_dir / "keys" / LOG_KEY).read_bytes())
        return Verifier.parse(Signer(self.env.get("LOG_ORIGIN", "prooftrail.local/log"), key).vkey)

    def pipeline(self, name: str = "ci") -> Pipeline:
        """A new one, with a token and a key of its own."""
        key = generate()
        public = self.data_dir / f"{name}.pub"
        public.write_bytes(dump_public(key.public_key()))
        made = self.manage("create_pipeline", name, "--system", "shop", "--public-key", str(public), "--json")
        return Pipeline(self.port, json.loads(made)["token"], key)

    # -- the web server ----------------------------------------------------------------------------------------------

    def start_web(self, **variables: str) -> None:
        self.web_env = variables
        self.web = services.start_web(self.env | variables, port=self.port, logs=self.stack.logs)
        self.stack.adopt(self.web)
        services.wait_for_web(self.web, port=self.port)
        # One worker answers before the other has looked at the database: a test that changes that waits for both.
        assert wait_until(self._workers_have_started, timeout=_RECOVERY_SECONDS), self.web.recent_output()

    def _workers_have_started(self) -> bool:
        said = (self.stack.logs / "web.log").read_text(errors="replace").rpartition("workers serve")[2]
        return said.count("this worker answers") >= 2

    def restart_web(self, **variables: str) -> None:
        """With other settings; none of the earlier ones stays."""
        self.web.stop()
        self.start_web(**variables)

    def web_workers(self) -> list[int]:
        return children_of(self.web.process.pid)

    def kill_web_worker(self, pid: int) -> None:
        os.kill(pid, signal.SIGKILL)

    def wait_for_web_workers(self, *, without: int) -> None:
        """Until the server has replaced the one that was killed."""
        settled = wait_until(lambda: len(set(self.web_workers()) - {without}) >= 2, timeout=_RECOVERY_SECONDS)
        assert settled, self.web.recent_output()

    def kill_web(self) -> None:
        """The server and its workers, all at the same moment."""
        kill(self.web)

    # -- the engines -------------------------------------------------------------------------------------------------

    def kill_postmaster(self) -> None:
        """The one process; its backends notice by themselves."""
        os.kill(self.postgres.process.pid, signal.SIGKILL)
        self.postgres.process.wait()

    def start_postgres(self) -> None:
        """As an operator does: again until it comes up. Backends of a killed one take a moment to leave."""
        self.postgres = self._again(self.engines.postgres.start)

    def start_valkey(self) -> None:
        self.valkey = self._again(self.engines.valkey.start)

    def start_seaweed(self) -> None:
        self.seaweed = self._again(self.engines.seaweed.start)

    def _again(self, start: Callable[[], Child]) -> Child:
        tries: list[str] = []

        def up() -> bool:
            try:
                self.stack.adopt(start())
            except StackError as error:
                tries.append(str(error))
                return False
            return True

        assert wait_until(up, timeout=_RECOVERY_SECONDS, pause=0.3), tries
        return self.stack.children[-1]

    # -- worker and beat ---------------------------------------------------------------------------------------------

    def start_worker_and_beat(self, **variables: str) -> None:
        env = self.env | variables
        self.worker = services.start_worker(env, logs=self.stack.logs)
        self.stack.adopt(self.worker)
        self.beat = services.start_beat(env, logs=self.stack.logs, folder=self.data_dir / "beat")
        self.stack.adopt(self.beat)

    def stop_worker_and_beat(self) -> None:
        for child in (self.beat, self.worker):
            kill(child)


def _said(done: subprocess.CompletedProcess[str]) -> str:
    return f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


def kill(child: Child) -> None:
    """kill -9 of a process and all it started."""
    kill_group(child.process.pid)
    child.process.wait()


def children_of(pid: int) -> list[int]:
    """Pids whose parent is `pid`; of living processes only."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry.name))
    return sorted(found)
