"""Planned against actual (R1.9): what a release should have by when, what it has, and by how much it is late."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from evidence.deploys import PRODUCTION, STAGING, Deployment, deployments
from evidence.events import Event, in_words, is_about, moment, newest
from evidence.models import Release
from evidence.release_policy import Expected, Policy

#: States of what is expected. ``waiting`` has no time yet: what it runs from has not happened.
PRESENT, LATE, BACKFILLED, FAILED, MISSING, DUE, WAITING = (
    *("present", "late", "backfilled", "failed", "missing", "due", "waiting"),
)
#: What these functions look at, beside the kinds that the policy expects.
KINDS = ("deploy.manifest", "deploy.started", "deploy.finished", "cutover.planned", "cutover.step")


@dataclass(frozen=True)
class Line:
    """One expectation and what came of it."""

    id: str
    title: str
    kind: str
    state: str
    due: datetime | None = None
    happened: datetime | None = None
    received: datetime | None = None
    #: How late it is or was, or how long is left.
    by: timedelta = timedelta(0)
    #: How much later than it happened it was recorded.
    lag: timedelta = timedelta(0)
    records: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """``late by 2 h 5 min``, ``missing for 3 days``, ``due in 40 min``."""
        joined = {LATE: "late by", MISSING: "missing for", DUE: "due in", BACKFILLED: "recorded"}
        if self.state == BACKFILLED:
            return f"backfilled after {in_words(self.lag)}"
        return f"{joined[self.state]} {in_words(self.by)}" if self.state in joined and self.by else self.state


@dataclass(frozen=True)
class Step:
    """A step of the cutover: when it was to begin and end, and when it did."""

    step: str
    owner: str
    planned_from: datetime | None
    planned_to: datetime | None
    started: datetime | None
    finished: datetime | None
    #: ``planned``, ``running``, ``done``, ``missing`` (its time has passed and nothing is known).
    state: str
    #: How much later than planned it ended or, not ended yet, began.
    late: timedelta
    records: tuple[int, ...]

    @property
    def words(self) -> str:
        return f"{in_words(self.late)} late" if self.late else ""


def anchors(release: Release, events: Sequence[Event]) -> dict[str, datetime | None]:
    """The moments that times run from."""
    live = deployments(events, PRODUCTION)
    staged = [d for d in deployments(events, STAGING) if d.finished]
    good = [d for d in live if d.finished and d.outcome == "succeeded"] or [d for d in live if d.finished]
    return {
        "window-from": release.window_from,
        "window-to": release.window_to,
        "staging-finished": _ended(staged),
        "production-started": live[0].at if live else None,
        "production-finished": _ended(good),
    }


def _ended(found: Sequence[Deployment]) -> datetime | None:
    last = found[-1].finished if found else None
    return last.occurred if last else None


def lines(release: Release, events: Sequence[Event], policy: Policy, *, now: datetime) -> list[Line]:
    """Everything that the policy expects of the release, in its order."""
    known = anchors(release, events)
    manifest = newest(events, "deploy.manifest")
    return [_line(each, known[each.anchor], known, events, manifest, now) for each in policy.expected]


def _line(
    expected: Expected,
    anchor: datetime | None,
    known: Mapping[str, datetime | None],
    events: Sequence[Event],
    manifest: Event | None,
    now: datetime,
) -> Line:
    since = None if expected.before else anchor
    due = _due(expected, anchor, known)
    found = [event for event in events if _matches(event, expected, since, manifest)]
    good = [event for event in found if expected.outcome is None or event.outcome == expected.outcome]
    common = (expected.id, expected.title, expected.kind)
    if anchor is None and not expected.before:
        return Line(*common, WAITING)
    if found and found[-1] not in good:
        return Line(*common, FAILED, due, found[-1].occurred, found[-1].at, records=(found[-1].index,))
    if good:
        return _present(common, good, due)
    if due is None:
        return Line(*common, WAITING)
    return Line(*common, MISSING if now > due else DUE, due, by=abs(now - due))


def _due(expected: Expected, anchor: datetime | None, known: Mapping[str, datetime | None]) -> datetime | None:
    """Before a deploy that has not begun, the window's beginning is the plan."""
    if anchor is None and expected.anchor == "production-started":
        anchor = known["window-from"]
    return None if anchor is None else anchor + (expected.within or timedelta(0))


def _matches(event: Event, expected: Expected, since: datetime | None, manifest: Event | None) -> bool:
    if event.kind != expected.kind or (since is not None and event.occurred < since):
        return False
    if expected.environment is not None and event.environment != expected.environment:
        return False
    if expected.audience is not None:
        audience = str(event.facts.get("audience", ""))
        return audience.casefold() == expected.audience.casefold()
    return event.kind == "deploy.manifest" or manifest is None or is_about(event, manifest)


def _present(common: tuple[str, str, str], good: Sequence[Event], due: datetime | None) -> Line:
    first = min(good, key=lambda event: event.occurred)
    late = first.occurred - due if due is not None else timedelta(0)
    state = LATE if late > timedelta(0) else BACKFILLED if first.is_backfilled else PRESENT
    return Line(
        *common,
        state,
        due,
        first.occurred,
        first.at,
        max(late, timedelta(0)),
        first.lag,
        tuple(event.index for event in good[:20]),
    )


# -- the cutover -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A step as it is planned; without times where the release has no window."""

    step: str
    owner: str
    start: datetime | None
    end: datetime | None
    deploy: str | None


def cutover(release: Release, events: Sequence[Event], policy: Policy, *, now: datetime) -> list[Step]:
    """Each step of the cutover, planned and actual; steps that were done without a plan stand last."""
    found = plans(release, events, policy)
    planned = {plan.step.casefold() for plan in found}
    unplanned = {
        str(event.facts["step"]).casefold(): str(event.facts["step"])
        for event in events
        if event.kind == "cutover.step" and str(event.facts["step"]).casefold() not in planned
    }
    found += [Plan(step, "", None, None, None) for step in unplanned.values()]
    return [_step(plan, events, policy.cutover_tolerance, now) for plan in found]


def plans(release: Release, events: Sequence[Event], policy: Policy) -> list[Plan]:
    """The steps of the newest `cutover.planned`, else those of the policy."""
    own = newest(events, "cutover.planned")
    if own is not None:
        return [
            Plan(s["step"], s.get("owner", ""), moment(s["from"]), moment(s["to"]), s.get("deploy"))
            for s in own.facts["steps"]
        ]
    start = release.window_from
    return [
        Plan(
            step.step,
            step.owner,
            start + step.at if start else None,
            start + step.at + step.length if start else None,
            step.deploy,
        )
        for step in policy.cutover
    ]


def _step(plan: Plan, events: Sequence[Event], tolerance: timedelta, now: datetime) -> Step:
    started, finished = _said(plan, events, "started"), _said(plan, events, "finished")
    if plan.deploy is not None:
        run = deployments(events, plan.deploy)
        started = started or (run[0].started if run else None)
        finished = finished or (run[-1].finished if run else None)
    began = started.occurred if started else None
    ended = finished.occurred if finished else None
    late = _lateness(plan, began, ended, now)
    return Step(
        plan.step,
        plan.owner,
        plan.start,
        plan.end,
        began,
        ended,
        _state(plan, began, ended, now),
        late if late > tolerance else timedelta(0),
        tuple(event.index for event in (started, finished) if event),
    )


def _said(plan: Plan, events: Iterable[Event], state: str) -> Event | None:
    """The first start and the last finish count: a step that was repeated lasted until it was done."""
    found = [
        event
        for event in events
        if event.kind == "cutover.step"
        and event.outcome == state
        and str(event.facts["step"]).casefold() == plan.step.casefold()
    ]
    choose: Callable[..., Event | None] = min if state == "started" else max
    return choose(found, key=lambda event: event.occurred, default=None)


def _state(plan: Plan, began: datetime | None, ended: datetime | None, now: datetime) -> str:
    if ended is not None:
        return "done"
    if began is not None:
        return "running"
    return "missing" if plan.end is not None and plan.end < now else "planned"


def _lateness(plan: Plan, began: datetime | None, ended: datetime | None, now: datetime) -> timedelta:
    if ended is not None and plan.end is not None:
        return ended - plan.end
    if began is not None and plan.end is not None and now > plan.end:
        return now - plan.end  # still running
    return began - plan.start if began is not None and plan.start is not None else timedelta(0)
