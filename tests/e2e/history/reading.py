"""The files as lines of `POST records/batch`, in the order in which they are sent.

A file names its ``system``, a ``note`` on what in it is documented and what illustrative, ``entries`` of the system,
``releases`` in full and ``deployments``, one line each, that are written out here. An entry is
``{kind, at, body, by?}``; ``by: person`` where only people may post the kind.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent
SYSTEMS = ("bondx", "netlify-trading", "nifty-trading", "novacron")
#: Kinds that say which build they are about: the manifest before them.
_OF_BUILD = ("test.result", "scan.result", "validation.result", "schema.diff", "deploy.started", "deploy.finished")
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Line:
    """A line of a batch, and the release that it names."""

    data: bytes
    release: str | None = None


@dataclass
class Lines:
    """What is sent in turn: releases are open before evidence names them, and closed when it is all there."""

    openings: list[Line] = field(default_factory=list)
    evidence: list[Line] = field(default_factory=list)
    by_people: list[Line] = field(default_factory=list)
    closings: list[Line] = field(default_factory=list)


def read(folder: Path = FOLDER) -> Lines:
    """The lines of all systems."""
    lines = Lines()
    for system in SYSTEMS:
        _add(lines, yaml.safe_load((folder / f"{system}.yaml").read_text()))
    return lines


@dataclass(frozen=True)
class Register:
    """The risk register: who owns what, as ``{name, email, role}``, and the file that is imported."""

    people: Sequence[Entry]
    data: bytes
    count: int


def register(folder: Path = FOLDER) -> Register:
    """``register.yaml``; each risk says that it is history, and what in it is illustrative."""
    told = yaml.safe_load((folder / "register.yaml").read_text())
    risks = [risk | {"description": told["notes"][risk["systems"][0]]} for risk in told["risks"]]
    return Register(told["people"], _json({"format": "prooftrail-risks", "version": 1, "risks": risks}), len(risks))


def _add(lines: Lines, history: Entry) -> None:
    system, team = history["system"], history.get("team", {})
    why = "So that nobody takes it for more than it is"
    told = {"title": f"History of {system}", "decision": history["note"], "rationale": why}
    lines.evidence.append(_line("decision", None, told, system=system))  # happened when it was entered
    for release in [*history.get("releases", []), *(_release(row, team) for row in history.get("deployments", []))]:
        _add_release(lines, system, release)
    for entry in history["entries"]:
        _place(lines, entry, _line(entry["kind"], entry["at"], entry["body"], system=system))


def _add_release(lines: Lines, system: str, release: Entry) -> None:
    opened = {"system": system, **release["open"]}
    name = f"{system}:{opened['tag']}"
    lines.openings.append(_line("release.opened", release["at"], opened))
    digest = None
    for entry in release["entries"]:
        body = entry["body"]
        if entry["kind"] == "deploy.manifest":
            digest = f"sha256:{_sha256(_json(body))}"
        elif entry["kind"] in _OF_BUILD and digest is not None:
            body = {**body, "manifest_digest": digest}
        _place(lines, entry, _line(entry["kind"], entry["at"], body, release=name))
    close = release["close"]
    lines.closings.append(_line("release.closed", close["at"], {"reason": close["reason"]}, release=name))


def _place(lines: Lines, entry: Entry, line: Line) -> None:
    (lines.by_people if entry.get("by") == "person" else lines.evidence).append(line)


def _line(kind: str, at: datetime | str | None, body: Entry, **where: str) -> Line:
    """One line. Its own content is its key: what is loaded again is the same, what was corrected is another record."""
    data = {"kind": kind, "body": body} | where | ({"occurred_at": at} if at is not None else {})
    return Line(_json(data | {"idempotency_key": f"history-{_sha256(_json(data))[:32]}"}), where.get("release"))


# -- a deployment in one line ------------------------------------------------------------------------------------------


def _release(row: Entry, team: Entry) -> Entry:
    """The release that a row of ``deployments`` stands for: ``{tag, at, minutes, change, outcome?, rollback?}``."""
    began, ended = row["at"], row["at"] + timedelta(minutes=row["minutes"])
    outcome = row.get("outcome", "succeeded")
    entries = [
        {"kind": "deploy.manifest", "at": began - timedelta(minutes=20), "body": _manifest(row, team)},
        {"kind": "deploy.started", "at": began, "body": {"environment": "production"}},
        {"kind": "deploy.finished", "at": ended, "body": {"environment": "production", "outcome": outcome}},
    ]
    back = row.get("rollback")
    if back:
        fixed = {"action": "Automated rollback", "owner": team["captain"], "flags_restored": True}
        entries.append({"kind": "rollback", "at": ended + timedelta(minutes=5), "body": fixed | back})
    return {
        "at": began - timedelta(hours=1),
        "open": {
            "tag": row["tag"],
            "type": "regular",
            "ticket_id": f"{team['ticket']}-{row['tag']}",
            "ticket_url": f"https://tickets.{team['site']}/{row['tag']}",
            "captain": team["captain"],
        },
        "entries": entries,
        "close": {
            "at": ended + timedelta(hours=1),
            "reason": "Rolled back, cause known" if back else "Deployed",
        },
    }


def _manifest(row: Entry, team: Entry) -> dict[str, Any]:
    seed = f"{team['site']} {row['tag']}".encode()
    site = team["site"]
    return {
        "commit": hashlib.sha1(seed, usedforsecurity=False).hexdigest(),
        "author": f"{team['author']}@{site}",
        "environment": "production",
        "artifacts": [{"name": f"{row['tag']}.tar.gz", "size": 10_485_760, "sha256": _sha256(seed)}],
        "summary": {"Platform": row["change"]},
        "pull_requests": [
            {
                "url": f"https://git.{site}/pulls/{row['tag']}",
                "author": f"{team['author']}@{site}",
                "reviewers": [f"{who}@{site}" for who in team["reviewers"]],
                "merged_at": row["at"] - timedelta(hours=team["lead_hours"]),
            }
        ],
    }


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(value: Any) -> bytes:
    """Canonical for what stands in these files, so that a manifest's digest is the one that the service computes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_text).encode()


def _text(value: object) -> str:
    if isinstance(value, date):  # datetime is one, too
        return value.isoformat()
    raise TypeError(f"{value!r} is not what a history is made of")
