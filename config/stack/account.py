"""PostgreSQL refuses to run as root: which account it runs under then, and which folders that account reaches."""

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from config.stack.errors import StackError

#: Where PostgreSQL's files go when its account cannot reach the data folder (a clone below a 0700 home).
ELSEWHERE = Path("/var/lib/prooftrail")
_BELONGS_TO = "belongs-to"
#: The name of a demonstration's data folder.
DEMO = ".prooftrail-demo"


@dataclass(frozen=True)
class Account:
    """An unprivileged account of this machine."""

    name: str
    uid: int
    gid: int


def service_account() -> Account | None:
    """The account for PostgreSQL, None if this process is unprivileged itself.

    No account is created: `postgres` where a package left one, `nobody` elsewhere. A bare number would
    not do, initdb looks its user up by name.
    """
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(name, entry.pw_uid, entry.pw_gid)
    raise StackError(
        "PostgreSQL does not run as root, and this machine has neither a `postgres` nor a `nobody` account",
        "Start as an ordinary user.",
    )


def identity_arguments(account: Account | None) -> dict[str, Any]:
    """Arguments of ``subprocess`` that make a child run as ``account`` and nothing more."""
    if account is None:
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def reaches(account: Account | None, folder: Path) -> bool:
    """Whether the account can enter ``folder``: asked of the kernel, since modes alone hide ACLs."""
    if account is None:
        return os.access(folder, os.X_OK)
    entered = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "sh", str(folder)],
        cwd="/",
        capture_output=True,
        check=False,
        **identity_arguments(account),
    )
    return entered.returncode == 0


def runs(account: Account | None, program: Path) -> bool:
    """Whether the account can start ``program``."""
    try:
        tried = subprocess.run(
            [program, "--version"], cwd="/", capture_output=True, check=False, **identity_arguments(account)
        )
    except OSError:
        return False
    return tried.returncode == 0


def own_folder(folder: Path, account: Account | None) -> None:
    """Create ``folder`` as 0700 of the account; parents are made if missing and never changed."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    folder.chmod(0o700)


def account_for(home: Path) -> Account | None:
    """Root goes on with the account that owns an existing database; a new one gets `service_account`."""
    if os.geteuid() == 0 and (home / "data" / "PG_VERSION").exists():
        owner = (home / "data").stat()
        return Account(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    return service_account()


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def home_of_postgres(data_dir: Path, account: Account | None) -> Path:
    """The folder for a new PostgreSQL's files, created: below the data folder where its account gets there."""
    inside = data_dir / "postgres"
    own_folder(inside, account)
    if reaches(account, inside):
        return inside
    shutil.rmtree(inside)
    ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
    _forget_lost_demonstrations()
    digest = hashlib.sha256(str(data_dir).encode()).hexdigest()[:12]
    outside = ELSEWHERE / f"{data_dir.parent.name}-{digest}"
    own_folder(outside, account)
    (outside / _BELONGS_TO).write_text(str(data_dir))
    return outside


def _forget_lost_demonstrations() -> None:
    """A checkout that was deleted without `make reset` leaves its database here. Only demonstrations are
    removed for that: the folder of a real one may lie on a disk that is not mounted today."""
    for note in ELSEWHERE.glob(f"*/{_BELONGS_TO}"):
        data_dir = Path(note.read_text())
        if data_dir.name == DEMO and not data_dir.parent.exists():
            shutil.rmtree(note.parent, ignore_errors=True)
