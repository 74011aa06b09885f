"""`exceptions import`"""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.api import Api, segment
from config.cli.commands.releases import Json
from config.cli.errors import CommandError, ExitCode

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 5.0
_COLUMNS = ["row", "title", "fate", "exception", "flags", "problems"]
_WORDS = {"claimed": "approved elsewhere (claim)", "left_out": "closed: left out"}
_MOST = 1000


def import_(
    file: Annotated[Path, typer.Argument(help="CSV or XLSX.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would become of each row.")] = False,
    mapping: Annotated[str | None, typer.Option(help="Columns and words, as JSON: a file, or the JSON itself.")] = None,
    only_good: Annotated[bool, typer.Option("--only-good", help="Leave bad rows out; else one takes all out.")] = False,
    bad_rows: Annotated[Path | None, typer.Option(help="Write the bad rows to this CSV or XLSX.")] = None,
    as_json: Json = False,
) -> None:
    """Import a register that was kept as a spreadsheet. Exits 1 where a row is bad."""
    api = Api.current()
    found = _settled(api, _sent(api, file, mapping, dry_run=dry_run, only_good=only_good))
    path = f"exceptions/import/{segment(found['id'])}"
    rows = api.get(f"{path}/rows", {"limit": _MOST})["results"] if found["total"] or found["summary"] else []
    if bad_rows is not None:
        bad_rows.write_bytes(api.get_bytes(f"{path}/bad-rows", {"as": "xlsx" if bad_rows.suffix == ".xlsx" else "csv"}))
    if as_json:
        output.data(found | {"rows": rows})
    else:
        _tell(found, rows)
    bad = found["summary"].get("counts", {}).get("bad", 0)
    if found["state"] in {"refused", "failed"} or (bad and not only_good):
        raise typer.Exit(ExitCode.NO)


def _sent(api: Api, file: Path, mapping: str | None, *, dry_run: bool, only_good: bool) -> dict[str, Any]:
    form = {"dry_run": str(dry_run).lower(), "only_good": str(only_good).lower()}
    if mapping is not None:
        form["mapping"] = mapping_of(mapping)
    return sent_form(api, "exceptions/import", file, form)


def sent_form(api: Api, path: str, file: Path, form: dict[str, str]) -> dict[str, Any]:
    """What the service answers to a file."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}", code=ExitCode.USAGE) from error
    answer: dict[str, Any] = api.post_form(path, form, file=(file.name, content)).data
    return answer


def mapping_of(given: str) -> str:
    """The JSON that an option gives, as it is or as the name of a file."""
    text = given
    if not given.lstrip().startswith("{"):
        try:
            text = Path(given).read_text()
        except OSError as error:
            raise CommandError(f"{given} cannot be read: {error.strerror}", code=ExitCode.USAGE) from error
    try:
        json.loads(text)
    except ValueError as error:
        raise CommandError(f"The mapping is no JSON: {error}", code=ExitCode.USAGE) from error
    return text


def _settled(api: Api, found: dict[str, Any]) -> dict[str, Any]:
    """Ask until the worker is done."""
    wait = _FIRST_WAIT
    while found["state"] in {"waiting", "running"}:
        output.note(f"{found['state']}: {found['done']} of {found['total'] or '?'} rows")
        time.sleep(wait)
        wait = min(wait * 1.5, _LONGEST_WAIT)
        found = api.get(f"exceptions/import/{segment(found['id'])}")
    return found


def _tell(found: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    for note in found["summary"].get("notes", []):
        output.warn(note)
    output.table([_shown(row) for row in rows], _COLUMNS, empty="No row was read.")
    counts = found["summary"].get("counts", {})
    if sum(counts.values()) > len(rows):
        output.note(f"The first {len(rows)} of {sum(counts.values())} rows.")
    told = ", ".join(f"{count} {_WORDS.get(name, name)}" for name, count in counts.items() if count)
    output.line(f"{found['id']} {found['state']}: {told or 'nothing'}")
    if found["error"]:
        output.failure(f"{found['error']['detail']}\n  code {found['error']['code']}")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    problems = [f"{one['cell']} {one['value']!r}: {one['reason']}" for one in row["problems"]]
    return {
        "row": f"{row['sheet']}!{row['row']}",
        "title": row["title"],
        "fate": _WORDS.get(row["fate"], row["fate"]),
        "exception": row["exception"],
        "flags": row["flags"],
        "problems": problems,
    }
