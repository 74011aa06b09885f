"""Rules of controls: each a small pure function from one member of a population to a verdict.

A rule is named in a control's YAML; ``with`` there holds its parameters. `now` is the time of the checkpoint that
the evaluation is pinned to: what is not due then is neither satisfied nor missing.
"""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from compliance.controls.exceptions import Life
from compliance.controls.facts import Item, Verdict
from evidence import approvals
from evidence.events import Event

Parameters = Mapping[str, Any]
Rule = Callable[[Item, Parameters, datetime], Verdict]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return register


# -- production deployments: `item.event` is the deploy.started record ---------------------------------------------


@rule("approved-before")
def approved_before(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """In each role the deployed digest stood approved before the deploy, each by another person, as the gate judges it.

    The deploy's own time is the earlier of its record's receipt and its claim: neither helps a late approval.
    """
    deploy = item.event
    started = min(deploy.at, deploy.occurred)
    decisions = item.of("approval")
    before = {role: approvals.decision(decisions, role, deploy.digest, until=started) for role in parameters["roles"]}
    granted = {role: event for role, event in before.items() if event and event.outcome == approvals.APPROVED}
    lacking = [role for role in parameters["roles"] if role not in granted]
    records = tuple(event.index for event in granted.values())
    if not lacking:
        people = {event.by for event in granted.values()}
        if len(people) < len(granted):
            return Verdict(Verdict.MISSING, "one person approved in two roles", records)
        return Verdict(Verdict.SATISFIED, "", records, max(event.at for event in granted.values()), started)
    late = [event for role in lacking if (event := approvals.approval(decisions, role, deploy.digest))]
    if len(late) == len(lacking):
        last = max(event.at for event in late)
        detail = f"approved by {', '.join(lacking)} after the deploy started"
        return Verdict(Verdict.LATE, detail, records + tuple(e.index for e in late), last, started)
    refused = [role for role in lacking if before[role]]
    detail = f"no approval by {', '.join(lacking)} for {_short(deploy.digest)}"
    return Verdict(Verdict.MISSING, detail + (f" ({', '.join(refused)} decided against)" if refused else ""), records)


@rule("tested-before")
def tested_before(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """The newest result of every suite for the deployed digest passed before the deploy."""
    deploy = item.event
    tests = [test for test in item.of("test.result") if _about(test, item)]
    newest: dict[str, Event] = {}
    for test in tests:
        if test.occurred < deploy.occurred and not test.is_backfilled:
            newest[str(test.facts.get("suite"))] = test
    failed = [suite for suite, test in newest.items() if test.outcome != "passed"]
    records = tuple(test.index for test in newest.values())
    if failed:
        return Verdict(Verdict.MISSING, f"failed before the deploy: {', '.join(sorted(failed))}", records)
    if newest:
        return _met(list(newest.values()), deploy.occurred)
    passed = [test for test in tests if test.outcome == "passed"]
    if passed:
        return _too_late(passed[-1], deploy.occurred)
    return Verdict(Verdict.MISSING, f"no passed test of {_short(deploy.digest)}")


def _about(event: Event, item: Item) -> bool:
    """Whether evidence is for what was deployed: it names the manifest's digest or one of its artifacts."""
    if event.digest is not None or item.event.digest in event.subjects:
        return item.event.digest in {event.digest, *event.subjects}
    manifests = [m for m in item.of("deploy.manifest") if m.digest == item.event.digest]
    return any(not event.subjects.isdisjoint(manifest.subjects) for manifest in manifests)


@rule("digest-recorded-before")
def digest_recorded_before(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """What was deployed is the newest manifest recorded before the deploy, the one that approvals are bound to."""
    deploy = item.event
    manifests = [m for m in item.of("deploy.manifest") if m.index < deploy.index]
    if not manifests:
        return Verdict(Verdict.MISSING, "deployed without a manifest")
    newest = manifests[-1]
    if newest.digest != deploy.digest:
        detail = f"deployed {_short(deploy.digest)}, the newest manifest is {_short(newest.digest)}"
        return Verdict(Verdict.MISSING, detail, (newest.index,))
    return Verdict(Verdict.SATISFIED, newest.lag_in_words, (newest.index,), newest.at, deploy.at)


@rule("staged-before")
def staged_before(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """What was deployed is what had run on staging. A release that never used staging is for the gate to stop."""
    deploy = item.event
    staged = [
        e
        for e in item.of("deploy.finished")
        if e.environment == "staging" and e.outcome == "succeeded" and e.index < deploy.index
    ]
    if not staged:
        return Verdict(Verdict.NOT_DUE, "no deployment to staging was recorded")
    same = [event for event in staged if event.digest == deploy.digest]
    if not same:
        detail = f"deployed {_short(deploy.digest)}, staging ran {_short(staged[-1].digest)}"
        return Verdict(Verdict.MISSING, detail, (staged[-1].index,))
    return Verdict(Verdict.SATISFIED, same[-1].lag_in_words, (same[-1].index,), same[-1].occurred, deploy.at)


@rule("evidence-within")
def evidence_within(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """A record of `kind` for `environment` within `hours` of the end of the deploy; a stated outcome is `outcome`."""
    deploy = item.event
    finished = [e for e in item.of("deploy.finished") if e.digest == deploy.digest and e.index > deploy.index]
    since = finished[0].occurred if finished else deploy.occurred
    due = since + timedelta(hours=float(parameters["hours"]))
    found = [event for event in item.of(parameters["kind"]) if _follows(event, deploy, parameters)]
    wanted = parameters.get("outcome")
    good = [event for event in found if wanted is None or event.outcome == wanted]
    if good and found[-1].outcome not in {wanted, None}:
        return Verdict(Verdict.MISSING, f"the newest one {found[-1].outcome}", (found[-1].index,), due=due)
    timely = [event for event in good if event.occurred <= due and not event.is_backfilled]
    if timely:
        return _met(timely[:1], due)
    if good:
        return _too_late(good[0], due)
    if now < due:
        return Verdict(Verdict.NOT_DUE, due=due)
    return Verdict(Verdict.MISSING, f"none until {due:%Y-%m-%d %H:%M} UTC", tuple(e.index for e in found), due=due)


def _follows(event: Event, deploy: Event, parameters: Parameters) -> bool:
    right_place = event.environment in {None, parameters.get("environment", event.environment)}
    return right_place and event.digest in {None, deploy.digest} and event.occurred >= deploy.occurred


def _met(events: list[Event], due: datetime) -> Verdict:
    detail = "; ".join(sorted({event.lag_in_words for event in events if event.lag}))
    met_at = max(event.occurred for event in events)
    return Verdict(Verdict.SATISFIED, detail, tuple(event.index for event in events), met_at, due)


def _too_late(event: Event, due: datetime) -> Verdict:
    by = event.occurred - due
    detail = "; ".join(filter(None, [f"{by} late".split(".")[0] if by > timedelta(0) else "", event.lag_in_words]))
    return Verdict(Verdict.LATE, detail or "late", (event.index,), event.occurred, due)


def _short(digest: str | None) -> str:
    return digest[:19] + "…" if digest else "no digest"


# -- exceptions: `item.events` are all records of one ---------------------------------------------------------------


@rule("separate-approvers")
def separate_approvers(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """As many people as it needed approved it, none of whom asked for it or owns it."""
    life = Life(tuple(item.events))
    if not life.approvals:
        if life.closed is not None:
            return Verdict(
                Verdict.SATISFIED, f"never in force: {life.state_at(now)}", (life.closed.index,), life.closed.at
            )
        return Verdict(Verdict.NOT_DUE, "waiting for approval")
    records = tuple(event.index for event in life.approvals)
    own = [event for event in life.approvals if event.by in {life.request.by, *life.owners}]
    if own:
        return Verdict(Verdict.MISSING, "approved by who asked for it or owns it", records)
    if life.in_force_from is None:
        return Verdict(Verdict.NOT_DUE, "waiting for another approval", records)
    return Verdict(Verdict.SATISFIED, "", records, life.in_force_from)


@rule("reminded-before-expiry")
def reminded_before_expiry(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """While it was open, a person was reminded before it expired; a post in a chat channel is nobody's. Terms under a
    day have no reminder."""
    life = Life(tuple(item.events))
    expiry, ended = life.expires_at, life.closed
    short = expiry - life.effective_from < timedelta(days=float(parameters.get("shortest_term_days", 1)))
    told = [event for event in life.reminders if event.facts.get("channel") != "chat"]
    delivered = [event for event in told if event.outcome == "delivered"]
    if delivered and delivered[0].at < expiry:
        return Verdict(Verdict.SATISFIED, "", tuple(e.index for e in delivered), delivered[0].at, expiry)
    if life.in_force_from is None or short or now < expiry or (ended is not None and ended.at < expiry):
        return Verdict(Verdict.NOT_DUE, due=expiry)
    if delivered:
        return Verdict(Verdict.LATE, "after it expired", (delivered[0].index,), delivered[0].at, expiry)
    return Verdict(Verdict.MISSING, "expired without a reminder", due=expiry)


# -- access changes --------------------------------------------------------------------------------------------------


@rule("changed-by-another")
def changed_by_another(item: Item, parameters: Parameters, now: datetime) -> Verdict:
    """Nobody changes their own access."""
    event = item.event
    if event.facts.get("user") == event.by:
        return Verdict(Verdict.MISSING, "changed by the person themselves", (event.index,))
    return Verdict(Verdict.SATISFIED, "", (event.index,), event.at)
