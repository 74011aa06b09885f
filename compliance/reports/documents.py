"""Figures as documents: PDF (PDF/A-2a with PDF/UA-1, by Typst) and the text of the mail."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import typst
from django.template.loader import render_to_string

from compliance.reports.exceptions import Count
from compliance.reports.figures import Monthly
from compliance.reports.releases import ReleaseLine
from config.errors import UnavailableError

TEMPLATE = Path(__file__).with_name("monthly.typ")
STANDARDS: list[Literal["a-2a", "ua-1"]] = ["a-2a", "ua-1"]


def pdf(figures: Monthly) -> bytes:
    """The report as PDF: the same figures give the same bytes."""
    return compile_pdf(TEMPLATE, _data(figures), figures.made_at)


def compile_pdf(template: Path, data: Mapping[str, Any], made_at: datetime) -> bytes:
    """A template with its data. Raises UnavailableError ``pdf_failed``."""
    try:
        return _compile(template, data, made_at)
    except typst.TypstError:
        # An archive PDF may hold no character without a glyph: what no font here has becomes a question mark.
        plain = json.loads(json.dumps(data, ensure_ascii=False).encode("cp1252", "replace").decode("cp1252"))
        try:
            return _compile(template, plain, made_at)
        except typst.TypstError as error:
            raise UnavailableError(f"The PDF could not be made: {error}", code="pdf_failed") from error


def _compile(template: Path, data: Mapping[str, Any], made_at: datetime) -> bytes:
    return typst.compile(
        template.read_bytes(),
        format="pdf",
        pdf_standards=[*STANDARDS],
        sys_inputs={"data": json.dumps(data)},
        timestamp=int(made_at.timestamp()),
    )


def mail_text(figures: Monthly, *, link: str) -> str:
    """The mail's text: the headline, what is overdue, and where the rest is."""
    return render_to_string("compliance/report_mail.txt", {"figures": figures, "link": link})


def title(figures: Monthly) -> str:
    return f"Compliance report {figures.month.title}"


def _data(figures: Monthly) -> dict[str, Any]:
    exceptions = figures.exceptions
    return {
        "title": title(figures),
        "subtitle": subtitle(figures),
        "footer": f"Made {figures.made_at:%Y-%m-%d %H:%M} UTC from {figures.ledger_size} records of the ledger",
        "cards": [*map(_card, figures.headline), *_completion(figures)],
        "overdue": figures.overdue_items,
        "movement": f"At the end: {exceptions.states} "
        f"{exceptions.opened.value} requested and {exceptions.closed.value} closed in the period; "
        f"{exceptions.opened.before} and {exceptions.closed.before} in the one before.",
        "severity": _counts(exceptions.by_severity),
        "expiry": _counts(exceptions.by_expiry),
        "age": _counts(exceptions.by_age),
        "owners": [[o.name, str(o.open), str(o.overdue), _day(o.next_expiry)] for o in exceptions.owners],
        "trend": [[point.month.title, str(point.open), str(point.overdue)] for point in figures.trend],
        "releases": [_release(line) for line in figures.releases],
        "controls": _control_rows(figures),
    }


def subtitle(figures: Monthly) -> str:
    """What period the figures are of, and as of when."""
    if figures.so_far:
        return f"{figures.month.title} so far, as of {figures.moment:%d %B %Y %H:%M} UTC. Sandbox systems are left out."
    return f"{figures.month.title}, as of its end (UTC). Sandbox systems are left out."


def _card(count: Count) -> dict[str, Any]:
    alert = count.title == "expired, still open" and count.value > 0
    return {"title": count.title, "value": str(count.value), "note": f"{count.before} the month before", "alert": alert}


def _completion(figures: Monthly) -> list[dict[str, Any]]:
    if figures.controls is None:
        return []
    total, before = figures.controls.total, figures.controls.before
    return [
        {
            "title": "control evidence on time",
            "value": total.percent,
            "note": f"{total.satisfied} of {total.required}; {before.percent} the month before",
            "alert": False,
        }
    ]


def _counts(counts: Sequence[Count]) -> list[dict[str, Any]]:
    return [{"title": count.title, "value": count.value, "before": count.before} for count in counts]


def _day(moment: datetime | None) -> str:
    return f"{moment:%d %B %Y}" if moment else "–"


def _release(line: ReleaseLine) -> list[str]:
    deployed = f"{line.deployed}, {line.deployed_at:%d %b %H:%M}" if line.deployed_at else line.deployed
    approvals = ", ".join(line.approved) or "none"
    rejected = f", rejected by {', '.join(line.rejected)}" if line.rejected else ""
    stale = f" ({len(line.stale)} stale)" if line.stale else ""
    state = f"{line.state}, rolled back" if line.rolled_back else line.state
    return [
        f"{line.tag} ({line.system})",
        f"{line.type}, {state}",
        approvals + rejected + stale,
        deployed,
        line.validation,
        line.metrics,
    ]


def _control_rows(figures: Monthly) -> list[list[str]]:
    if figures.controls is None:
        return []
    return [
        [
            f"{line.title}",
            line.criteria,
            line.percent,
            f"{line.satisfied} of {line.required}",
            str(line.late),
            str(line.missing),
            str(line.excepted),
        ]
        for line in figures.controls.lines
    ]
