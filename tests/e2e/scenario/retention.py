"""Step 7: what may go goes, what is held stays, what is retained cannot be dropped."""

import json
import os
from datetime import datetime
from typing import Any

from dateutil.relativedelta import relativedelta

from tests.e2e.scenario import company
from tests.e2e.scenario.objects import kept_versions
from tests.e2e.scenario.stage import Stage, expect, same, wait_for


def step_7_retention(stage: Stage) -> None:
    """A one-minute record is disposed of and still proven; a held one stays; deploy logs stand for 13 months"""
    short, held = stage.state["short"], stage.state["held"]

    def disposed() -> dict[str, Any] | None:
        record: dict[str, Any] = stage.get("cora", f"records/{short}")
        return record if record["disposed"] else None

    record = wait_for("the minute is over and the worker disposes", disposed, seconds=120)
    reason = stage.get("cora", f"records/{record['disposed_by']}")
    expect(
        reason["kind"] == "retention.disposed" and short in reason["body"]["records"],
        f"record {short} was disposed of by record {record['disposed_by']}, rule {reason['body']['rule']}",
    )
    expect("envelope" not in record and record["leaf"], "its content is gone, its leaf is kept")
    _object_gone(stage)
    _still_proven(stage, short)
    kept = stage.get("cora", f"records/{held}")
    expect(not kept["disposed"] and kept["body"]["note"], f"record {held}, under hold {stage.state['hold']}, stays")
    _thirteen_months(stage)


def _object_gone(stage: Stage) -> None:
    """First the product says so, then the store itself, which goes on keeping the other files."""
    digest = stage.state["scratch"]

    def gone() -> bool | None:
        with stage.api("ci") as client:
            found = client.get(f"artifacts/{digest}", params={"system": company.SYSTEM})
        return True if found.status_code == 404 else None

    wait_for("its file goes too", gone, seconds=60)
    keys = kept_versions("artifacts/")
    expect(keys and not any(digest in key for key in keys), "its file is gone from the store, every version of it")


def _still_proven(stage: Stage, index: int) -> None:
    """The kept receipt verifies, and so it does with the proof that the log gives today."""
    files = sorted((stage.files / "receipts").glob("*custom.scratch.json"))
    path = next(path for path in files if json.loads(path.read_text())["index"] == index)
    stage.cli("verify", path, "--log-key", stage.state["log_key"])
    with stage.api("ci") as client:
        proof = client.get(f"records/{index}/proof").text
    expect(proof.startswith(f"c2sp.org/tlog-proof@v1\nindex {index}\n"), "the log still gives a proof of its leaf")
    today = path.with_name(f"today-{index}.json")
    checkpoint = proof.partition("\n\n")[2]
    today.write_text(json.dumps(json.loads(path.read_text()) | {"proof": proof, "checkpoint": checkpoint}))
    try:
        printed = stage.cli("verify", today, "--log-key", stage.state["log_key"])
    finally:
        today.unlink()
    size = checkpoint.split("\n")[1]
    expect(printed.rstrip().endswith("verified"), f"its receipt and its proof of today, in {size} records, verify")


def _thirteen_months(stage: Stage) -> None:
    index = stage.state["deploy_log"]
    log = stage.get("cora", f"records/{index}")
    received = datetime.fromisoformat(log["at"])
    until = datetime.fromisoformat(log["retain_until"])
    same(until, received + relativedelta(months=13), f"the deploy log is retained until {until:%Y-%m-%d}, 13 months")
    sql = f"DELETE FROM evidence_payload WHERE index = {index}"
    refused = stage.psql(sql, url=os.environ["DATABASE_URL"], code=1)
    expect("is retained until" in refused, "the runtime role cannot delete it: the database refuses")
    script = f"from evidence.models import Payload; Payload.objects.filter(index={index}).delete()"
    refused = stage.manage("shell", "-v", "0", "-c", script, code=1)
    expect("is retained until" in refused, "nor can a script inside the service")
    same(stage.get("cora", f"records/{index}")["disposed"], False, "it is still there")
