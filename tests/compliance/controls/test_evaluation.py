"""Controls over a real ledger: what each says about a release played well, and about one that was not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from compliance.controls.evaluation import Row, evaluate, summarise
from compliance.controls.populations import Period
from evidence.people import save_system
from exceptions import lifecycle
from tests.cast import Cast
from tests.compliance.conftest import Story, actor

Stories = Callable[..., Story]
Around = tuple[datetime, datetime]


def judged(around: Around) -> dict[str, Row]:
    """Rows of the one deployment by control id."""
    return {
        row.control.id: row for row in evaluate(Period.pinned(*around)) if row.control.population.startswith("prod")
    }


def test_it_finds_a_release_played_well_satisfied(story: Stories, around: Around) -> None:
    played = story().open().build().deploy(environment="staging").approve().deploy().validate()
    rows = judged(around)
    log = rows.pop("deploy-log-kept")
    assert log.status == "not due"
    assert {row.status for row in rows.values()} == {"satisfied"}
    assert len(rows["change-approved"].records) == 4
    assert rows["change-recorded"].records == (played.placed["deploy.manifest"].index,)


def test_it_calls_an_approval_after_the_deploy_late(story: Stories, around: Around) -> None:
    played = story().open().build().approve("product", "design", "qa").deploy()
    played.approve("sre")
    row = judged(around)["change-approved"]
    assert (row.status, row.detail) == ("late", "approved by sre after the deploy started")
    assert played.placed["approval"].index in row.records
    assert row.met_at is not None
    assert row.due is not None
    assert row.met_at > row.due


def test_it_does_not_let_a_backdated_deploy_claim_help_or_hurt(story: Stories, around: Around) -> None:
    played = story().open().build()
    played.approve()
    earlier = datetime.now(UTC) - timedelta(hours=1)
    body = {"environment": "production", "manifest_digest": played.digest}
    played.write("deploy.started", body, occurred=earlier)
    assert judged(around)["change-approved"].status == "late"


def test_it_names_the_role_that_never_approved(story: Stories, around: Around) -> None:
    story().open().build().approve("product", "design", "qa").deploy()
    row = judged(around)["change-approved"]
    assert row.status == "missing"
    assert row.detail.startswith("no approval by sre for sha256:")


def test_it_does_not_count_a_withdrawn_approval(story: Stories, around: Around) -> None:
    played = story().open().build().approve()
    played.write("record.withdrawn", {"index": played.placed["approval"].index, "reason": "wrong build"})
    played.deploy()
    assert judged(around)["change-approved"].status == "missing"


def test_nobody_overrides_anothers_rejection(story: Stories, around: Around) -> None:
    played = story().open().build().approve()
    role = {"role": "qa", "manifest_digest": played.digest}
    played.write("approval", role | {"decision": "rejected", "comment": "Broken"}, by=actor(played.cast.bob))
    played.write("approval", role | {"decision": "approved"}, by=actor(played.cast.root))
    played.deploy()
    row = judged(around)["change-approved"]
    assert (row.status, row.detail.partition("(")[2]) == ("missing", "qa decided against)")
    played.write("approval", role | {"decision": "withdrawn"}, by=actor(played.cast.bob))
    assert judged(around)["change-approved"].status == "late"


def test_it_lists_a_deploy_of_another_digest_as_missing(story: Stories, around: Around) -> None:
    story().open().build().approve().deploy(manifest_digest="sha256:" + "0" * 64)
    rows = judged(around)
    assert rows["change-recorded"].status == "missing"
    assert "the newest manifest is" in rows["change-recorded"].detail
    assert rows["change-approved"].status == "missing"
    assert rows["change-tested"].status == "missing"


def test_it_lists_a_build_that_staging_never_ran_as_missing(story: Stories, around: Around) -> None:
    played = story().open().build().deploy(environment="staging", manifest_digest="sha256:" + "0" * 64).deploy()
    row = judged(around)["change-staged"]
    assert (row.status, row.detail.startswith(f"deployed {played.digest[:19]}")) == ("missing", True)


def test_it_does_not_count_a_failed_test_or_one_of_another_digest(story: Stories, around: Around) -> None:
    played = story().open().build().approve()
    played.write("test.result", {"suite": "unit", "outcome": "failed", "manifest_digest": played.digest})
    played.write("test.result", {"suite": "unit", "outcome": "passed", "manifest_digest": "sha256:" + "1" * 64})
    played.deploy()
    row = judged(around)["change-tested"]
    assert (row.status, row.detail) == ("missing", "failed before the deploy: unit")


def test_it_never_calls_backfilled_evidence_on_time(story: Stories, around: Around) -> None:
    played = story().open().build().approve()
    then = datetime.now(UTC) - timedelta(days=2)
    played.write("deploy.started", {"environment": "production", "manifest_digest": played.digest}, occurred=then)
    metrics = {"environment": "production", "metrics": {"errors": 1}}
    played.write("metrics.snapshot", metrics, occurred=then + timedelta(minutes=30))
    row = judged(around)["metrics-attached"]
    assert row.status == "late"
    assert "backfilled" in row.detail


def test_it_marks_metrics_after_two_hours_late_and_none_missing(story: Stories, around: Around) -> None:
    for tag, lag in (("late", 3), ("none", None)):
        played = story(tag=tag).open().build().approve()
        then = datetime.now(UTC) - timedelta(hours=10)
        played.write("deploy.started", {"environment": "production", "manifest_digest": played.digest}, occurred=then)
        if lag:
            metrics = {"environment": "production", "metrics": {"errors": 1}}
            played.write("metrics.snapshot", metrics, occurred=then + timedelta(hours=lag))
    rows = [row for row in evaluate(Period.pinned(*around)) if row.control.id == "metrics-attached"]
    assert [(row.status, row.detail) for row in rows] == [
        ("late", "1:00:00 late; recorded 7 h later"),
        ("missing", rows[1].detail),
    ]


def test_it_counts_what_an_exception_in_force_waives_as_excepted(cast: Cast, story: Stories, around: Around) -> None:
    asked = lifecycle.Application(
        title="SRE rota is empty",
        justification="Two people left.",
        severity="medium",
        systems=["netlify-trading"],
        owner="charlie@example.com",
        requirements=["approval-sre"],
        expires_at=datetime.now(UTC) + timedelta(days=20),
    )
    placed = lifecycle.request_exception(actor=actor(cast.alice), application=asked)
    name = placed.body["exception"]
    story(tag="before").open().build().approve("product", "design", "qa").deploy()
    lifecycle.approve(actor=actor(cast.bob), exception=name, reason="Seen")
    story(tag="after").open().build().approve("product", "design", "qa").deploy()
    lifecycle.revoke(actor=actor(cast.lea), exception=name, reason="Somebody was hired")
    story(tag="revoked").open().build().approve("product", "design", "qa").deploy()
    rows = [row for row in evaluate(Period.pinned(*around)) if row.control.id == "change-approved"]
    assert [row.status for row in rows] == ["missing", "excepted", "missing"]
    assert f"waived by {name} until" in rows[1].detail
    separate = next(
        row for row in evaluate(Period.pinned(*around)) if row.control.id == "exception-approved-by-another"
    )
    assert (separate.item, separate.status) == (name, "satisfied")


def test_it_leaves_sandboxes_staging_and_other_periods_out(cast: Cast, story: Stories, around: Around) -> None:
    story(tag="one").open().build().approve().deploy(environment="staging")
    assert judged(around) == {}
    story(tag="two").open().build().approve().deploy()
    assert judged(around) != {}
    assert judged((around[0] - timedelta(days=400), around[0])) == {}
    save_system(actor=actor(cast.root), name=cast.trading.name, sandbox=True, system=cast.trading)
    assert judged(around) == {}


def test_it_sums_up_what_was_required(story: Stories, around: Around) -> None:
    story().open().build().approve("qa").deploy()
    counts = summarise(Period.pinned(*around)).by_control["change-approved"]
    assert (counts.population, counts.missing, counts.required, counts.completion) == (1, 1, 1, 0.0)


def test_it_stands_at_its_checkpoint(story: Stories, around: Around) -> None:
    played = story().open().build().approve("product", "design", "qa").deploy()
    pinned = Period.pinned(*around)
    before = [(row.item, row.control.id, row.status) for row in evaluate(pinned)]
    played.approve("sre").write("record.withdrawn", {"index": played.placed["deploy.manifest"].index, "reason": "no"})
    assert [(row.item, row.control.id, row.status) for row in evaluate(pinned)] == before


@pytest.mark.parametrize("changes", [{"rule": "none"}, {"criteria": ["CC99"]}, {"population": "x"}, {"more": 1}])
def test_it_refuses_a_control_that_makes_no_sense(changes: dict[str, object]) -> None:
    from compliance.controls.catalog import parse_control
    from config.errors import InvalidError

    good = {
        "id": "one",
        "title": "One",
        "criteria": ["CC8.1"],
        "population": "access-changes",
        "rule": "changed-by-another",
    }
    assert parse_control(good).id == "one"
    with pytest.raises(InvalidError) as caught:
        parse_control(good | changes)
    assert caught.value.code == "control_invalid"
