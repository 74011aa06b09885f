"""What a data folder remembers between starts: ports, passwords, where PostgreSQL lives, and who was running."""

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from config.stack import ports
from config.stack.account import account_for, home_of_postgres
from config.stack.errors import StackError
from config.stack.files import write_private
from config.stack.processes import Identity

_PORTS = ("postgres", "valkey", "s3", "master", "volume", "filer", "admin")
_STORE_SECRETS = ("s3", "s3_admin", "s3_anchor")
_SECRETS = (
    *("owner", "runtime", "valkey", "django", "metrics"),
    *(f"{name}_{part}" for name in _STORE_SECRETS for part in ("access", "secret")),
)


@dataclass
class State:
    """The content of ``DATA_DIR/state.json`` (0600)."""

    data_dir: Path
    postgres_home: Path
    marker: str
    ports: dict[str, int]
    secrets: dict[str, str]
    children: list[Identity] = field(default_factory=list)

    def save(self) -> None:
        content = asdict(self) | {"data_dir": str(self.data_dir), "postgres_home": str(self.postgres_home)}
        write_private(_path(self.data_dir), json.dumps(content, indent=1))

    def choose_ports_again(self) -> None:
        """Keep the remembered ports, except the ones that somebody else took meanwhile."""
        for name, port in list(self.ports.items()):
            if not (ports.is_free(port) and ports.is_free(port + ports.GRPC_OFFSET)):
                (self.ports[name],) = ports.choose(1, taken=self.ports.values())

    def superuser_password(self) -> str:
        """Kept apart, for repair only: no process of the service reads it."""
        path = self.data_dir / "postgres-superuser"
        if not path.exists():
            write_private(path, secrets.token_urlsafe(24))
        return path.read_text()


def load(data_dir: Path) -> State | None:
    """What the folder remembers, None if it is not a data folder."""
    try:
        content = json.loads(_path(data_dir).read_text())
    except FileNotFoundError:
        return None
    content["children"] = [Identity(**child) for child in content["children"]]
    return State(**content | {"data_dir": data_dir, "postgres_home": Path(content["postgres_home"])})


def load_or_create(data_dir: Path) -> State:
    """The folder's state; at first start ports are chosen and passwords drawn."""
    state = load(data_dir)
    if state is None:
        state = State(
            data_dir=data_dir,
            postgres_home=home_of_postgres(data_dir, account_for(data_dir / "postgres")),
            marker=secrets.token_hex(8),
            ports=dict(zip(_PORTS, ports.choose(len(_PORTS)), strict=True)),
            secrets={},
        )
    for name in _SECRETS:  # a folder of an earlier version lacks some
        state.secrets.setdefault(name, secrets.token_urlsafe(48 if name == "django" else 24))
    state.save()
    return state


def make_data_dir(data_dir: Path) -> None:
    """Everyone may pass through it (PostgreSQL's account must, where root starts it); nobody else may list it."""
    try:
        data_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        if data_dir.stat().st_uid == os.geteuid():
            data_dir.chmod(0o711)
        probe = data_dir / ".writable"
        probe.touch()
        probe.unlink()
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise StackError(
            f"The data folder {data_dir} cannot be written ({error.strerror})",
            "Run as the account it belongs to, or choose another one: DATA_DIR=…",
        ) from error


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """One stack per data folder: the kernel frees the lock however its holder ends."""
    with open(os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StackError(
                f"A stack is already running in {data_dir} (process {file.read().strip() or 'unknown'})",
                "Use that one, stop it, or choose another folder and port: DATA_DIR=… PORT=…",
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def remember(state: State, children: Sequence[Identity]) -> None:
    """Note who runs, so that a start after a crash of the supervisor can tell them from strangers."""
    state.children = list(children)
    state.save()


def shell_lines(environment: Mapping[str, str]) -> str:
    """``export NAME='value'`` lines, for a shell and for the settings file alike."""
    for name, value in environment.items():
        if "'" in value or "\n" in value:
            raise StackError(
                f"{name} would hold a quote or a line break ({value!r})", "Choose a DATA_DIR without either."
            )
    return "".join(f"export {name}='{value}'\n" for name, value in environment.items())


def _path(data_dir: Path) -> Path:
    return data_dir / "state.json"
