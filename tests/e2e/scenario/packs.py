"""Step 6: a SOC 2 pack, from the request to its verification by a stranger, and tries to delete it."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import httpx
from botocore.exceptions import ClientError

from tests.e2e.scenario import company
from tests.e2e.scenario.objects import store_client
from tests.e2e.scenario.stage import NotHeldError, Stage, expect, same, tick, wait_for


def step_6_pack(stage: Stage) -> None:
    """A SOC 2 pack for the quarter: built by the worker, locked, downloaded, verified, and not to be deleted"""
    quarter = company.quarter(company.TODAY)
    asked = json.loads(stage.cli("pack", "request", "--quarter", quarter, "--json", who="lea"))["pack"]
    tick(f"pack {asked['id']} for {quarter} is {asked['state']}")

    def finished() -> dict[str, Any] | None:
        pack: dict[str, Any] = json.loads(stage.cli("pack", "status", asked["id"], "--json", who="lea"))
        pack = pack.get("pack", pack)
        if pack["state"] == "failed":
            raise NotHeldError(f"the pack failed: {pack['error']}")
        return pack if pack["state"] == "ready" else None

    pack = wait_for("the worker builds the pack", finished, seconds=120)
    path = stage.files / f"pack-{pack['id']}.zip"
    path.unlink(missing_ok=True)
    stage.cli("pack", "download", pack["id"], "--out", path, who="ada")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    same(digest, pack["sha256"], f"Ada, the auditor, downloaded {path.stat().st_size} bytes by a presigned URL")
    stage.remember(pack=pack, pack_path=str(path))
    _locked(pack)
    _verified(stage, path)
    _not_deleted(pack)


def _verified(stage: Stage, path: Path) -> None:
    printed = stage.cli("verify", path, "--log-key", stage.state["log_key"])
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    print("".join(f"      {line}\n" for line in lines), end="", flush=True)
    steps = [line for line in lines if line.startswith("✓ ")]
    expect(
        len(steps) >= 11 and lines[-1].endswith("verified"),
        "the pack verifies with the log key that was noted in step 1",
    )
    stage.remember(verification=steps)
    unknown = stage.cli("verify", path, fails=1)
    expect("consistent, signer unknown" in unknown, "without a key it is “consistent, signer unknown”, exit code 1")


def _object(pack: dict[str, Any]) -> dict[str, str]:
    return {"Bucket": os.environ["S3_BUCKET"], "Key": pack["s3_key"], "VersionId": pack["version_id"]}


def _locked(pack: dict[str, Any]) -> None:
    lock = store_client().get_object_retention(**_object(pack))["Retention"]
    until = lock["RetainUntilDate"]
    expect(
        lock["Mode"] == "COMPLIANCE" and until.isoformat()[:19] == pack["locked_until"][:19],
        f"s3://{os.environ['S3_BUCKET']}/{pack['s3_key']} is locked in compliance mode until {until:%Y-%m-%d}",
    )


def _not_deleted(pack: dict[str, Any]) -> None:
    store = store_client()
    try:
        store.delete_object(**_object(pack))
    except ClientError as error:
        tick(f"deleting the version through S3 is refused: {error.response['Error']['Code']}")
    else:
        raise NotHeldError("S3 deleted the locked version")
    _other_ports(pack)
    size = store.head_object(**_object(pack))["ContentLength"]
    same(size, pack["size"], "the locked version is still there, whole")


def _other_ports(pack: dict[str, Any]) -> None:
    """The store's own ports speak HTTP without S3's rules: none of them may delete."""
    bucket = f"/buckets/{os.environ['S3_BUCKET']}"
    targets = [f"{bucket}/{pack['s3_key']}", f"{bucket}?recursive=true", "/1,01637037d6"]
    answers: dict[str, set[int]] = {}
    for port in os.environ["EMBEDDED_STORE_PORTS"].split():
        for target in targets:
            try:
                found = httpx.delete(f"http://127.0.0.1:{port}{target}", timeout=5)
            except httpx.HTTPError:
                continue  # closed, or speaking gRPC
            if found.is_success:
                raise NotHeldError(f"port {port} of the store took a DELETE: {found.status_code}")
            answers.setdefault(port, set()).add(found.status_code)
    refused = any(401 in statuses for statuses in answers.values())
    expect(refused, f"its other ports refuse: {'; '.join(f'{p}: {sorted(s)}' for p, s in answers.items())}")
