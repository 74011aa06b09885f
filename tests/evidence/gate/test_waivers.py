"""A requirement is waived by an exception in force that names it, and by nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any

from evidence.api.actors import actor_for
from evidence.gate.evaluation import evaluate
from evidence.gate.gather import Pin
from evidence.ledger import reader
from evidence.models import Release
from evidence.tlog.leaf import format_time
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.evidence.gate.conftest import Play


def grant(play: Play, *requirements: str, **changes: Any) -> SecurityException:
    """Alice asks, Lea approves."""
    asked: dict[str, Any] = {
        "title": "QA is away",
        "justification": "One person, on leave",
        "severity": "high",
        "systems": ["netlify-trading"],
        "owner": "alice@example.com",
        "requirements": list(requirements),
        "expires_at": datetime.now(UTC) + timedelta(days=10),
    }
    application = lifecycle.Application(**asked | changes)
    placed = lifecycle.request_exception(actor=actor_for(play.cast.alice), application=application)
    name = str(placed.body["exception"])
    lifecycle.approve(actor=actor_for(play.cast.lea), exception=name, reason="Seen")
    return SecurityException.objects.get(pk=name)


def test_it_waives_what_an_exception_names_and_hides_nothing(play: Play, django_assert_max_num_queries):
    play.everything()
    play.sign("qa", decision="withdrawn")
    assert play.failing() == {"approval-qa": "unmet"}
    exception = grant(play, "approval-qa", "approved-before-deploy")
    with django_assert_max_num_queries(15):
        found = play.gate()
    assert found["passed"]
    row = play.one("approval-qa")
    assert (row["state"], row["finding"], row["waiver"]["exception"]) == ("waived", "unmet", exception.id)
    assert row["waiver"]["until"] == format_time(exception.expires_at)
    assert row["detail"].startswith("no approval of")
    # It ends by itself.
    release = Release.objects.select_related("system").get(pk=play.release)
    last = exception.expires_at - timedelta(microseconds=1)
    for moment, state in ((last, "waived"), (exception.expires_at, "unmet")):
        answer = evaluate(release, "production", Pin(reader.size(), moment))
        (judged,) = [judged for judged in answer.requirements if judged.requirement.name == "approval-qa"]
        assert judged.state == state
    # And with a revocation; the past stays as it was.
    size = reader.size()
    lifecycle.revoke(actor=actor_for(play.cast.bob), exception=exception.id, reason="Back from leave")
    assert play.failing() == {"approval-qa": "unmet"}
    assert play.failing(size=size) == {}


def test_it_takes_no_exception_for_another_system_or_requirement(play: Play):
    play.everything()
    play.sign("qa", decision="withdrawn")
    grant(play, "approval-qa", systems=["billing"])
    grant(play, "approval-product")
    grant(play, "approval-qa", effective_from=datetime.now(UTC) + timedelta(days=1))
    assert play.failing() == {"approval-qa": "unmet"}


def test_it_excuses_no_deploy_that_came_before_the_exception(play: Play):
    play.everything()
    play.sign("qa", decision="withdrawn")
    play.deploy("production")
    grant(play, "approval-qa", "approved-before-deploy")
    assert play.failing() == {"approval-qa": "unmet", "approved-before-deploy": "unmet"}


def test_it_excuses_a_deploy_that_came_under_the_exception(play: Play):
    play.everything()
    play.sign("qa", decision="withdrawn")
    exception = grant(play, "approval-qa")
    play.deploy("production")
    assert play.failing() == {}
    lifecycle.revoke(actor=actor_for(play.cast.bob), exception=exception.id, reason="Back from leave")
    assert play.failing() == {"approval-qa": "unmet"}  # what went under it stays excused
