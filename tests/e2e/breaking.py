"""What comes between a step of the demonstration and the product, so that the step must not hold."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from shlex import quote

from tests.e2e.demonstration import Demonstration
from tests.e2e.meddler import Answer, Change

API = "/api/v1/"
Prepare = Callable[[Demonstration, Path], dict[str, str]]


@dataclass(frozen=True)
class Break:
    """One thing is other than it should be: in an answer (``change``) or in the environment (``prepare``)."""

    step: int
    name: str
    complaint: str  #: part of what the step says when it notices
    change: Change | None = None
    prepare: Prepare | None = None
    patience: float | None = None  #: seconds after which waiting is given up

    def __str__(self) -> str:
        return f"{self.step}-{self.name}".replace(" ", "-")

    def environment(self, demonstration: Demonstration, folder: Path) -> dict[str, str]:
        prepared = self.prepare(demonstration, folder) if self.prepare else {}
        return prepared if self.patience is None else prepared | {"PATIENCE": str(self.patience)}


# -- answers ---------------------------------------------------------------------------------------------------------


def _read(pattern: str, answer: Answer) -> bool:
    """Whether this is a good answer to a GET of such a path of the API."""
    found = re.fullmatch(API + pattern, answer.url.path)
    return answer.method == "GET" and answer.status == 200 and found is not None


def one_more_failed(answer: Answer) -> None:
    if _read("deployments", answer):
        answer.data |= {"counts": answer.data["counts"] | {"succeeded": 42, "failed": 2}}


def history_on_time(answer: Answer) -> None:
    if _read("releases/[^/]+/plan", answer):
        lines = answer.data["expected"]
        answer.data |= {"expected": [lines[0] | {"state": "present"}, *lines[1:]]}


def gate_always_green(answer: Answer) -> None:
    if _read("releases/[^/]+/gate", answer):
        rows = [row | {"state": "met"} for row in answer.data["requirements"]]
        answer.data |= {"passed": True, "requirements": rows}


def another_captain(answer: Answer) -> None:
    if _read("releases/[^/]+", answer):
        answer.data |= {"captain": "Somebody Else"}


def another_index(answer: Answer) -> None:
    if _read("releases/[^/]+", answer):
        answer.data |= {"opened_by": answer.data["opened_by"] + 1}


def another_manifest(answer: Answer) -> None:
    if _read("releases/[^/]+", answer):
        answer.data |= {"manifest_digest": "sha256:" + "0" * 64}


def flipped_receipt(answer: Answer) -> None:
    """The first byte of the leaf."""
    if answer.method == "POST" and answer.url.path == API + "records" and answer.status == 201:
        leaf = answer.data["leaf"]
        answer.data |= {"leaf": ("B" if leaf[0] == "A" else "A") + leaf[1:]}


def unlocked_artifact(answer: Answer) -> None:
    if _read("artifacts/[0-9a-f]{64}", answer):
        answer.data = {"artifact": answer.data["artifact"] | {"locked_until": None}}


def self_approval_taken(answer: Answer) -> None:
    if answer.status == 403 and answer.data.get("code") == "self_approval":
        answer.status = 201


def refused_for_another_reason(answer: Answer) -> None:
    if answer.status == 403 and answer.data.get("code") == "self_approval":
        answer.data |= {"code": "role_not_assigned", "title": "Refused", "detail": "Refused"}


def qa_missing(answer: Answer) -> None:
    if _read("releases/[^/]+", answer):
        answer.data |= {"approvals": [row for row in answer.data["approvals"] if row["role"] != "qa"]}


def timeline_out_of_order(answer: Answer) -> None:
    if _read("releases/[^/]+/timeline", answer):
        rows = answer.data["results"]
        answer.data |= {"results": [rows[1], rows[0], *rows[2:]]}


def metrics_late(answer: Answer) -> None:
    if _read("releases/[^/]+/timeline", answer):
        rows = answer.data["results"]
        answer.data |= {"results": [*rows[:-1], rows[-1] | {"timeliness": "late"}]}


def expired_from_the_start(answer: Answer) -> None:
    if _read("exceptions/EXC-[0-9]+", answer) and answer.data["title"].startswith("Tiingo"):
        answer.data |= {"state": "expired"}


def another_pack(answer: Answer) -> None:
    if _read("packs/[^/]+", answer) and answer.data.get("sha256"):
        answer.data |= {"sha256": "0" * 64}


def delete_taken_by_s3(answer: Answer) -> None:
    if answer.method == "DELETE" and "versionId=" in answer.url.query:
        answer.status, answer.content = 204, b""


def delete_taken_by_a_port(answer: Answer) -> None:
    if answer.method == "DELETE" and answer.url.path.startswith("/buckets/"):
        answer.status = 200


def governance_mode(answer: Answer) -> None:
    if answer.method == "GET" and "retention" in answer.url.query:
        answer.content = answer.content.replace(b"COMPLIANCE", b"GOVERNANCE")


def never_disposed(answer: Answer) -> None:
    if _read("records/[0-9]+", answer):
        answer.data |= {"disposed": False}


def hold_ignored(answer: Answer) -> None:
    held = _read("records/[0-9]+", answer) and (answer.data.get("body") or {}).get("note") == "under a legal hold"
    if held:
        answer.data |= {"disposed": True}


def file_remains(answer: Answer) -> None:
    if answer.url.path.startswith(API + "artifacts/") and answer.status == 404:
        answer.status = 200


def wrong_proof(answer: Answer) -> None:
    """The first hash of a proof is another one."""
    if _read("records/[0-9]+/proof", answer):
        lines = answer.content.split(b"\n")
        lines[2] = (b"B" if lines[2].startswith(b"A") else b"A") + lines[2][1:]
        answer.content = b"\n".join(lines)


def a_day_less(answer: Answer) -> None:
    if _read("records/[0-9]+", answer) and answer.data["kind"] == "deploy.log":
        until = datetime.fromisoformat(answer.data["retain_until"]) - timedelta(days=1)
        answer.data |= {"retain_until": until.isoformat()}


def release_not_on_the_page(answer: Answer) -> None:
    if answer.url.path == "/reports/monthly/":
        answer.content = re.sub(rb"release-\d{8}", b"release-of-another-day", answer.content)


# -- environment -----------------------------------------------------------------------------------------------------


def no_mail(demonstration: Demonstration, folder: Path) -> dict[str, str]:
    return {"MAIL_FOLDER": str(folder)}


def obliging_psql(demonstration: Demonstration, folder: Path) -> dict[str, str]:
    return {"PSQL": "/bin/true"}


def idle_psql(demonstration: Demonstration, folder: Path) -> dict[str, str]:
    """Takes an UPDATE and changes nothing."""
    return {"PSQL": _script(folder, 'case "$*" in *UPDATE*) exit 0 ;; esac\nexec psql "$@"')}


def cli_with_original(copy: str) -> Prepare:
    """A command line that is given the pack as it was, whatever was done to this copy."""

    def prepare(demonstration: Demonstration, folder: Path) -> dict[str, str]:
        original = json.loads(demonstration.memory.read_text())["pack_path"]
        exchange = f'case "$*" in verify*{copy}*) cp {quote(original)} "$2" ;; esac'
        return {"CLI": _script(folder, f'{exchange}\nexec {_command_line()} "$@"')}

    return prepare


def mute_cli(demonstration: Demonstration, folder: Path) -> dict[str, str]:
    """A command line that looks at no receipt."""
    return {"CLI": _script(folder, f'case "$*" in verify*.json*) exit 0 ;; esac\nexec {_command_line()} "$@"')}


def cli_that_trusts_all(demonstration: Demonstration, folder: Path) -> dict[str, str]:
    """A command line whose verification of a pack without a key succeeds."""
    trusting = 'case "$*" in *--log-key*) ;; verify*.zip) echo verified; exit 0 ;; esac'
    return {"CLI": _script(folder, f'{trusting}\nexec {_command_line()} "$@"')}


def _command_line() -> str:
    return quote(str(Path(sys.executable).parent / "prooftrail"))


def _script(folder: Path, text: str) -> str:
    path = folder / "command"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


BREAKS = [
    Break(0, "one more has failed", "43 deployments succeeded, 1 failed", one_more_failed),
    Break(0, "history on time", "every line of it says backfilled", history_on_time),
    Break(1, "another captain", "the release keeps its captain", another_captain),
    Break(1, "another index", "its record is index", another_index),
    Break(2, "a flipped byte in a receipt", "receipt does not verify", flipped_receipt),
    Break(2, "receipts unread", "receipt verified offline", prepare=mute_cli),
    Break(2, "another manifest", "the release names the manifest", another_manifest),
    Break(2, "an unlocked artifact", "lies under lock until", unlocked_artifact),
    Break(3, "the author approves", "not 3", self_approval_taken),
    Break(3, "another reason", "the author, is refused: self_approval", refused_for_another_reason),
    Break(3, "an approval is missing", "four approvals of this manifest stand", qa_missing),
    Break(3, "a gate that lets everything through", "ended with 0, not 1", gate_always_green),
    Break(4, "a timeline out of order", "the timeline is in order of receipt", timeline_out_of_order),
    Break(4, "late metrics", "the metrics snapshot came on time", metrics_late),
    Break(5, "the requester approves", "who asked for it, may not approve", self_approval_taken),
    Break(5, "no reminder", "beat and worker send the reminder", prepare=no_mail, patience=8),
    Break(5, "expired from the start", "is expired until", expired_from_the_start),
    Break(6, "another pack", "the auditor, downloaded", another_pack),
    Break(6, "not in compliance mode", "is locked in compliance mode", governance_mode),
    Break(6, "nobody's signature will do", ".zip …` ended with 0, not 1", prepare=cli_that_trusts_all),
    Break(6, "S3 deletes", "S3 deleted the locked version", delete_taken_by_s3),
    Break(6, "a port deletes", "of the store took a DELETE: 200", delete_taken_by_a_port),
    Break(7, "nothing is disposed of", "the worker disposes: it did not happen", never_disposed, patience=3),
    Break(7, "its file remains", "its file goes too: it did not happen", file_remains, patience=3),
    Break(7, "a wrong proof", "ended with 1, not 0", wrong_proof),
    Break(7, "a hold is ignored", "under hold", hold_ignored),
    Break(7, "a day less than 13 months", "13 months: found", a_day_less),
    Break(7, "the database deletes", "-A -t …` ended with 0, not 1", prepare=obliging_psql),
    Break(8, "no report", "the worker builds and mails the report", prepare=no_mail, patience=8),
    Break(8, "the page lacks the release", "the page on screen shows", release_not_on_the_page),
    Break(
        9,
        "no byte was changed",
        "pack-one-byte.zip --log-key …` ended with 0, not 1",
        prepare=cli_with_original("pack-one-byte.zip"),
    ),
    Break(
        9,
        "not signed anew",
        "pack-resigned.zip --log-key …` ended with 0, not 1",
        prepare=cli_with_original("pack-resigned.zip"),
    ),
    Break(9, "no row was changed", "check_ledger …` ended with 0, not 1", prepare=idle_psql),
]
