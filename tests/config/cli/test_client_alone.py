"""Installing the client alone: an environment of the wheel's base requirements and nothing else."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.client import install
from tests.engines import ROOT

GOLDEN = ROOT / "tests" / "evidence" / "tlog" / "golden"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return install(tmp_path_factory.mktemp("client"))


def run(client: Path, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """In an environment that knows nothing of this one."""
    env = {"PATH": f"{client}:/usr/bin:/bin", "HOME": str(cwd)}
    return subprocess.run([str(client / command[0]), *command[1:]], cwd=cwd, env=env, capture_output=True, text=True)


def test_it_installs_no_django_and_works(client: Path, tmp_path: Path) -> None:
    listed = "import importlib.metadata as m; print(*sorted(d.name.lower() for d in m.distributions()))"
    there = run(client, "python", "-c", listed, cwd=tmp_path).stdout.split()
    assert "prooftrail" in there
    assert not {"django", "djangorestframework", "celery", "boto3", "psycopg", "uvicorn"} & set(there)
    assert run(client, "python", "-c", "import django", cwd=tmp_path).returncode == 1
    assert run(client, "prooftrail", "--help", cwd=tmp_path).returncode == 0
    assert run(client, "prooftrail", "keygen", "--out", "ci.pem", cwd=tmp_path).returncode == 0
    receipt, key = str(GOLDEN / "receipt-service.json"), str(GOLDEN / "log.vkey")
    verified = run(client, "prooftrail", "verify", receipt, "--log-key", key, "--json", cwd=tmp_path)
    assert json.loads(verified.stdout)["result"] == "verified", verified.stderr


def test_every_command_loads_there(client: Path, tmp_path: Path) -> None:
    modules = "import pkgutil, importlib, config.cli as c; "
    found = "pkgutil.walk_packages(c.__path__, 'config.cli.')"
    walk = f"[importlib.import_module(m.name) for m in {found} if '__main__' not in m.name]"
    loaded = run(client, "python", "-c", modules + walk + "; import compliance.packs.verifier", cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr
