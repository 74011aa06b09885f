"""What was tested is what is deployed, and who had approved it: red before, a failure row after."""

from datetime import timedelta

import pytest

from evidence import deploys, inventory
from evidence.deploys import deployments, differences, failures, retrospectives
from evidence.events import Event
from tests.evidence.stories import BUILD, OTHER, ROLES, Story, at

DAY = timedelta(hours=24)


def good() -> Story:
    """Staged, tested and approved by two people, then deployed."""
    story = Story().manifest().deploy("staging", -50)
    story.add("test.result", -40, suite="unit", outcome="passed", manifest_digest=BUILD)
    return story.approve("product", -20, by="lea").approve("qa", -15, by="bob")


def codes(story: Story) -> list[str]:
    return [failure.code for failure in failures(story, roles=ROLES)]


def test_it_finds_nothing_wrong_with_a_release_by_the_book():
    story = good()
    assert differences(story) == []
    story.deploy("production", 0)
    assert codes(story) == []
    (run,) = deployments(story, "production")
    assert (run.outcome, run.at, run.deployers) == ("succeeded", at(0), frozenset({"ci"}))
    assert retrospectives(story, run, roles=ROLES, within=DAY, now=at(9999)) == []


@pytest.mark.parametrize(
    ("story", "code"),
    [
        (Story(), "manifest_missing"),
        (Story().manifest(), "staging_missing"),
        (Story().manifest().deploy("staging", -50, digest=OTHER), "staging_digest"),
        (
            Story().manifest().deploy("staging", -50).add("test.result", -40, suite="unit", manifest_digest=OTHER),
            "test_digest",
        ),
        (
            Story().manifest().deploy("staging", -50).add("validation.result", -40, manifest_digest=OTHER),
            "validation_digest",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_it_names_what_differs_before_a_deploy(story, code):
    assert [difference.code for difference in differences(story)] == [code]


def test_it_names_a_staged_build_that_failed_as_not_staged():
    story = Story().manifest().add("deploy.started", -50, environment="staging", manifest_digest=BUILD)
    story.add("deploy.finished", -45, environment="staging", manifest_digest=BUILD, outcome="failed")
    assert [difference.code for difference in differences(story)] == ["staging_missing"]


def test_another_build_in_production_is_a_failure_row():
    story = good().deploy("production", 0, digest=OTHER)
    assert codes(story) == ["deployed_digest", "approval_missing"]
    story = good().manifest(-5, OTHER).deploy("production", 0, digest=OTHER)
    assert codes(story) == ["staging_digest", "approval_missing"]


def test_who_deploys_has_not_approved():
    assert codes(good().deploy("production", 0, by="bob")) == ["deployer_approved"]
    assert codes(good().deploy("production", 0, deployed_by="BOB")) == ["deployer_approved"]


def test_who_deploys_is_known_by_what_records_call_them():
    story = good().deploy("production", 0, deployed_by="Bob@Example.com")
    assert codes(story) == []
    assert [f.code for f in failures(story, roles=ROLES, people={"bob": {"bob@example.com"}})] == ["deployer_approved"]


def test_an_approval_counts_only_if_it_was_received_before():
    story = Story().manifest().deploy("staging", -50).approve("product", -20, by="lea").deploy("production", 0)
    (run,) = deployments(story, "production")
    owed = retrospectives(story, run, roles=ROLES, within=DAY, now=at(60))
    assert [(each.role, each.state, each.words) for each in owed] == [("qa", "due", "due in 23 h")]
    assert [each.words for each in retrospectives(story, run, roles=ROLES, within=DAY, now=at(25 * 60))] == [
        "overdue by 1 h"
    ]
    story.approve("qa", 26 * 60, by="bob")
    assert [each.words for each in retrospectives(story, run, roles=ROLES, within=DAY, now=at(99999))] == [
        "late by 2 h"
    ]
    assert deploys.is_emergency(story, run, ROLES)
    assert codes(story) == ["approval_missing"]


@pytest.mark.parametrize(("decision", "emergency"), [("withdrawn", True), ("rejected", True), ("approved", False)])
def test_the_newest_decision_counts(decision, emergency):
    story = good().approve("qa", -10, by="bob", decision=decision).deploy("production", 0)
    (run,) = deployments(story, "production")
    assert deploys.is_emergency(story, run, ROLES) is emergency


def test_nobody_overrides_anothers_rejection():
    story = good().approve("qa", -12, by="ben", decision="rejected").approve("qa", -10, by="bob")
    story.deploy("production", 0)
    (run,) = deployments(story, "production")
    assert codes(story) == ["approval_missing"]
    (owed,) = retrospectives(story, run, roles=ROLES, within=DAY, now=at(60))
    assert (owed.state, owed.approval and owed.approval.by) == ("rejected", "ben")
    story.approve("qa", 30, by="ben", decision="withdrawn")
    (owed,) = retrospectives(story, run, roles=ROLES, within=DAY, now=at(60))
    assert (owed.state, owed.approval and owed.approval.by) == ("given", "bob")


def test_history_owes_nothing_but_hides_nothing():
    story = good().add("deploy.started", -9000, later=9010, environment="production", manifest_digest=BUILD)
    (run,) = deployments(story, "production")
    assert run.is_backfilled
    assert not deploys.is_emergency(story, run, ROLES)
    assert "approval_missing" in codes(story)


# -- inventories -------------------------------------------------------------------------------------------------------


def inventory_of(*rows: dict[str, str], minutes: float = 600) -> Event:
    story = Story().add("deploy.inventory", minutes, source="netlify", query="deploys", rows=list(rows))
    return story[0]


def reconciled(story: Story, *inventories: Event) -> inventory.Reconciliation:
    listed = inventory.rows(inventories, start=at(-9999), end=at(9999))
    return inventory.reconcile(
        listed,
        deployments(story, "production"),
        covered=inventory.coverage(inventories),
        tolerance=timedelta(minutes=60),
    )


def test_it_matches_both_lists_and_shows_what_either_lacks():
    story = good().deploy("production", 0).deploy("production", 180)
    found = reconciled(
        story,
        inventory_of(
            {"id": "d1", "at": "2026-03-10T15:04:00Z", "release": "r1"},
            {"id": "d2", "at": "2026-03-10T20:00:00Z"},
            {"id": "s1", "at": "2026-03-10T14:10:00Z", "environment": "staging"},
        ),
    )
    assert [(row.id, run.at) for row, run in found.matched] == [("d1", at(0))]
    assert [row.id for row in found.unrecorded] == ["d2"]
    assert [run.at for run in found.unlisted] == [at(180)]


def test_a_row_is_matched_once_and_only_with_its_own_release():
    story = good().deploy("production", 0)
    found = reconciled(
        story,
        inventory_of(
            {"id": "near", "at": "2026-03-10T15:05:00Z"},
            {"id": "twin", "at": "2026-03-10T15:20:00Z"},
            {"id": "stranger", "at": "2026-03-10T15:05:00Z", "release": "another"},
        ),
    )
    assert [row.id for row, _ in found.matched] == ["near"]
    assert {row.id for row in found.unrecorded} == {"twin", "stranger"}


def test_what_an_inventory_does_not_reach_is_no_finding():
    story = good().deploy("production", 0)
    assert reconciled(story, inventory_of(minutes=-10)).unlisted == ()
    assert len(reconciled(story, inventory_of(minutes=10)).unlisted) == 1
    assert reconciled(story).unlisted == ()


def test_the_newest_inventory_of_a_source_says_it_again_once():
    row = {"id": "d1", "at": "2026-03-10T15:04:00Z"}
    found = reconciled(good().deploy("production", 0), inventory_of(row), inventory_of(row, minutes=700))
    assert len(found.matched) == 1
    assert found.unrecorded == ()
