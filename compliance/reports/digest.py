"""The digest that executives get on the day of a release (R1.9): what went out, and what was not by the book."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from django.contrib.admin.utils import quote
from django.template.loader import render_to_string

from compliance.reports.documents import compile_pdf
from config.errors import MissingError
from evidence.deploys import PRODUCTION, Deployment
from evidence.events import BACKFILLED
from evidence.ledger import reader
from evidence.models import Record, Release
from evidence.readiness import Readiness, readiness

TEMPLATE = Path(__file__).with_name("digest.typ")
#: So long after a deploy its metrics are due (R1.7): the digest waits for them, but not past the day.
AFTER = timedelta(hours=2)
LATEST = timedelta(hours=23, minutes=30)
SOONEST = timedelta(minutes=1)
#: A worker that stood still makes up for so much.
LOOK_BACK = timedelta(hours=48)


@dataclass(frozen=True)
class Due:
    """A digest that is owed: one for each release and day."""

    release: Release
    day: str
    at: datetime


@dataclass(frozen=True)
class Digest:
    release: Release
    made_at: datetime
    ledger_size: int
    rows: tuple[tuple[str, str], ...]
    findings: tuple[str, ...]
    changes: tuple[str, ...]

    @property
    def title(self) -> str:
        return f"Release digest: {self.release.system.name} {self.release.tag}"

    @property
    def subtitle(self) -> str:
        return f"As of {self.made_at:%d %B %Y %H:%M} UTC. Ticket {self.release.ticket_id}."

    @property
    def headline(self) -> str:
        """In a line: ``deployed, 2 findings``."""
        count = len(self.findings)
        wrong = f"{count} finding{'s' * (count != 1)}" if count else "all by the book"
        return f"{dict(self.rows)['Production']}, {wrong}"

    @property
    def path(self) -> str:
        return f"/admin/evidence/release/{quote(self.release.pk)}/change/"


def due(now: datetime) -> list[Due]:
    """Releases that were deployed to production lately; what was recorded long after is no news."""
    finished = Record.objects.counting().filter(
        kind="deploy.finished", facts__environment=PRODUCTION, at__gte=now - LOOK_BACK
    )
    first: dict[tuple[str, str], Record] = {}
    for row in finished.exclude(release=None).order_by("index"):
        if row.at - row.occurred <= BACKFILLED:
            first.setdefault((str(row.release), f"{row.at:%Y-%m-%d}"), row)
    releases = Release.objects.filter(pk__in={name for name, _ in first}, system__sandbox=False)
    known = {release.pk: release for release in releases.select_related("system")}
    return [Due(known[name], day, _moment(row.at)) for (name, day), row in first.items() if name in known]


def _moment(deployed: datetime) -> datetime:
    """Two hours later or before midnight UTC, and not in the middle of the deploy's own records."""
    latest = deployed.replace(hour=0, minute=0, second=0, microsecond=0) + LATEST
    return max(deployed + SOONEST, min(deployed + AFTER, latest))


def figures(opened_by: int, at: datetime) -> Digest:
    """The digest of the release that this record opened, as of `at`."""
    release = Release.objects.select_related("system").filter(opened_by=opened_by).first()
    if release is None:
        raise MissingError("The release of this digest was disposed of.", code="release_unknown")
    state = readiness(release, at)
    runs = state.deployments_to(PRODUCTION)
    return Digest(
        release=release,
        made_at=at,
        ledger_size=reader.size(),
        rows=tuple(_rows(release, state, runs)),
        findings=tuple(_findings(state)),
        changes=tuple(_changes(release)),
    )


def _rows(release: Release, state: Readiness, runs: list[Deployment]) -> list[tuple[str, str]]:
    words = {line.id: line.words for line in state.lines}
    last = runs[-1] if runs else None
    rows = [("Production", f"{last.outcome} at {last.event.occurred:%H:%M} UTC" if last else "not deployed")]
    rows += [("Type", release.type), ("Captain", release.captain)]
    rows += [("Commander", release.commander)] if release.commander else []
    rows += [("Validation", words.get("validation", "–")), ("Metrics", words.get("metrics", "–"))]
    rows += [(f"Incident {each.incident}", f"severity {each.severity}, {each.state}") for each in state.incidents]
    rows += [(each.kind.capitalize(), f"severity {each.severity}: {each.trigger}") for each in state.reactions]
    return rows


def _findings(state: Readiness) -> list[str]:
    found = [failure.detail for failure in state.failures]
    found += [f"Approval afterwards by {each.role}: {each.words}" for _, each in state.retrospectives]
    found += [f"{line.title}: {line.words}" for line in state.lines if line.state in {"late", "missing", "failed"}]
    found += [f"Incident {each.incident} {gap.words}" for each in state.incidents for gap in each.gaps]
    found += [f"{each.kind.capitalize()}: {finding}" for each in state.reactions for finding in each.findings]
    return found


def _changes(release: Release) -> list[str]:
    if release.manifest_index is None:
        return []
    stored = reader.get(release.manifest_index)
    summary = stored.recorded.body.get("summary", {}) if stored.envelope is not None else {}
    return [f"{surface}: {text}" for surface, text in summary.items()]


# -- as documents ------------------------------------------------------------------------------------------------------


def pdf(digest: Digest) -> bytes:
    """PDF/A-2a with PDF/UA-1: the same figures give the same bytes."""
    data = {
        "title": digest.title,
        "subtitle": digest.subtitle,
        "footer": f"From {digest.ledger_size} records of the ledger",
        "rows": digest.rows,
        "findings": digest.findings,
        "changes": digest.changes,
    }
    return compile_pdf(TEMPLATE, data, digest.made_at)


def mail_text(digest: Digest, *, link: str) -> str:
    return render_to_string("compliance/digest_mail.txt", {"digest": digest, "link": link})
