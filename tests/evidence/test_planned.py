"""Planned against actual, incidents with their silence, rollbacks against the matrix: pure arithmetic."""

from datetime import timedelta
from typing import Any

import pytest

from evidence import incidents, release_policy
from evidence.models import Release
from evidence.planned import cutover, lines
from tests.evidence.stories import BUILD, OTHER, Story, at

POLICY = release_policy.load()


def release(**changes: object) -> Release:
    return Release(id="trading:r1", window_from=at(0), window_to=at(60), **changes)


def line(story: Story, name: str, minutes: float = 9999) -> tuple[str, str]:
    (found,) = [each for each in lines(release(), story, POLICY, now=at(minutes)) if each.id == name]
    return found.state, found.words


def live() -> Story:
    return Story().manifest().deploy("staging", -20).deploy("production", 0)


def test_it_says_by_how_much_something_is_late_or_missing():
    facts: dict[str, Any] = {"environment": "production", "metrics": {"lcp": 2.1}}
    assert line(live(), "metrics", minutes=65) == ("due", "due in 1 h")
    assert line(live(), "metrics", minutes=5 + 120 + 90) == ("missing", "missing for 1 h 30 min")
    assert line(live().add("metrics.snapshot", 100, **facts), "metrics") == ("present", "present")
    assert line(live().add("metrics.snapshot", 150, **facts), "metrics") == ("late", "late by 25 min")
    assert line(live().add("metrics.snapshot", 100, later=3000, **facts), "metrics") == (
        "backfilled",
        "backfilled after 2 d 2 h",
    )
    assert line(Story().manifest(), "metrics") == ("waiting", "waiting")


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "present"),
        ({"outcome": "failed"}, "failed"),
        ({"environment": "staging"}, "missing"),
        ({"manifest_digest": OTHER}, "missing"),
    ],
)
def test_it_takes_only_evidence_of_this_build_in_this_place(changes, state):
    facts = {"environment": "production", "outcome": "passed", "manifest_digest": BUILD} | changes
    assert line(live().add("validation.result", 20, **facts), "validation")[0] == state


def test_a_validation_before_the_deploy_does_not_count_for_it():
    story = Story().manifest().add("validation.result", -30, environment="production", outcome="passed")
    assert line(story.deploy("production", 0), "validation")[0] == "missing"


def test_it_compares_the_cutover_with_its_plan():
    story = live().add("cutover.step", -12, step="war room OPENS", state="started")
    story.add("cutover.step", -9, step="War room opens", state="finished")
    story.add("cutover.step", 50, step="Lunch", state="started")
    found = {step.step: step for step in cutover(release(), story, POLICY, now=at(120))}
    war_room, canaries, lunch = found["War room opens"], found["Production canaries"], found["Lunch"]
    assert (war_room.state, war_room.words) == ("done", "11 min late")
    assert (found["Promote to production"].state, found["Promote to production"].late) == ("done", timedelta(0))
    assert (canaries.state, canaries.planned_from) == ("missing", at(10))
    assert (lunch.state, lunch.planned_from) == ("running", None)


def test_a_release_may_have_a_plan_of_its_own():
    steps = [{"step": "Switch", "from": "2026-03-10T16:00:00Z", "to": "2026-03-10T16:10:00Z", "owner": "Cora"}]
    story = Story().add("cutover.planned", -100, steps=steps)
    (step,) = cutover(release(), story, POLICY, now=at(0))
    assert (step.step, step.owner, step.planned_from, step.state) == ("Switch", "Cora", at(60), "planned")


def test_an_incident_needs_news_every_half_hour():
    story = Story().add("incident.opened", 0, incident="I-1", severity=2, title="Quotes stand still")
    story.add("incident.updated", 25, incident="I-1", text="Looking").add("incident.updated", 40, incident="I-2")
    story.add("incident.resolved", 95, incident="I-1")
    (found,) = incidents.incidents(story, every=POLICY.incident_updates, now=at(200))
    assert [(gap.start, gap.end) for gap in found.gaps] == [(at(25), at(95))]
    assert (found.state, found.next_due) == ("resolved", None)
    (still,) = incidents.incidents(story[:2], every=POLICY.incident_updates, now=at(50))
    assert (still.state, still.gaps, still.next_due) == ("open", (), at(55))


@pytest.mark.parametrize(
    ("kind", "severity", "minutes", "facts", "findings"),
    [
        ("rollback", 1, 10, {"flags_restored": True}, ()),
        ("rollback", 1, 10, {}, ("flags not restored",)),
        ("rollback", 2, 25, {"flags_restored": True}, ("15 min later than 10 min allow",)),
        ("rollback", 3, 10, {"flags_restored": True}, ("a rollback is not what severity 3 asks for",)),
        ("hotfix", 3, 60, {}, ()),
        ("hotfix", 1, 5, {}, ("a hotfix is not what severity 1 asks for",)),
    ],
)
def test_it_holds_rollbacks_against_the_matrix(kind, severity, minutes, facts, findings):
    story = Story().add("incident.opened", 0, incident="I-1", severity=severity, title="Down")
    story.add(kind, minutes, severity=severity, trigger="p95", owner="SRE", **facts)
    (reaction,) = incidents.reactions(story, POLICY.rollbacks)
    assert (reaction.findings, reaction.root_cause) == (findings, None)
    story.add("postmortem", 900, incident="I-1", root_cause="A cache")
    assert incidents.reactions(story, POLICY.rollbacks)[0].root_cause == 2
