"""`risks …`"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.api import Api
from config.cli.commands.imports import mapping_of, sent_form
from config.cli.commands.releases import Json
from config.cli.errors import CommandError, ExitCode

app = typer.Typer(no_args_is_help=True, help="The risk register.")
_COLUMNS = ["id", "title", "level", "residual_level", "status", "review_by", "owner", "systems"]
_ROWS = ["where", "risk", "title", "fate", "changes", "problems"]
Status = Annotated[str | None, typer.Option(help="open, mitigating, accepted or closed.")]
Level = Annotated[str | None, typer.Option(help="critical, high, medium or low, as it stands.")]
Review = Annotated[str | None, typer.Option(help="due or overdue.")]
System = Annotated[str | None, typer.Option(help="A system's name.")]
Owner = Annotated[str | None, typer.Option(help="The owner's mail address.")]


@app.command("list")
def list_(
    status: Status = None,
    level: Level = None,
    review: Review = None,
    system: System = None,
    owner: Owner = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Json = False,
) -> None:
    """List risks, the newest first."""
    given = _filters(status, level, review, system, owner) | {"limit": 500 if all_ else limit}
    found = list(Api.current().pages("risks", given, follow=all_))
    if as_json:
        output.data({"results": found})
    else:
        output.table(found, _COLUMNS, empty="No risk fits.")


@app.command()
def export(
    out: Annotated[Path, typer.Argument(help="Where it goes: .csv, .xlsx or .json; - for CSV on standard output.")],
    status: Status = None,
    level: Level = None,
    review: Review = None,
    system: System = None,
    owner: Owner = None,
) -> None:
    """Write the register to a file that other tools and `risks import` read."""
    name = "csv" if str(out) == "-" else out.suffix.removeprefix(".").lower()
    if name not in {"csv", "xlsx", "json"}:
        raise CommandError(f"{out} is neither .csv, .xlsx nor .json", code=ExitCode.USAGE)
    given = {"format": name} | _filters(status, level, review, system, owner)
    content = Api.current().get_bytes("risks/export", given)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise CommandError(f"{out} cannot be written: {error.strerror}", code=ExitCode.USAGE) from error
    output.note(f"{out}: {len(content)} bytes")


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="CSV, XLSX or JSON.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would become of each row.")] = False,
    mapping: Annotated[str | None, typer.Option(help="Columns and words, as JSON: a file, or the JSON itself.")] = None,
    as_json: Json = False,
) -> None:
    """Bring a register in, all of it or nothing. Exits 1 where a row is bad."""
    form = {"dry_run": str(dry_run).lower()} | ({"mapping": mapping_of(mapping)} if mapping is not None else {})
    found = sent_form(Api.current(), "risks/import", file, form)
    if as_json:
        output.data(found)
    else:
        _tell(found)
    if found["counts"]["bad"]:
        raise typer.Exit(ExitCode.NO)


def _filters(
    status: str | None, level: str | None, review: str | None, system: str | None, owner: str | None
) -> dict[str, Any]:
    given = {"status": status, "level": level, "review": review, "system": system, "owner": owner}
    return {name: value for name, value in given.items() if value is not None}


def _tell(found: dict[str, Any]) -> None:
    for note in found["notes"]:
        output.warn(note)
    rows = [_shown(row) for row in found["rows"] if row["fate"] != "unchanged"]
    output.table(rows, _ROWS, empty="The register says all of this already.")
    told = ", ".join(f"{count} {name}" for name, count in found["counts"].items() if count)
    output.line(f"{found['id']} {found['state']}: {told or 'nothing'}")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    changes = [f"{name}: {json.dumps(c['from'])} to {json.dumps(c['to'])}" for name, c in row["changes"].items()]
    problems = [f"{one['cell']} {one['value']!r}: {one['reason']}" for one in row["problems"]]
    return row | {"changes": changes, "problems": problems}
