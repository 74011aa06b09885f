"""`release checklist|answer|cutover|deployments`: what a release still needs, and how it went to production."""

from typing import Annotated, Any

import typer

from config.cli import output
from config.cli.api import Api, segment
from config.cli.commands.records import Evidence, record
from config.cli.commands.releases import Json, Release
from config.cli.errors import usage
from config.cli.files import read_body

_ITEM_COLUMNS = ["section", "id", "title", "state", "evidence", "reason", "note", "record", "by"]
_STEP_COLUMNS = ["step", "owner", "state", "planned_from", "planned_to", "started", "finished", "late_seconds"]
_RUN_COLUMNS = ["release", "environment", "outcome", "started", "finished", "manifest_digest", "index"]
_FINDING_COLUMNS = ["code", "detail", "records"]
_OWED_COLUMNS = ["role", "state", "due", "words", "record"]
_COUNTS = ("failed", "unfinished", "rolled_back", "emergencies")


def checklist(release: Release, as_json: Json = False) -> None:
    """Show the readiness checklist: each item with its evidence or reason."""
    found = Api.current().get(f"releases/{segment(release)}/checklist")
    if as_json:
        output.data(found)
        return
    output.table(_items(found), _ITEM_COLUMNS, empty="The checklist of this system has no items.")
    left = f"{found['open']} open; the gate stays red while one is."
    output.line(left if found["open"] else "Every item is answered.", "bold")


def answer(
    release: Release,
    item: Annotated[str, typer.Argument(help="The item's id, as `release checklist` shows it.")],
    evidence: Annotated[
        str | None, typer.Option(help="Done: a record as #42, an address, or where it is kept.")
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Not done, or it does not apply, because of this.")] = None,
    as_json: Json = False,
) -> None:
    """Answer an item of the readiness checklist."""
    if (evidence is None) == (reason is None):
        raise usage("An item is done or it is not", "Give --evidence, or --reason.")
    api = Api.current()
    known = {row["id"]: row for row in _items(api.get(f"releases/{segment(release)}/checklist"))}
    if item not in known:
        raise usage(f"The checklist has no item {item!r}", f"It has {', '.join(known) or 'none'}.")
    said = {"evidence": evidence} if evidence is not None else {"reason": reason}
    answered = {"id": item, "title": known[item]["title"], "done": evidence is not None, **said}
    body = {"sections": [{"name": known[item]["section"], "items": [answered]}]}
    record(api, _of(release, "release.checklist", body), as_json=as_json)


def cutover(
    release: Release,
    plan: Annotated[
        str | None, typer.Option(help='Plan it anew: {"steps": [{step, from, to, owner?, deploy?}]}, a file or -.')
    ] = None,
    start: Annotated[str | None, typer.Option(help="Record that this step starts now.")] = None,
    finish: Annotated[str | None, typer.Option(help="Record that this step is finished now.")] = None,
    note: Annotated[str | None, typer.Option(help="With --start or --finish.")] = None,
    as_json: Json = False,
) -> None:
    """Show the steps of the cutover, planned against actual; or plan, start or finish them."""
    if sum(given is not None for given in (plan, start, finish)) > 1:
        raise usage("One at a time", "Give one of --plan, --start and --finish.")
    step = start or finish
    if note is not None and step is None:
        raise usage("--note goes with --start or --finish")
    api = Api.current()
    if plan is not None:
        record(api, _of(release, "cutover.planned", read_body(plan)), as_json=as_json)
    elif step is not None:
        body = {"step": step, "state": "started" if start else "finished"} | ({"note": note} if note else {})
        record(api, _of(release, "cutover.step", body), as_json=as_json)
    else:
        _show_cutover(api.get(f"releases/{segment(release)}/plan"), as_json=as_json)


def deployments(
    release: Annotated[str | None, typer.Argument(help="One release; else production of a period.")] = None,
    system: Annotated[str | None, typer.Option(help="Without a release: this system alone.")] = None,
    from_: Annotated[str | None, typer.Option("--from", help="RFC 3339 with offset; else 90 days before --to.")] = None,
    to: Annotated[str | None, typer.Option(help="RFC 3339 with offset; else now.")] = None,
    as_json: Json = False,
) -> None:
    """Show deployments and what was wrong with them: of one release, or all to production with their success rate."""
    period = {name: value for name, value in {"system": system, "from": from_, "to": to}.items() if value is not None}
    if release is not None and period:
        raise usage("--system, --from and --to go without a release")
    path = f"releases/{segment(release)}/deployments" if release is not None else "deployments"
    found = Api.current().get(path, period)
    if as_json:
        output.data(found)
    elif release is not None:
        output.table(found["deployments"], _RUN_COLUMNS, empty="Nothing of this release was deployed yet.")
        _show_findings("Differences between what was tested and what would run", found["differences"])
        _show_findings("Failures", found["failures"])
        _show_findings("Owed by emergency deploys", found["retrospectives"], _OWED_COLUMNS)
    else:
        _show_period(found)


def _of(release: str, kind: str, body: dict[str, Any]) -> Evidence:
    return Evidence(kind, release, None, None, body, [])


def _items(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"section": section["title"], **item} for section in found["sections"] for item in section["items"]]


def _show_cutover(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.data(found["cutover"])
        return
    output.table(found["cutover"], _STEP_COLUMNS, empty="No cutover is planned.")


def _show_findings(title: str, rows: list[dict[str, Any]], columns: list[str] | None = None) -> None:
    if rows:
        output.line("")
        output.line(title, "bold")
        output.table(rows, columns or _FINDING_COLUMNS, empty="")


def _show_period(found: dict[str, Any]) -> None:
    output.table(found["population"], _RUN_COLUMNS, empty="Nothing was deployed to production in this period.")
    rows = [{"release": run["release"], **failure} for run in found["population"] for failure in run["failures"]]
    _show_findings("Failures", rows, ["release", *_FINDING_COLUMNS])
    counts, rate = found["counts"], found["success_percent"]
    ended = counts["succeeded"] + counts["failed"]
    said = f"{rate:g} % of {ended} succeeded" if rate is not None else "No success rate"
    more = [f"{counts[name]} {name.replace('_', ' ')}" for name in _COUNTS]
    output.line(f"{said}; {', '.join(more)}.", "bold")
    unmatched = len(found["reconciliation"]["unrecorded"]) + len(found["reconciliation"]["unlisted"])
    if unmatched:
        output.warn(f"{unmatched} rows are in one list only, the host's or the ledger's: see --json.")
