"""`exceptions …`"""

from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.api import Api, segment
from config.cli.commands.imports import import_
from config.cli.commands.releases import Json
from config.cli.files import read_body
from config.cli.receipts import finish

app = typer.Typer(no_args_is_help=True, help="Security exceptions.")
app.command("import")(import_)
_COLUMNS = ["id", "title", "severity", "state", "expires_at", "days_left", "owner", "systems"]


@app.command("list")
def list_(
    state: Annotated[str | None, typer.Option(help="Such as active, expiring, expired.")] = None,
    severity: Annotated[str | None, typer.Option(help="critical, high, medium or low.")] = None,
    system: Annotated[str | None, typer.Option(help="A system's name.")] = None,
    owner: Annotated[str | None, typer.Option(help="The owner's mail address.")] = None,
    due_within: Annotated[int | None, typer.Option(min=0, help="Days until expiry.")] = None,
    as_of: Annotated[str | None, typer.Option(help="As it stood then: RFC 3339, or a date.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many.")] = 50,
    all_: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    as_json: Json = False,
) -> None:
    """List exceptions, the newest first."""
    filters = {
        "state": state,
        "severity": severity,
        "system": system,
        "owner": owner,
        "due_within": due_within,
        "as_of": as_of,
        "limit": 500 if all_ else limit,
    }
    given = {name: value for name, value in filters.items() if value is not None}
    found = list(Api.current().pages("exceptions", given, follow=all_))
    if as_json:
        output.data({"results": found})
    else:
        output.table(found, _COLUMNS, empty="No exception fits.")


@app.command()
def request(
    body: Annotated[str | None, typer.Option(help="All of it as JSON: a file, or - for standard input.")] = None,
    title: Annotated[str | None, typer.Option(help="What is excepted, in a line.")] = None,
    justification: Annotated[str | None, typer.Option(help="Why it must be.")] = None,
    severity: Annotated[str | None, typer.Option(help="critical, high, medium or low.")] = None,
    system: Annotated[list[str] | None, typer.Option(help="A system's name; may be repeated.")] = None,
    requirement: Annotated[list[str] | None, typer.Option(help="A gate requirement to waive; may be repeated.")] = None,
    release: Annotated[list[str] | None, typer.Option(help="Only for SYSTEM:TAG; may be repeated.")] = None,
    control: Annotated[list[str] | None, typer.Option(help="A compensating control; may be repeated.")] = None,
    owner: Annotated[str | None, typer.Option(help="The owner's mail address.")] = None,
    risk: Annotated[str | None, typer.Option(help="A risk of the register, such as RISK-0001.")] = None,
    effective_from: Annotated[str | None, typer.Option(help="Since when: RFC 3339, or a date.")] = None,
    expires_at: Annotated[str | None, typer.Option(help="Until when: RFC 3339, or a date.")] = None,
    as_json: Json = False,
) -> None:
    """Request a security exception; another person approves it."""
    given = {
        "title": title,
        "justification": justification,
        "severity": severity,
        "systems": system,
        "requirements": requirement,
        "releases": release,
        "compensating_controls": [{"title": text} for text in control or []],
        "owner": owner,
        "risk": risk,
        "effective_from": effective_from,
        "expires_at": expires_at,
    }
    wanted: dict[str, Any] = read_body(body) | {name: value for name, value in given.items() if value}
    api = Api.current()
    answer = api.post("exceptions", wanted)
    found = answer.data["exception"]
    finish(api, answer, f"Exception {found['id']} is requested.{_executive(found)}", as_json=as_json)


def _executive(found: dict[str, Any]) -> str:
    """Why it waits for an executive, to follow a sentence; nothing where it does not."""
    why = found.get("needs_executive")
    return f" {why}" if why else ""


@app.command()
def show(
    exception: Annotated[str, typer.Argument(help="Such as EXC-0001.")],
    as_json: Json = False,
) -> None:
    """One exception: its terms, who approved them, what happened, and what you may do next."""
    found = Api.current().get(f"exceptions/{segment(exception)}")
    if as_json:
        output.data(found)
        return
    output.line(f"{found['id']} {found['title']}: {found['state']}, until {found['expires_at']}")
    output.line(f"owner {found['owner']['name']}, {found['severity']}, {', '.join(found['systems'])}")
    if found.get("needs_executive"):
        output.line(found["needs_executive"])
    output.line(f"terms {found['terms']}")
    output.table([row | {"by": row["by"]["name"]} for row in found["transitions"]], _TIMELINE, empty="No record.")
    output.line(f"you may: {', '.join(found['moves']) or 'nothing'}")


_TIMELINE = ["index", "at", "kind", "by", "reason"]


@app.command()
def move(
    exception: Annotated[str, typer.Argument(help="Such as EXC-0001.")],
    to: Annotated[str, typer.Option(help="Such as approved, renewal_requested, revoked; `show` lists yours.")],
    reason: Annotated[str, typer.Option(help="Why; it is recorded.")] = "",
    expires_at: Annotated[str | None, typer.Option(help="For renewal_requested: RFC 3339, or a date.")] = None,
    terms: Annotated[str | None, typer.Option(help="For approved, renewed: the digest that `show` printed.")] = None,
    evidence: Annotated[list[int] | None, typer.Option(help="For remediated: a record's index; repeatable.")] = None,
    by: Annotated[str | None, typer.Option(help="For superseded: the exception that takes its place.")] = None,
    as_json: Json = False,
) -> None:
    """Approve, reject, renew, revoke, … one exception."""
    more = {"expires_at": expires_at, "terms": terms, "evidence": evidence, "by": by}
    wanted = {"to": to, "reason": reason} | {name: value for name, value in more.items() if value}
    api = Api.current()
    answer = api.post(f"exceptions/{segment(exception)}/transitions", wanted)
    found = answer.data["exception"]
    finish(api, answer, f"{exception} is {found['state']}.{_executive(found)}", as_json=as_json)


@app.command()
def ratify(
    exceptions: Annotated[list[str], typer.Argument(help="Imported ones that a sheet calls approved.")],
    reason: Annotated[str, typer.Option(help="What they were compared with; it is recorded.")],
    as_json: Json = False,
) -> None:
    """Ratify imported claims as one list: all of them or none."""
    api = Api.current()
    answer = api.post("exceptions/ratifications", {"exceptions": exceptions, "reason": reason})
    said = f"Ratified: {', '.join(answer.data['exceptions'])}, as list {answer.data['digest']}."
    finish(api, answer, said, as_json=as_json)
