"""The embedded engines are as closed as production ones: what each of these tries was open by default."""

import json
import re
import socket
import ssl
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import psycopg
import pytest
import redis
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.config.stack.running import RunningStack, clean_environment, free_port, listening_addresses
from tests.engines import ROOT

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.xdist_group("closed"),
]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    running = RunningStack(tmp_path_factory.mktemp("closed") / "data")
    try:
        running.start()
        yield running
        assert running.end() == 0
    finally:
        running.remove()


@pytest.fixture
def store(stack: RunningStack) -> "S3Client":
    env = stack.env
    return boto3.client(
        "s3",
        endpoint_url=env["S3_ENDPOINT_URL"],
        region_name=env["S3_REGION"],
        aws_access_key_id=env["S3_ACCESS_KEY_ID"],
        aws_secret_access_key=env["S3_SECRET_ACCESS_KEY"],
        config=Config(signature_version="s3v4"),
    )


def test_it_listens_on_loopback_and_nowhere_else(stack: RunningStack) -> None:
    addresses = listening_addresses(stack.pids())
    assert {address.rpartition(":")[0] for address in addresses} == {"127.0.0.1"}
    wanted = {stack.port, *stack.state["ports"].values()}
    assert wanted <= {int(address.rpartition(":")[2]) for address in addresses}


def test_it_shows_its_secrets_to_its_own_account_only(stack: RunningStack) -> None:
    secrets = set(stack.state["secrets"].values())
    inside = [path for path in stack.data_dir.rglob("*") if path.is_file() and "static" not in path.parts]
    holding = [path for path in inside if any(secret.encode() in path.read_bytes() for secret in secrets)]
    assert {path.name for path in holding} >= {"env", "state.json", "valkey.conf", "s3.json"}
    keys = [*stack.data_dir.glob("keys/*"), stack.data_dir / "postgres-superuser"]
    for path in [*holding, *keys, stack.data_dir / "seaweed" / "security.toml"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for pid in stack.pids():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not any(secret.encode() in command for secret in secrets), command


def test_it_refuses_strangers_at_every_engine(stack: RunningStack) -> None:
    ports = stack.state["ports"]
    for user in ("postgres", "prooftrail_owner", "prooftrail_runtime"):
        with pytest.raises(psycopg.OperationalError, match=r"no password supplied|password authentication failed"):
            psycopg.connect(host="127.0.0.1", port=ports["postgres"], user=user, dbname="prooftrail").close()
    with redis.Redis(port=ports["valkey"]) as stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
    assert _status("GET", f"http://127.0.0.1:{ports['s3']}/prooftrail") == 403


def test_it_keeps_the_owner_of_the_tables_from_the_service(stack: RunningStack) -> None:
    children = {child["command"]: child["pid"] for child in stack.state["children"]}
    served = [pid for command, pid in children.items() if "config.web" in command or "celery" in command]
    assert len(served) == 3
    (worker,) = (pid for command, pid in children.items() if "celery" in command and " worker " in command)
    for pid in served:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        assert b"OWNER_DATABASE_URL=" in variables
        assert (b"S3_ANCHOR_SECRET_ACCESS_KEY=" in variables) == (pid != worker)  # named, but empty
    with psycopg.connect(stack.env["DATABASE_URL"]) as runtime:
        owned = runtime.execute("SELECT count(*) FROM pg_class WHERE relowner = current_user::regrole").fetchone()
        assert owned == (0,)


def test_it_protects_a_locked_object_at_every_port_of_the_store(stack: RunningStack, store: "S3Client") -> None:
    until = datetime.now(UTC) + timedelta(days=1)
    body = bytes(range(256)) * 200
    put = store.put_object(
        Bucket="prooftrail",
        Key="locked/object",
        Body=body,
        ObjectLockMode="COMPLIANCE",
        ObjectLockRetainUntilDate=until,
        ChecksumAlgorithm="SHA256",
    )
    _try_s3(store, put["VersionId"])
    tried = {port: _try_http(port) for port in _inner_http_ports(stack)}
    assert all(status in {400, 401, 403, 404, 405} for answers in tried.values() for status in answers.values()), tried
    for port in (int(port) for port in stack.env["EMBEDDED_STORE_PORTS"].split()):
        if port not in tried:
            assert _refuses_without_certificate(port), port
    assert store.get_object(Bucket="prooftrail", Key="locked/object")["Body"].read() == body


def _try_s3(store: "S3Client", version: str) -> None:
    with pytest.raises(ClientError, match="AccessDenied"):
        store.delete_object(Bucket="prooftrail", Key="locked/object", VersionId=version)
    with pytest.raises(ClientError, match="AccessDenied"):
        store.delete_object(Bucket="prooftrail", Key="locked/object", VersionId=version, BypassGovernanceRetention=True)
    sooner = datetime.now(UTC) + timedelta(minutes=1)
    with pytest.raises(ClientError, match="AccessDenied"):
        store.put_object_retention(
            Bucket="prooftrail",
            Key="locked/object",
            VersionId=version,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": sooner},
        )
    with pytest.raises(ClientError, match="AccessDenied"):
        store.delete_bucket(Bucket="prooftrail")


def _inner_http_ports(stack: RunningStack) -> list[int]:
    return [stack.state["ports"][name] for name in ("master", "volume", "filer", "admin")]


def _try_http(port: int) -> dict[str, int]:
    """Each of these destroyed objects, or handed out the token to do so, on a store with default settings."""
    attempts = {
        "DELETE": ["/buckets/prooftrail/locked/object", "/buckets/prooftrail?recursive=true", "/1,0123456789"],
        "GET": ["/col/delete?collection=prooftrail", "/dir/lookup?fileId=1,0123456789", "/dir/assign", "/vol/vacuum"],
        "POST": ["/col/delete?collection=prooftrail", "/submit", "/delete?fid=1,0123456789"],
    }
    return {
        f"{method} {path}": _status(method, f"http://127.0.0.1:{port}{path}")
        for method, paths in attempts.items()
        for path in paths
    }


def _status(method: str, url: str) -> int:
    try:
        request = urllib.request.Request(url, method=method)  # noqa: S310 -- an http address of this machine
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 -- the same
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def _refuses_without_certificate(port: int) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04" + bytes(5))
                return not secured.recv(100)
        except ssl.SSLError as error:
            return "CERTIFICATE_REQUIRED" in str(error).upper().replace(" ", "_")


def test_it_is_found_by_any_command_through_its_env_file(stack: RunningStack) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--database", "default"],
        cwd=ROOT,
        env=clean_environment(DATA_DIR=str(stack.data_dir)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_it_says_the_administrators_password_once(stack: RunningStack) -> None:
    (password,) = re.findall(r"the administrator is \S+, password (\S+) ", stack.said())
    assert len(password) >= 12
    kept = [path for path in stack.data_dir.rglob("*") if path.is_file() and password.encode() in path.read_bytes()]
    assert kept == []


def test_it_refuses_a_second_start_in_the_same_folder(stack: RunningStack) -> None:
    code, said = _try_start(stack.data_dir, free_port())
    assert code == 1
    assert re.search(r"^error: A stack is already running in .* \(process \d+\)\. ", said)
    assert stack.is_healthy()


def test_it_names_a_taken_port_and_how_to_choose_another(stack: RunningStack, data_dir: Path) -> None:
    code, said = _try_start(data_dir, stack.port)
    assert code == 1
    assert said.startswith(f"error: Port {stack.port} is taken by another program. Choose another one: PORT=")
    assert json.loads((data_dir / "state.json").read_text())["children"] == []


def _try_start(data_dir: Path, port: int) -> tuple[int, str]:
    tried = subprocess.run(
        [sys.executable, "-m", "config.stack", "run", "--port", str(port)],
        cwd=ROOT,
        env=clean_environment(DATA_DIR=str(data_dir)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    return tried.returncode, tried.stdout
