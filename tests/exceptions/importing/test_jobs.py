"""Files on their way into the register: what is recorded, what is shown, and when."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from config.errors import ConflictError, ForbiddenError, InvalidError
from evidence.ledger import Idempotency, reader, store
from evidence.models import Payload, Record, User
from exceptions import lifecycle, ratification, reminders
from exceptions.importing import fates, jobs
from exceptions.models import Import, ImportMapping, Reminder, SecurityException
from exceptions.ratification import ratify
from exceptions.waivers import waivers
from tests.cast import Cast
from tests.exceptions.conftest import Request, actor
from tests.exceptions.importing.files import HEADINGS, REGISTER, csv_of, row


def bring(person: User, data: bytes, *, dry_run: bool = False, **more: Any) -> Import:
    opened = jobs.open_import(person=person, filename="register.csv", data=data, dry_run=dry_run, **more)
    assert jobs.run(opened.pk)
    opened.refresh_from_db()
    return opened


def error_of(found: Import) -> dict[str, Any]:
    assert found.error is not None
    return dict(found.error)


def claim_of(found: SecurityException) -> dict[str, Any]:
    assert found.claim is not None
    return dict(found.claim)


def day(days: int) -> str:
    return f"{datetime.now(UTC) + timedelta(days=days):%Y-%m-%d}"


def test_it_looks_at_a_sheet_and_records_nothing(cast: Cast) -> None:
    size = reader.size()
    found = bring(cast.lea, REGISTER.read_bytes(), dry_run=True)
    assert (found.state, reader.size()) == (Import.CHECKED, size)
    counts = found.summary["counts"]
    assert counts["bad"] > 5
    assert counts["left_out"] == 1
    cells = {problem["cell"] for one in fates.rows_of(found.fates) for problem in one["problems"]}
    assert {"Exceptions!K9", "Exceptions!A12", "Exceptions!K14"} <= cells
    assert found.summary["sheets"][0]["columns"]["expires_at"] == "Expiry date"


def test_it_takes_all_rows_or_none(cast: Cast) -> None:
    size = reader.size()
    found = bring(cast.lea, csv_of(row(), row(ref="SEC-2", expires="2027-02-30")))
    assert (found.state, error_of(found)["code"]) == (Import.REFUSED, "rows_bad")
    assert "register!I3" in error_of(found)["detail"]
    assert (reader.size(), SecurityException.objects.count()) == (size, 0)
    jobs.confirm(found, person=cast.lea, only_good=True)
    jobs.run(found.pk)
    assert [one.reference for one in SecurityException.objects.all()] == ["SEC-1"]


def test_what_a_sheet_calls_approved_is_chased_and_waives_nothing_until_it_is_ratified(cast: Cast) -> None:
    data = csv_of([*row(expires=day(10)), "dependency-alerts"], headings=[*HEADINGS, "Waives"])
    bring(cast.lea, data)
    found = SecurityException.objects.get()
    now = datetime.now(UTC)
    assert (found.state(now), claim_of(found)["approver_name"], found.imported_by) == ("claimed", "Bob", cast.lea.uid)
    assert found.requester == cast.cora.uid
    assert waivers("dependency-alerts", cast.trading.id, None, now) == []
    reminders.plan(now)
    assert Reminder.objects.filter(exception_id=found.pk, recipient=cast.charlie.uid).count() == 1
    with pytest.raises(ForbiddenError, match="imported"):
        lifecycle.approve(actor=actor(cast.lea), exception=found.pk)  # she brought it
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    assert [one.exception for one in waivers("dependency-alerts", cast.trading.id, None, datetime.now(UTC))] == [
        found.pk
    ]


def test_it_brings_too_long_a_term_which_only_an_executive_ratifies(cast: Cast) -> None:
    bring(cast.lea, csv_of(row(severity="critical", expires=day(300))))
    found = SecurityException.objects.get()
    assert found.approvals_needed == 2
    assert "over_long" in claim_of(found)["flags"]
    owner = {"owner": "cora@example.com"}  # nobody may ask for so long a term; what a sheet claims is a fact
    lifecycle.amend(actor=actor(cast.cora), exception=found.pk, reason="Moved to us", changes=owner)
    lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    with pytest.raises(ForbiddenError) as refused:
        lifecycle.approve(actor=actor(cast.root), exception=found.pk)
    assert refused.value.code == "executive_required"
    lifecycle.approve(actor=actor(cast.max), exception=found.pk)
    found.refresh_from_db()
    assert found.decision == "approved"


def test_it_brings_an_expired_claim_as_overdue(cast: Cast) -> None:
    bring(cast.lea, csv_of(row(expires=day(-20))))
    found = SecurityException.objects.get()
    assert {"expired", "start_unknown"} <= set(claim_of(found)["flags"])
    assert found in SecurityException.objects.in_state("due", datetime.now(UTC))
    with pytest.raises(InvalidError) as refused:
        lifecycle.approve(actor=actor(cast.bob), exception=found.pk)
    assert refused.value.code == "expiry_in_past"
    lifecycle.remediate(actor=actor(cast.lea), exception=found.pk, reason="The gateway is gone.", evidence=[0])


def test_an_approval_by_the_requester_is_no_claim(cast: Cast) -> None:
    bring(cast.lea, csv_of(row(approved_by="cora@example.com")))
    found = SecurityException.objects.get()
    assert found.decision == "requested"
    assert "self_approved" in claim_of(found)["flags"]


def test_it_gives_no_number_twice(cast: Cast, request_one: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    """While an import holds numbers, and after one that came to nothing."""
    assert request_one().pk == "EXC-0001"
    monkeypatch.setattr(store, "MAX_BATCH", 2)
    rows = [row(ref=f"SEC-{number}") for number in range(5)]
    held = jobs._hold
    asked: list[str] = []

    def while_others_write(found: Import, claim: str, **changes: Any) -> None:
        held(found, claim, **changes)
        if changes.get("done") == 5:
            asked.append(request_one().pk)
            assert SecurityException.objects.filter(imported_by=cast.lea.uid).count() == 0  # not before the last

    monkeypatch.setattr(jobs, "_hold", while_others_write)
    bring(cast.lea, csv_of(*rows))
    assert asked == ["EXC-0007"]
    assert SecurityException.objects.exclude(imported_by="").count() == 5
    assert request_one().pk == "EXC-0008"


def test_it_starts_over_when_its_worker_died_and_shows_nothing_of_the_first_attempt(
    cast: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = jobs.open_import(person=cast.lea, filename="r.csv", data=csv_of(row(), row(ref="SEC-2")), dry_run=False)
    with monkeypatch.context() as dying:
        dying.setattr(store, "MAX_BATCH", 1)
        dying.setattr(jobs, "_STEP", 1)
        held = jobs._hold

        def die(found: Import, claim: str, **changes: Any) -> None:
            held(found, claim, **changes)
            if changes.get("done") == 1:
                raise KeyboardInterrupt

        dying.setattr(jobs, "_hold", die)
        with pytest.raises(KeyboardInterrupt):
            jobs.run(opened.pk)
    assert not jobs.run(opened.pk)  # its claim still holds
    Import.objects.update(claimed_until=datetime.now(UTC))
    assert jobs.run_waiting() == 1
    assert sorted(SecurityException.objects.values_list("pk", flat=True)) == ["EXC-0003", "EXC-0004"]
    assert Record.objects.filter(kind="exception.requested").count() == 3


def test_it_refuses_the_same_file_and_the_same_reference_again(cast: Cast) -> None:
    bring(cast.lea, csv_of(row()))
    assert error_of(bring(cast.lea, csv_of(row())))["code"] == "file_imported"
    again = bring(cast.lea, csv_of(row(title="Said again")))
    (one,) = fates.rows_of(again.fates)
    assert [(p["code"], p["reason"]) for p in one["problems"]] == [
        ("reference_taken", "It is in the register already, as EXC-0001.")
    ]
    without = csv_of(row(ref=""))
    assert bring(cast.lea, without).state == Import.DONE
    assert error_of(bring(cast.lea, without))["code"] == "file_imported"


def test_it_remembers_what_was_said_of_the_same_headings(cast: Cast) -> None:
    said = {"columns": {"owner": "Who"}, "values": {"severity": {"Urgent!": "high"}}, "dates": "mdy"}
    headings = ["Who" if heading == "Owner" else heading for heading in HEADINGS]
    first = bring(cast.lea, csv_of(row(severity="urgent", expires="03/04/2027"), headings=headings), said=said)
    assert first.state == Import.DONE, first.error
    bring(cast.lea, csv_of(row(ref="SEC-2", severity="urgent", expires="03/05/2027"), headings=headings))
    assert [str(one.expires_at.date()) for one in SecurityException.objects.all()] == ["2027-03-05", "2027-03-04"]
    assert ImportMapping.objects.count() == 1


def test_it_lets_retention_run_from_the_expiry(cast: Cast) -> None:
    bring(cast.lea, csv_of(row(severity="low", expires="2040-03-31")))
    kept = Payload.objects.get(index=SecurityException.objects.get().requested_index)
    assert kept.retain_until.year == 2047


def test_it_hides_a_row_that_holds_a_secret(cast: Cast) -> None:
    # Put together here, so that no scanner takes this file for a leak.
    secret = "AKIA" + "Q7ZT5WJ3XK2MNPL4"
    found = bring(cast.lea, csv_of(row(title=f"Key {secret}")))
    assert error_of(found)["code"] == "rows_bad"
    shown = str(fates.rows_of(found.fates)) + "".join(fates.bad_rows_csv(found.fates)) + str(found.error)
    assert secret not in shown
    assert "secret_found" in shown


def test_only_liaisons_import(cast: Cast) -> None:
    with pytest.raises(ForbiddenError):
        jobs.open_import(person=cast.alice, filename="r.csv", data=b"x")
    opened = jobs.open_import(person=cast.lea, filename="r.csv", data=csv_of(row()), dry_run=True)
    jobs.run(opened.pk)
    jobs.confirm(opened, person=cast.lea, only_good=False)
    jobs.run(opened.pk)
    with pytest.raises(ConflictError):
        jobs.confirm(opened, person=cast.lea, only_good=False)


def test_it_ratifies_a_list_as_one_record_and_only_by_somebody_else(cast: Cast, request_one: Request) -> None:
    bring(cast.lea, csv_of(row(), row(ref="SEC-2", owner="Bob", approved_by="Max"), row(ref="SEC-3"), row(ref="SEC-4")))
    own = request_one().pk
    listed = ["EXC-0001", "EXC-0003", "EXC-0004"]
    size = reader.size()
    with pytest.raises(ConflictError) as refused:
        ratify(actor=actor(cast.bob), exceptions=[*listed, "EXC-0002", own], reason="Seen in the minutes")
    assert {one["where"]: one["code"] for one in refused.value.extra["errors"]} == {
        "EXC-0002": "self_approval", own: "transition_not_allowed",
    }  # fmt: skip
    with pytest.raises(ConflictError):
        ratify(actor=actor(cast.lea), exceptions=listed, reason="Mine")  # she imported them
    assert reader.size() == size
    said: dict[str, Any] = {"actor": actor(cast.bob), "exceptions": listed, "reason": "Seen in the minutes"}
    key = Idempotency.of("k", method="POST", path="/", body=b"")
    placed, again = (ratify(**said, idempotency=key) for _ in range(2))
    assert (again.replayed, again.receipt()) == (True, placed.receipt()), "whoever missed the answer gets it"
    assert [row["exception"] for row in placed.body["exceptions"]] == listed
    assert set(SecurityException.objects.filter(decision="approved").values_list("pk", flat=True)) == set(listed)
    approval = reader.get(placed.index + 1).recorded.body
    assert (approval["exception"], approval["list"]) == ("EXC-0001", placed.body["digest"])


def _rejected(cast: Cast) -> None:
    lifecycle.reject(actor=actor(cast.max), exception="EXC-0002", reason="Not ours")


def _half_approved(cast: Cast) -> None:
    """Whoever comes now is the last of two, of whom one has to be an executive."""
    lifecycle.approve(actor=actor(cast.root), exception="EXC-0002", reason="One of two")


@pytest.mark.parametrize("change", [_rejected, _half_approved])
def test_a_list_that_changed_under_way_is_not_ratified(
    cast: Cast, monkeypatch: pytest.MonkeyPatch, change: Callable[[Cast], None]
) -> None:
    bring(cast.lea, csv_of(row(), row(ref="SEC-2", severity="critical", expires=day(300))))
    judged = ratification._judged

    def meanwhile(numbers: Any, person: User) -> Any:
        found = judged(numbers, person)
        change(cast)
        return found

    monkeypatch.setattr(ratification, "_judged", meanwhile)
    with pytest.raises(ConflictError) as refused:
        ratify(actor=actor(cast.bob), exceptions=["EXC-0001", "EXC-0002"], reason="Seen")
    assert refused.value.code == "list_changed"
    assert not SecurityException.objects.filter(decision="approved").exists()
