"""The pack's readable page: one static HTML file that loads nothing and shows a bounded part of each table."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

from compliance.controls import catalog
from compliance.controls.catalog import Control
from compliance.controls.evaluation import Counts, Row
from compliance.packs import layout
from compliance.packs.findings import SHOWN, Findings
from compliance.packs.plan import Plan

_TEMPLATE = (Path(__file__).parent / "page.html").read_text()
_WORD = {"satisfied": "✓ satisfied", "late": "⚠ late", "missing": "✗ missing", "excepted": "◇ excepted"}


def render(planned: Plan, predicate: dict[str, Any], counts: dict[str, Any], findings: Findings) -> bytes:
    """The whole page. Every value from a record is escaped."""
    order, checkpoint = planned.order, planned.checkpoint
    excluded = ", ".join(findings.names.system(system) for system in order.excluded)
    parts = {
        "title": f"Evidence pack {order.pack}",
        "period": f"{_day(order.start)} to {_day(order.end, last=True)} (UTC)",
        "systems": ", ".join(system["name"] for system in predicate["systems"]),
        "excluded": f"Left out as sandboxes: {excluded}." if excluded else "",
        "as_of": _time(planned.period.now),
        "size": str(checkpoint.size),
        "origin": checkpoint.origin,
        "pack": order.pack,
        "shown": str(SHOWN),
    }
    blocks = {
        "tiles": _tiles(counts, findings),
        "controls": _controls(findings),
        "details": "".join(_control(control, findings) for control in catalog.load().controls),
        "failures": _failures(findings),
        "releases": _releases(findings),
        "exceptions": _exceptions(findings),
    }
    text = _TEMPLATE
    for name, value in parts.items():
        text = text.replace(f"[[{name}]]", escape(value))
    for name, value in blocks.items():
        text = text.replace(f"[[[{name}]]]", value)
    return text.encode()


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _day(moment: datetime, *, last: bool = False) -> str:
    """A period's boundary; its end is exclusive, so that midnight belongs to the day before."""
    if (moment.hour, moment.minute, moment.second) != (0, 0, 0):
        return f"{moment:%Y-%m-%d %H:%M}"
    return f"{datetime.fromordinal(moment.toordinal() - 1) if last else moment:%Y-%m-%d}"


def _percent(counts: Counts) -> str:
    return "–" if counts.completion is None else f"{100 * counts.completion:.1f} %"


def _tiles(counts: dict[str, Any], findings: Findings) -> str:
    total = findings.summary.total
    tiles = [
        (_percent(total), f"of {total.required} required pieces of evidence recorded and on time"),
        (str(counts["failures"]), "failures, none hidden"),
        (str(counts["populations"]["deployments"]), "deployments to production"),
        (str(counts["populations"]["releases"]), "releases"),
        (str(counts["populations"]["exceptions"]), "exceptions open in the period"),
        (str(counts["populations"]["records"]), "signed records, each with its proof"),
    ]
    return "".join(f"<li><b>{escape(value)}</b> {escape(label)}</li>" for value, label in tiles)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> str:
    """Cells are HTML already."""
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    if not body:
        return f"<p class=empty>{escape(empty)}</p>"
    top = "".join(f"<th scope=col>{escape(name)}</th>" for name in head)
    return f"<div class=scroll><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>"


def _record_link(index: object) -> str:
    return f'<a href="{layout.record_path(int(str(index)))}">#{escape(str(index))}</a>'


def _outside(url: str, label: str) -> str:
    if not url.startswith(("https://", "http://")):
        return escape(label)
    return f'<a href="{escape(url)}" rel="noreferrer noopener">{escape(label)}</a>'


def _controls(findings: Findings) -> str:
    rows = []
    for control in catalog.load().controls:
        counts = findings.summary.by_control[control.id]
        mark = "bad" if counts.late + counts.missing else "good" if counts.required else "none"
        name = f'<a href="#{control.id}">{escape(control.title)}</a>'
        cells = [name, escape(", ".join(control.criteria)), str(counts.population)]
        figures = (counts.satisfied, counts.late, counts.missing, counts.excepted, counts.not_due)
        rows.append([*cells, *map(str, figures), f"<span class={mark}>{_percent(counts)}</span>"])
    head = ("Control", "SOC 2 criteria", "Population", "Satisfied", "Late", "Missing", "Excepted", "Not due", "On time")
    return _table(head, rows, "No controls are in force.")


def _control(control: Control, findings: Findings) -> str:
    bad, good = (found.get(control.id, []) for found in (findings.shown.bad, findings.shown.good))
    file = f"{layout.CRITERIA_PREFIX}{control.id}.csv"
    table = _table(
        ("Of the population", "Status", "Detail", "Recorded", "Due", "Rests on"),
        [_control_row(row) for row in [*bad, *good]],
        "Nothing in the period falls under this control.",
    )
    return (
        f"<section id={control.id}><h3>{escape(control.title)}</h3>"
        f"<p>{escape(', '.join(control.criteria))} · {escape(control.evidence)} · {escape(control.clock)} · "
        f'<a href="{file}">all rows (CSV)</a></p>{table}</section>'
    )


def _control_row(row: Row) -> list[str]:
    mark = "bad" if row.is_failure else "good" if row.status == "satisfied" else "none"
    return [
        f"{escape(row.item)} {_record_link(row.index) if '#' not in row.item else ''}",
        f"<span class={mark}>{escape(_WORD.get(row.status, row.status))}</span>",
        escape(row.detail),
        escape(_time(row.met_at)),
        escape(_time(row.due)),
        " ".join(map(_record_link, row.records)),
    ]


def _failures(findings: Findings) -> str:
    rows = []
    for source, item, index, _, at, what, detail, _ in findings.shown.failures:
        rows.append([escape(at[:19]), escape(item), escape(what), escape(detail), _record_link(index), escape(source)])
    return _table(("When (UTC)", "What", "Failure", "Detail", "Record", "Found by"), rows, "No failure in the period.")


def _releases(findings: Findings) -> str:
    rows = []
    for release in findings.shown.releases:
        boards = [_outside(board["url"], board["name"]) for board in release.get("dashboards", [])]
        ticket = _outside(release["ticket_url"], release["ticket_id"])
        cells = [escape(release["release"]), escape(release["type"]), ticket, ", ".join(boards)]
        people = [escape(release["captain"]), escape(release.get("commander", ""))]
        rows.append([*cells, *people, escape(_time(release["opened_at"])), _record_link(release["index"])])
    head = ("Release", "Type", "Ticket", "Dashboards", "Captain", "Commander", "Opened", "Record")
    return _table(head, rows, "No release in the period.")


def _exceptions(findings: Findings) -> str:
    rows = []
    for life in findings.shown.exceptions:
        name = f'<a href="exceptions/{escape(life["exception"])}.json">{escape(life["exception"])}</a>'
        texts = [life["title"], life["severity"], life["state"], life["owner"], ", ".join(life["approvers"])]
        times = [_time(life["in_force_from"]), _time(life["expires_at"])]
        rows.append([name, *(escape(str(text)) for text in [*texts, *times, life["reminders"]])])
    head = ("Exception", "Title", "Severity", "State", "Owner", "Approved by", "In force from", "Expires", "Reminders")
    return _table(head, rows, "No exception was open in the period.")
