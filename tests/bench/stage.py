"""The running stack as the bench sees it, and what is added beside it: databases, servers, a pipeline with its key."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from config.stack import ports, postgres, services
from config.stack.engines import engines_of
from config.stack.processes import Child
from config.stack.state import load
from evidence.tlog.keys import dump_public
from evidence.tlog.note import Verifier

SYSTEM = "bench"
#: More than anybody sends here: it is measured how quick an answer is, not how it is refused.
UNLIMITED = {
    "RATE_LIMIT_WRITES": "1000000,1000000",
    "RATE_LIMIT_BATCHES": "1000,1000",
    "RATE_LIMIT_CALLS": "1000000,1000000",
}


@dataclass(frozen=True)
class Pipeline:
    """One that may write, with the key that it signs with and a release to write for."""

    token: str
    key: Ed25519PrivateKey
    release: str


@dataclass(frozen=True)
class Server:
    """A web server, its own environment, and where it answers."""

    port: int
    env: Mapping[str, str]
    child: Child | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@dataclass(frozen=True)
class Stage:
    """`quick` asks for the bounded form."""

    data_dir: Path
    env: Mapping[str, str]
    quick: bool

    @classmethod
    def enter(cls, *, quick: bool) -> "Stage":
        stage = cls(Path(os.environ["DATA_DIR"]), dict(os.environ), quick)
        stage.files.mkdir(mode=0o700, exist_ok=True)
        return stage

    @property
    def files(self) -> Path:
        """The bench's own files."""
        return self.data_dir / "bench"

    @property
    def product(self) -> Server:
        """The stack's own web server."""
        return Server(urlsplit(self.env["PROOFTRAIL_URL"]).port or 80, self.env)

    # -- databases and servers beside the stack's own ------------------------------------------------------------------

    def environment_for(self, database: str) -> dict[str, str]:
        """The stack's environment with another database of the same PostgreSQL, and a place of its own for anchors,
        new each time: a database behind the newest one takes no writes."""
        moved = {name: _with_path(self.env[name], database) for name in ("DATABASE_URL", "OWNER_DATABASE_URL")}
        return {**self.env, **moved, "S3_ANCHOR_PREFIX": f"{database}-{secrets.token_hex(4)}/"}

    def new_database(self, name: str, *, template: str | None = None) -> dict[str, str]:
        """A database made anew (dropped if an earlier run left one), and the environment that leads to it."""
        self.drop_database(name)
        postgres.ensure_database(self._server(), name, template=template)
        return self.environment_for(name)

    def drop_database(self, name: str) -> None:
        with self._server().connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def tidy(self, name: str) -> None:
        """What autovacuum and the checkpointer would do at a moment of their own."""
        with self._server().connect(name) as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")

    def empty_ledger(self, name: str) -> dict[str, str]:
        """A database with the product's tables, keys published, nothing else."""
        env = self.new_database(name)
        services.manage("migrate", "-v", "0", env=env)
        services.manage("setup", env=services.without_owner(env))
        return env

    def _server(self) -> postgres.Postgres:
        state = load(self.data_dir)
        if state is None:
            raise SystemExit(f"{self.data_dir} is no data folder: run `make bench`.")
        return engines_of(state).postgres

    @contextmanager
    def serving(
        self,
        env: Mapping[str, str],
        *,
        name: str,
        served: Sequence[str] = services.SERVED,
        limits: Mapping[str, str] = UNLIMITED,
    ) -> Iterator[Server]:
        """A web server of its own, started as the product's; ended with the block."""
        (port,) = ports.choose(1)
        logs = self.data_dir / "logs" / f"bench-{name}"
        child = services.start_web({**env, **limits}, port=port, logs=logs, served=served)
        try:
            services.wait_for_web(child, port=port)
            yield Server(port, env, child)
        finally:
            child.stop()

    # -- who writes ------------------------------------------------------------------------------------------------

    def new_pipeline(self, server: Server) -> Pipeline:
        """A pipeline with a signing key, and an open release of its system."""
        name, key = f"bench-{secrets.token_hex(4)}", Ed25519PrivateKey.generate()
        public = self.files / f"{name}.pub.pem"
        public.write_bytes(dump_public(key.public_key()))
        arguments = ["create_pipeline", name, "--system", SYSTEM, "--public-key", str(public), "--json"]
        token = json.loads(services.manage(*arguments, env=services.without_owner(server.env)))["token"]
        opened = {
            "system": SYSTEM,
            "tag": name,
            "type": "regular",
            "ticket_id": "BENCH-1",
            "ticket_url": "https://tickets.example.com/BENCH-1",
            "captain": "Cora",
        }
        answer = httpx.post(f"{server.url}/api/v1/releases", json=opened, headers=_bearer(token), timeout=30)
        answer.raise_for_status()
        return Pipeline(token, key, answer.json()["release"]["id"])

    def log_keys(self, server: Server, pipeline: Pipeline) -> list[Verifier]:
        """The log's public keys, for receipts."""
        answer = httpx.get(f"{server.url}/api/v1/log/keys", headers=_bearer(pipeline.token), timeout=30)
        answer.raise_for_status()
        return [Verifier.parse(row["vkey"]) for row in answer.json()["keys"]]

    def python(self, module: str, *arguments: str, env: Mapping[str, str]) -> str:
        """What a module of the bench printed, run in a process of its own."""
        command = [sys.executable, "-m", module, *arguments]
        done = subprocess.run(command, cwd=services.ROOT, env=dict(env), stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{module} {' '.join(arguments)} ended with {done.returncode}")
        return done.stdout


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _with_path(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
