"""The three engines of one data folder, as its state describes them, and the environment that leads to them."""

import os
from dataclasses import dataclass
from pathlib import Path

from config.stack import postgres
from config.stack.account import account_for
from config.stack.keys import LOG_KEY, RECORD_KEY
from config.stack.ports import GRPC_OFFSET
from config.stack.postgres import Postgres
from config.stack.seaweed import Credential, Credentials, Seaweed, SeaweedPorts
from config.stack.state import State
from config.stack.valkey import Valkey

DATABASE = "prooftrail"
BUCKET = "prooftrail"
ANCHOR_BUCKET = "prooftrail-anchors"
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
            Credentials(*(_credential(state, name) for name in ("s3_admin", "s3", "s3_anchor"))),
            logs / "seaweed.log",
            BUCKET,
            ANCHOR_BUCKET,
            marker=state.marker,
        ),
    )


def _credential(state: State, name: str) -> Credential:
    return Credential(state.secrets[f"{name}_access"], state.secrets[f"{name}_secret"])


def environment_of(state: State, engines: Engines, *, port: int) -> dict[str, str]:
    """What ``DATA_DIR/env`` says: everything by which a command finds this stack."""
    database, store, data_dir = engines.postgres, engines.seaweed, state.data_dir
    return {
        "DATA_DIR": str(data_dir),
        "PROOFTRAIL_URL": f"http://127.0.0.1:{port}",
        "SECRET_KEY": state.secrets["django"],
        "METRICS_TOKEN": state.secrets["metrics"],
        "DATABASE_URL": database.url(postgres.RUNTIME, state.secrets["runtime"], DATABASE),
        "OWNER_DATABASE_URL": database.url(postgres.OWNER, state.secrets["owner"], DATABASE),
        "BROKER_URL": engines.valkey.url(),
        "S3_ENDPOINT_URL": store.url,
        "S3_BUCKET": store.bucket,
        "S3_REGION": store.region,
        "S3_ACCESS_KEY_ID": store.credentials.service.access_key,
        "S3_SECRET_ACCESS_KEY": store.credentials.service.secret_key,
        "S3_ANCHOR_BUCKET": store.anchor_bucket,
        "S3_ANCHOR_ACCESS_KEY_ID": store.credentials.anchors.access_key,
        "S3_ANCHOR_SECRET_ACCESS_KEY": store.credentials.anchors.secret_key,
        "LOG_KEY_FILE": str(data_dir / "keys" / LOG_KEY),
        "RECORD_KEY_FILE": str(data_dir / "keys" / RECORD_KEY),
        "EMAIL_URL": os.environ.get("EMAIL_URL") or "filemail://",
        "STATIC_ROOT": str(data_dir / "static"),
        **{name: _absolute(os.environ.get(name, "")) for name in ("PROOFTRAIL_KINDS", "PROOFTRAIL_DATA_PATHS")},
        "EMBEDDED_STORE_PORTS": _inner_ports(state),
        "EMBEDDED_POSTGRES_BIN": str(postgres.reachable_binaries(state.postgres_home, database.account)),
    }


def _absolute(folders: str) -> str:
    """Folders with commas between, wherever a command is started from."""
    return ",".join(os.path.abspath(folder) for folder in folders.split(",") if folder)


def _inner_ports(state: State) -> str:
    """Every port of the object store but S3 itself, for those who want to try them."""
    ports = [state.ports[name] for name in _STORE_PORTS]
    twins = [state.ports[name] + GRPC_OFFSET for name in ("s3", *_STORE_PORTS)]
    return " ".join(str(port) for port in (*ports, *twins))


def folders(state: State) -> list[Path]:
    """Everything that belongs to a data folder, wherever it lies."""
    return [state.postgres_home, state.data_dir]
