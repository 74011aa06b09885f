"""`gate`: may this release go? The exit code is the verdict."""

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.api import Api, segment
from config.cli.commands.releases import Json, Release
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.receipts import finish

_UNITS = {"s": 1, "m": 60, "h": 3600}
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 15.0
_LONGEST_WAIT = 24 * 3600.0
_PASSING = {"met", "waived", "not_applicable"}


def gate(
    release: Release,
    environment: Annotated[str, typer.Option(help="staging or production.")],
    wait: Annotated[str | None, typer.Option(help="Ask again until it is green, as long as 90s, 10m or 2h.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the facts and records behind each line.")] = False,
    as_of: Annotated[str | None, typer.Option(help="As it was at a past moment: RFC 3339 with offset.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Decide: keep the answer in the ledger.")] = False,
    as_json: Json = False,
) -> None:
    """Ask whether a release may go; exit code 1 when it may not."""
    seconds = _seconds(wait) if wait is not None else 0.0
    if as_of is not None and (wait is not None or record):
        raise usage("--as-of asks about the past, which neither waits nor decides", "Leave --wait and --record out.")
    query = {"environment": environment} | ({"as_of": _moment(as_of)} if as_of is not None else {})
    api, path = Api.current(), f"releases/{segment(release)}/gate"
    found = _wait(api, path, query, seconds) if wait is not None or not record else None
    if record:
        answer = api.post(path, {"environment": environment})
        found = _verdict(answer.data.get("decision"))
        if not as_json:
            _show(found, explain=explain)
        finish(api, answer, "The decision is recorded.", as_json=as_json)
    elif found is not None and as_json:
        output.data(found)
    elif found is not None:
        _show(found, explain=explain)
    if found is None or not found["passed"]:
        raise typer.Exit(ExitCode.NO)


def _wait(api: Api, path: str, query: Mapping[str, str], seconds: float) -> dict[str, Any]:
    """The answer, asked again until it is green or the time is over. A server that is away meanwhile may come back."""
    deadline, pause = time.monotonic() + seconds, _FIRST_PAUSE
    while True:
        try:
            found = _verdict(api.get(path, query))
            if found["passed"] or time.monotonic() + pause > deadline:
                return found
            lacking = [row["name"] for row in found["requirements"] if row["state"] not in _PASSING]
            output.note(f"Red ({', '.join(lacking)}); asking again in {pause:g} s")
        except CommandError as error:
            if error.code != ExitCode.SERVER or time.monotonic() + pause > deadline:
                raise
            output.note(f"{error}; asking again in {pause:g} s")
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def _verdict(answer: Any) -> dict[str, Any]:
    """Nothing but a boolean with its requirements is a verdict."""
    found = answer if isinstance(answer, dict) else {}
    rows = found.get("requirements")
    whole = isinstance(rows, list) and all(isinstance(row, dict) and {"name", "state"} <= row.keys() for row in rows)
    if not isinstance(found.get("passed"), bool) or not whole:
        raise CommandError("The gate's answer names no verdict", code=ExitCode.SERVER)
    if found["passed"] and not all(row["state"] in _PASSING for row in found["requirements"]):
        raise CommandError("The gate's answer contradicts itself", code=ExitCode.SERVER)
    return found


def _seconds(text: str) -> float:
    match = re.fullmatch(r"(\d{1,6})([smh])", text)
    if match is None or (found := float(match[1]) * _UNITS[match[2]]) > _LONGEST_WAIT:
        raise usage(f"{text!r} is not a time to wait", "Write 90s, 10m or 2h, 24h at most.")
    return found


def _moment(text: str) -> str:
    try:
        if datetime.fromisoformat(text).tzinfo is not None:
            return text
    except ValueError:
        pass
    raise usage(f"{text!r} is not a moment with offset", "Write it as 2026-03-12T15:00:00Z.")


def _show(found: Mapping[str, Any], *, explain: bool) -> None:
    rows = found["requirements"]
    output.table(rows, ["name", "state", "detail"], empty="No requirements.")
    if explain:
        for row in rows:
            _explain(row, found.get("people") or {})
    policy = found.get("policy") or {}
    if policy:
        output.line(
            f"As of {found.get('as_of')}, by {found.get('size')} records, "
            f"under policy {str(policy.get('revision'))[:19]}… (record {policy.get('record')})."
        )
    output.line("The gate is green." if found["passed"] else "The gate is red.", "bold")


def _explain(row: Mapping[str, Any], people: Mapping[str, str]) -> None:
    output.line("")
    output.line(f"{row['name']}: {row.get('title', '')}", "bold")
    facts = dict(row.get("facts") or {})
    if facts.get("by") in people:
        facts["by"] = people[facts["by"]]
    waiver = row.get("waiver") or {}
    output.fields(
        {
            "state": row["state"],
            "found": row.get("finding") if row.get("finding") != row["state"] else None,
            "why": row.get("detail"),
            "rule": row.get("rule"),
            "parameters": row.get("parameters"),
            "facts": facts,
            "happened": row.get("happened_at"),
            "due": row.get("due_at"),
            "waived_by": f"{waiver['exception']} {waiver['title']}, until {waiver['until']}" if waiver else None,
            "records": ", ".join(f"#{index}" for index in row.get("records") or []),
        }
    )
