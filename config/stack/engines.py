"""The three engines of one data folder, as its state describes them, and the environment that leads to them."""

import os
from dataclasses import dataclass
from pathlib import Path

from config.stack import postgres
from config.stack.account import account_for
from config.stack.keys import LOG_KEY, RECORD_KEY
from config.stack.ports import GRPC_OFFSET
from config.stack.postgres import Postgres
from config.stack.seaweed import Seaweed, SeaweedPorts
from config.stack.state import State
from config.stack.valkey import Valkey

DATABASE = "prooftrail"
BUCKET = "prooftrail"
_STORE_PORTS = ("master", "volume", "filer", "admin")


@dataclass(frozen=True)
class Engines:
    """Not started yet."""

    postgres: Postgres
    valkey: Valkey
    seaweed: Seaweed


def engines_of(state: State) -> Engines:
    logs = state.data_dir / "logs"
    home = state.postgres_home
    store = SeaweedPorts(**{name: state.ports[name] for name in ("s3", *_STORE_PORTS)})
    return Engines(
        Postgres(
            home,
            state.ports["postgres"],
            state.superuser_password(),
            logs / "postgres.log",
            account_for(home),
            marker=state.marker,
        ),
        Valkey(
            state.data_dir / "valkey",
            state.ports["valkey"],
            state.secrets["valkey"],
            logs / "valkey.log",
            marker=state.marker,
        ),
        Seaweed(
            state.data_dir / "seaweed",
            store,
            state.secrets["s3_access"],
            state.secrets["s3_secret"],
            logs / "seaweed.log",
            marker=state.marker,
        ),
    )


def environment_of(state: State, engines: Engines, *, port: int) -> dict[str, str]:
    """What ``DATA_DIR/env`` says: everything by which a command finds this stack."""
    database, data_dir = engines.postgres, state.data_dir
    return {
        "DATA_DIR": str(data_dir),
        "PROOFTRAIL_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": state.secrets["django"],
        "DATABASE_URL": database.url(postgres.RUNTIME, state.secrets["runtime"], DATABASE),
        "OWNER_DATABASE_URL": database.url(postgres.OWNER, state.secrets["owner"], DATABASE),
        "BROKER_URL": engines.valkey.url(),
        "S3_ENDPOINT_URL": engines.seaweed.url,
        "S3_BUCKET": BUCKET,
        "S3_REGION": engines.seaweed.region,
        "S3_ACCESS_KEY_ID": engines.seaweed.access_key,
        "S3_SECRET_ACCESS_KEY": engines.seaweed.secret_key,
        "LOG_KEY_FILE": str(data_dir / "keys" / LOG_KEY),
        "RECORD_KEY_FILE": str(data_dir / "keys" / RECORD_KEY),
        "EMAIL_URL": os.environ.get("EMAIL_URL") or "filemail://",
        "STATIC_ROOT": str(data_dir / "static"),
        "PROOFTRAIL_DATA_PATHS": os.environ.get("PROOFTRAIL_DATA_PATHS", ""),
        "EMBEDDED_STORE_PORTS": _inner_ports(state),
        "EMBEDDED_POSTGRES_BIN": str(postgres.reachable_binaries(state.postgres_home, database.account)),
    }


def _inner_ports(state: State) -> str:
    """Every port of the object store but S3 itself, for those who want to try them."""
    ports = [state.ports[name] for name in _STORE_PORTS]
    twins = [state.ports[name] + GRPC_OFFSET for name in ("s3", *_STORE_PORTS)]
    return " ".join(str(port) for port in (*ports, *twins))


def folders(state: State) -> list[Path]:
    """Everything that belongs to a data folder, wherever it lies."""
    return [state.postgres_home, state.data_dir]
