"""The store, the broker, the mail server away: evidence is taken all the same, and what waited is delivered after."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from config.stack.processes import wait_until
from tests.config.stack.running import free_port
from tests.e2e.scenario.stage import Stage
from tests.faults import verdict
from tests.faults.load import Load, Pipeline
from tests.faults.people import MailServer, hire
from tests.faults.site import Site, kill

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

_DELIVERY_SECONDS = 150


def test_it_takes_evidence_while_store_and_broker_are_away(site: Site, load: Load) -> None:
    kill(site.valkey)
    kill(site.seaweed)
    try:
        with load:
            load.wait_for_each(20)
        ready = httpx.get(f"{site.url}/readyz", timeout=30)
    finally:
        site.start_valkey()
        site.start_seaweed()
    assert ready.status_code == 200
    assert ready.json()["engines"]["broker"].startswith("down")
    assert ready.json()["engines"]["store"].startswith("down")
    assert (load.refusals, load.broken) == ({}, 0), load.trouble()
    verdict.check(site, load)


@pytest.fixture
def slow_load(pipeline: Pipeline) -> Load:
    """For tests that wait long for something else."""
    return Load(pipeline, pace=0.2)


# -- what waited is delivered after ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stage(site: Site) -> Stage:
    return hire(site, lea="liaison", alice="engineer", bob="approver")


@pytest.fixture(scope="module")
def mail_server() -> MailServer:
    return MailServer(free_port())


@pytest.fixture(scope="module")
def worker(site: Site, mail_server: MailServer) -> Iterator[None]:
    site.start_worker_and_beat(EMAIL_URL=f"smtp://127.0.0.1:{mail_server.port}")
    yield
    site.stop_worker_and_beat()


def eventually(what: str, condition: Callable[[], bool]) -> None:
    assert wait_until(condition, timeout=_DELIVERY_SECONDS, pause=0.3), f"{what}: not in time"


def ask_for_a_pack(stage: Stage) -> str:
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    answer = stage.post("lea", "packs", {"from": today, "to": today, "systems": ["shop"]}, 202)
    return str(answer["pack"]["id"])


def completions(site: Site, pack: str) -> int:
    """How often the ledger says that the pack was completed."""
    with site.database() as connection:
        found = connection.execute(
            'SELECT count(*) FROM evidence_record r JOIN evidence_payload p USING ("index")'
            " WHERE r.kind = 'pack.completed' AND r.facts ->> 'pack' = %s",
            [pack],
        ).fetchone()
    assert found is not None
    return int(found[0])


def _pack_is_ready(stage: Stage, pack: str) -> bool:
    state = stage.get("lea", f"packs/{pack}")["state"]
    assert state != "failed"
    return bool(state == "ready")


@pytest.mark.faults
@pytest.mark.parametrize("away", ["store", "broker"])
def test_it_builds_a_pack_that_was_asked_for_during_an_outage(
    site: Site, stage: Stage, worker: None, slow_load: Load, away: str
) -> None:
    with slow_load:
        slow_load.wait_for_each(2)
        kill(site.seaweed if away == "store" else site.valkey)
        try:
            pack = ask_for_a_pack(stage)
            time.sleep(5)  # several beats: the worker tries, and cannot
            slow_load.wait_for_each(5)
            assert not _pack_is_ready(stage, pack)
        finally:
            site.start_seaweed() if away == "store" else site.start_valkey()
        eventually("the pack", lambda: _pack_is_ready(stage, pack))
    assert slow_load.refusals == {}, slow_load.trouble()
    assert completions(site, pack) == 1
    verdict.check(site, slow_load)


@pytest.mark.faults
def test_it_sends_a_reminder_that_came_due_without_a_mail_server(
    site: Site, stage: Stage, worker: None, mail_server: MailServer, slow_load: Load
) -> None:
    with slow_load:
        number = approved_exception(stage)
        eventually("the first try", lambda: attempts(site, number) > 0)
        slow_load.wait_for_each(5)
        with mail_server.running():
            eventually("the reminder", lambda: bool(mail_server.subjects(f"{number} expires")))
            eventually("its record", lambda: outcomes(site, number) == ["delivered"])
            time.sleep(3)  # several beats more
    assert len(mail_server.subjects(f"{number} expires")) == 1
    assert len(mail_server.subjects(f"{number} Bob approved it")) == 1
    assert slow_load.refusals == {}, slow_load.trouble()
    verdict.check(site, slow_load)


def approved_exception(stage: Stage) -> str:
    """One that ends tomorrow: the reminder of the day before is due at once."""
    wanted: dict[str, Any] = {
        "title": "A fault drill",
        "justification": "Mail is away meanwhile.",
        "severity": "low",
        "systems": ["shop"],
        "owner": "alice@example.com",
        "expires_at": f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}",
    }
    number = str(stage.post("alice", "exceptions", wanted)["exception"]["id"])
    stage.post("bob", f"exceptions/{number}/transitions", {"to": "approved", "reason": "For the drill."})
    return number


def attempts(site: Site, number: str) -> int:
    with site.database() as connection:
        found = connection.execute(
            "SELECT coalesce(max(attempts), 0) FROM exceptions_reminder WHERE exception_id = %s", [number]
        ).fetchone()
    assert found is not None
    return int(found[0])


def outcomes(site: Site, number: str) -> list[str]:
    """What the ledger says became of the exception's reminders."""
    with site.database() as connection:
        rows = connection.execute(
            "SELECT outcome FROM evidence_record WHERE kind = 'exception.reminded' AND facts ->> 'exception' = %s",
            [number],
        )
        return [outcome for (outcome,) in rows.fetchall()]
