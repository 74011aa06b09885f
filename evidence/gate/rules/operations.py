"""Rules about where a build goes: configuration, uptime, quotas, alerts, incidents (R1.3, R1.4)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from evidence.events import Event, in_words
from evidence.gate.facts import Facts, counted, shown
from evidence.gate.findings import Finding, met, stale, unmet
from evidence.gate.rules import rule


def _fresh(facts: Facts, event: Event, hours: float) -> bool:
    return facts.moment - event.occurred <= timedelta(hours=hours)


def _newest_by(events: Iterable[Event], *names: str) -> dict[str, Event]:
    """The newest by the time it is about; of two about the same moment, the later received."""
    found: dict[str, Event] = {}
    for event in sorted(events, key=lambda event: (event.occurred, event.index)):
        found[" ".join(str(event.facts.get(name)) for name in names)] = event
    return found


def _too_old(facts: Facts, events: Iterable[Event], what: str, hours: float) -> Finding:
    """None is recent enough; the newest of them, if there is any, is stale."""
    found = sorted(events, key=lambda event: event.occurred)
    if not found:
        return unmet(f"no {what} was recorded")
    age = in_words(facts.moment - found[-1].occurred)
    return stale(f"the newest {what} is {age} old, {hours:g} h allowed", found[-1:])


@dataclass(frozen=True)
class Variables:
    max_age_hours: float
    #: Names that the snapshot must have looked for, whatever it calls required itself.
    required: tuple[str, ...] = ()


@rule("variables-present", Variables)
def variables_present(facts: Facts, parameters: Variables) -> Finding:
    """The newest configuration snapshot of the environment misses none of the required variables."""
    snapshot = _snapshot(facts, parameters.max_age_hours)
    if isinstance(snapshot, Finding):
        return snapshot
    missing, checked = _names(snapshot.facts.get("variables_missing")), _names(snapshot.facts.get("variables_required"))
    if missing is None:
        return unmet("the snapshot does not say which required variables are missing", [snapshot])
    if parameters.required and checked is None:
        return unmet("the snapshot does not say which variables it looked for", [snapshot])
    lacking = sorted(missing | (set(parameters.required) - (checked or set())))
    if lacking:
        return unmet(f"missing: {', '.join(lacking[:20])}", [snapshot], missing=lacking[:100])
    return met("all present", [snapshot], missing=[])


def _names(value: Any) -> set[str] | None:
    return {str(name) for name in value} if isinstance(value, list) else None


@dataclass(frozen=True)
class Aged:
    max_age_hours: float


@rule("configuration-reconciled", Aged)
def configuration_reconciled(facts: Facts, parameters: Aged) -> Finding:
    """Every deviation of the newest configuration snapshot is reconciled."""
    snapshot = _snapshot(facts, parameters.max_age_hours)
    if isinstance(snapshot, Finding):
        return snapshot
    deviations = snapshot.facts.get("deviations")
    if not isinstance(deviations, list):
        return unmet("the snapshot does not say how it deviates from what is declared", [snapshot])
    still = [deviation for deviation in deviations if not _reconciled(deviation)]
    if still:
        return unmet(f"{len(still)} of {counted(len(deviations), 'deviation')} open", [snapshot], open=len(still))
    return met(
        f"{counted(len(deviations), 'deviation')}, reconciled" if deviations else "no deviation", [snapshot], open=0
    )


def _reconciled(deviation: Any) -> bool:
    return isinstance(deviation, dict) and deviation.get("reconciled") is True


def _snapshot(facts: Facts, hours: float) -> Event | Finding:
    found = [event for event in facts.of("config.snapshot") if event.environment == facts.environment]
    newest = max(found, key=lambda event: (event.occurred, event.index), default=None)
    if newest is None or not _fresh(facts, newest, hours):
        return _too_old(facts, found, f"configuration snapshot of {facts.environment}", hours)
    return newest


@dataclass(frozen=True)
class Uptime:
    percent: float
    days: int
    max_age_hours: float


@rule("uptime", Uptime)
def uptime(facts: Facts, parameters: Uptime) -> Finding:
    """Every source's newest snapshot over so many days says at least so much."""
    found = [event for event in facts.of("uptime.snapshot") if event.facts.get("days") == parameters.days]
    newest = _newest_by((e for e in found if _fresh(facts, e, parameters.max_age_hours)), "source")
    if not newest:
        return _too_old(facts, found, f"uptime snapshot of {parameters.days} days", parameters.max_age_hours)
    worst = min(float(event.facts["percent"]) for event in newest.values())
    judge = met if worst >= parameters.percent else unmet
    return judge(
        f"{worst:g} % over {parameters.days} days, {parameters.percent:g} % wanted", newest.values(), percent=worst
    )


@dataclass(frozen=True)
class Quota:
    percent: float
    max_age_hours: float
    #: Vendors that must have a snapshot; every other vendor that has one counts too.
    vendors: tuple[str, ...] = ()


@rule("quota-headroom", Quota)
def quota_headroom(facts: Facts, parameters: Quota) -> Finding:
    """Every vendor's newest snapshot leaves so much headroom."""
    newest = _newest_by(facts.of("quota.snapshot"), "vendor")
    if not newest:
        return unmet("no quota snapshot was recorded")
    headroom = {vendor: event.facts.get("headroom_percent") for vendor, event in newest.items()}
    known = [percent for percent in headroom.values() if isinstance(percent, int | float)]
    short = {v: p for v, p in headroom.items() if p not in known or p < parameters.percent}
    if short:
        parts = ", ".join(f"{vendor} {percent} %" for vendor, percent in sorted(short.items()))
        return unmet(f"{parts}; {parameters.percent:g} % wanted", newest.values(), headroom=headroom)
    missing = sorted(set(parameters.vendors) - newest.keys())
    if missing:
        return unmet(f"no snapshot of {', '.join(missing)}", newest.values(), headroom=headroom)
    old = [event for event in newest.values() if not _fresh(facts, event, parameters.max_age_hours)]
    if old:
        return _too_old(facts, old, f"quota snapshot of {old[-1].facts.get('vendor')}", parameters.max_age_hours)
    return met(f"{min(known):g} % or more, {counted(len(headroom), 'vendor')}", newest.values(), headroom=headroom)


@dataclass(frozen=True)
class Alerts:
    blocking: tuple[str, ...]
    max_age_hours: float


@rule("alerts-resolved", Alerts)
def alerts_resolved(facts: Facts, parameters: Alerts) -> Finding:
    """The newest list of every source has no open alert of a blocking severity."""
    newest = _newest_by(facts.of("dependency.alerts"), "source")
    wanted = {severity.casefold() for severity in parameters.blocking}
    still = {
        source: {s: n for s, n in event.facts.get("open", {}).items() if n and s.casefold() in wanted}
        for source, event in newest.items()
    }
    count = sum(sum(counts.values()) for counts in still.values())
    if count:
        return unmet(f"{counted(count, 'alert')} open", newest.values(), open=still)
    if not newest or not any(_fresh(facts, event, parameters.max_age_hours) for event in newest.values()):
        return _too_old(facts, newest.values(), "list of dependency alerts", parameters.max_age_hours)
    return met("none is open", newest.values(), open=still)


@dataclass(frozen=True)
class Severities:
    #: ``incident`` or ``defect``: records ``<what>.opened`` and ``<what>.resolved``.
    what: str
    #: By severity (1 is the worst): after how many hours one that is open blocks.
    hours: dict[str, float] = field(default_factory=dict)


@rule("none-open", Severities)
def none_open(facts: Facts, parameters: Severities) -> Finding:
    """None of these severities is open longer than it may be; what a hotfix names as its reason does not stop it."""
    cured = _cured(facts, parameters.what)
    blocking: list[Event] = []
    parts = []
    for name, opened in _open(facts, parameters.what).items():
        severity = min(severity_of(event.facts.get("severity"), facts.severities) for event in opened[-1:])
        since = min(event.occurred for event in opened)
        allowed = parameters.hours.get(str(severity))
        if allowed is None or name in cured or facts.moment - since < timedelta(hours=allowed):
            continue
        blocking += opened
        parts.append(f"{name} (severity {severity}, open since {shown(since)})")
    if blocking:
        return unmet(", ".join(parts[:10]), blocking, open=parts[:100])
    return met("none is open too long" if _open(facts, parameters.what) else "none is open", cured=sorted(cured))


def _open(facts: Facts, what: str) -> dict[str, list[Event]]:
    """The records that opened what is still open, by its name. What is opened again after its end is open again."""
    found: dict[str, list[Event]] = {}
    for event in facts.of(f"{what}.opened", f"{what}.resolved"):
        name = str(event.facts.get(what))
        if event.kind == f"{what}.opened":
            found.setdefault(name, []).append(event)
        else:
            found.pop(name, None)
    return found


def _cured(facts: Facts, what: str) -> set[str]:
    if facts.type != "hotfix":
        return set()
    named = [event.facts.get(what) for event in facts.own("hotfix")]
    return {str(name) for name in named if name}


def severity_of(value: object, severities: dict[str, int] | Any) -> int:
    """1 (the worst) and on; another scale's name as the policy maps it, and 1 for what it does not know."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip().upper()
    return int(text) if text.isascii() and text.isdigit() else int(severities.get(text, 1))
