"""Two people at the same moment: one wins, the other gets a clear answer, and the ledger holds one story."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection

from config.errors import ProoftrailError
from evidence.ledger import Placed
from evidence.models import User
from exceptions import lifecycle
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor, in_days
from tests.exceptions.test_lifecycle import now

Move = Callable[[], Placed]


def together(*moves: Move) -> list[str]:
    """What each came to: "written", or the code of its refusal."""
    start = threading.Barrier(len(moves))
    outcomes = [""] * len(moves)

    def work(place: int) -> None:
        start.wait()
        try:
            moves[place]()
            outcomes[place] = "written"
        except ProoftrailError as error:
            outcomes[place] = error.code
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=[place]) for place in range(len(moves))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def by(person: User, move: Callable[..., Placed], found: SecurityException, **given: object) -> Move:
    return lambda: move(actor=actor(person), exception=found.pk, reason="At once", **given)


@pytest.mark.parametrize("_round", range(3))
def test_of_two_approvers_one_approves_and_the_other_is_told(cast: Cast, request_one: Request, _round: int) -> None:
    found = request_one()
    outcomes = together(by(cast.bob, lifecycle.approve, found), by(cast.lea, lifecycle.approve, found))
    assert sorted(outcomes) == ["transition_not_allowed", "written"]
    assert found.approvals.count() == 1


def test_two_approvers_of_a_critical_one_both_count_and_one_twice_does_not(cast: Cast, request_one: Request) -> None:
    found, twice = request_one(severity="critical"), request_one(severity="critical")
    assert together(by(cast.bob, lifecycle.approve, found), by(cast.lea, lifecycle.approve, found)) == ["written"] * 2
    found.refresh_from_db()
    assert found.state(now()) == "active"
    outcomes = together(by(cast.bob, lifecycle.approve, twice), by(cast.bob, lifecycle.approve, twice))
    assert sorted(outcomes) == ["already_approved", "written"]
    twice.refresh_from_db()
    assert twice.state(now()) == "requested"


def test_an_approval_and_a_withdrawal_do_not_both_hold(cast: Cast, request_one: Request) -> None:
    found = request_one()
    outcomes = together(by(cast.bob, lifecycle.approve, found), by(cast.alice, lifecycle.withdraw, found))
    assert sorted(outcomes) == ["transition_not_allowed", "written"]


def test_a_revocation_holds_whatever_comes_at_the_same_time(cast: Cast, approved: Request) -> None:
    found = approved()
    lifecycle.request_renewal(actor=actor(cast.alice), exception=found.pk, expires_at=in_days(40), reason="Later")
    renewed, revoked = together(by(cast.bob, lifecycle.approve_renewal, found), by(cast.lea, lifecycle.revoke, found))
    found.refresh_from_db()
    assert revoked == "written"
    assert renewed in {"written", "transition_not_allowed"}
    assert found.state(now()) == "revoked"
    assert not found.renewal_pending


def test_of_two_renewals_one_waits(cast: Cast, approved: Request) -> None:
    found = approved()
    outcomes = together(
        by(cast.alice, lifecycle.request_renewal, found, expires_at=in_days(40)),
        by(cast.lea, lifecycle.request_renewal, found, expires_at=in_days(50)),
    )
    assert sorted(outcomes) == ["transition_not_allowed", "written"]
    assert found.renewals.count() == 1
