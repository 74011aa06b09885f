"""How `check_ledger` runs: what it prints, how it ends, while others write, in several processes."""

import io
import json
import threading
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from evidence.ledger.check import Check, ahead, check
from evidence.models import Release
from tests.evidence.check.tampering import Superuser, approval, flip, grow_to, tamper, write

ROLE = "UPDATE evidence_approval SET role = 'product' WHERE index = 5"


def _run(**options: Any) -> tuple[int, str]:
    """Exit code and what was printed."""
    out = io.StringIO()
    try:
        call_command("check_ledger", stdout=out, **options)
    except SystemExit as ended:
        return int(str(ended.code)), out.getvalue()
    return 0, out.getvalue()


def test_the_command_exits_0_when_clean_and_1_when_not(release: Release, superuser: Superuser) -> None:
    code, printed = _run()
    assert code == 0
    assert "size 9, root " in printed
    assert "clean" in printed
    superuser.execute(ROLE)
    code, printed = _run()
    assert code == 1
    assert "evidence_approval index=5, column role" in printed
    assert "1 deviation" in printed


def test_the_command_says_what_to_do_next(release: Release, superuser: Superuser) -> None:
    superuser.execute(ROLE)
    _, printed = _run()
    assert "projection: " in printed.split("What to do next")[1]


def test_the_command_answers_machines_in_json(release: Release, superuser: Superuser) -> None:
    superuser.execute(ROLE)
    code, printed = _run(json=True)
    answer = json.loads(printed)
    assert code == 1
    assert (answer["clean"], answer["size"], answer["count"], answer["unchecked"]) == (False, 9, 1, [])
    (deviation,) = answer["deviations"]
    assert deviation == {
        "what": "projection",
        "where": "evidence_approval index=5, column role",
        "detail": "the ledger gives 'qa', the table has 'product'",
    }


def test_the_command_exits_2_when_it_could_not_check(release: Release, superuser: Superuser) -> None:
    superuser.execute(f"REVOKE TEMPORARY ON DATABASE {connection.settings_dict['NAME']} FROM prooftrail_runtime")
    code, printed = _run(json=True)
    assert code == 2
    assert json.loads(printed)["unchecked"][0].startswith("This role may not make temporary tables.")


def test_the_command_exits_2_when_the_outside_copies_cannot_be_read(
    release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    from config.errors import UnavailableError

    def unreachable(*_: Any, **__: Any) -> None:
        raise UnavailableError("The object store does not answer.", code="store_unavailable")

    monkeypatch.setattr("evidence.ledger.check.run.check_anchors", unreachable)
    code, printed = _run()
    assert code == 2
    assert "NOT CHECKED anchors: The object store does not answer." in printed
    assert "clean" not in printed


def test_the_command_exits_2_when_the_database_goes_away(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restart(_: Any) -> None:
        superuser.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    monkeypatch.setattr("evidence.ledger.check.shadow.Shadows.compare", restart)
    code, printed = _run()
    assert code == 2
    assert "NOT CHECKED the rest: the database went away" in printed
    assert "clean" not in printed


def test_several_processes_find_the_same(
    release: Release, superuser: Superuser, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow_to(release.system, 600)
    monkeypatch.setattr(ahead, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(ahead, "RANGE", 100)
    tamper(superuser, "evidence_payload", flip("evidence_payload", "salt", "index = 250"))
    tamper(superuser, "evidence_note", "UPDATE evidence_note SET text = 'x' WHERE size = 5")
    superuser.execute(ROLE)
    run = Check(lambda _: None, lambda *_: None, jobs=2)
    run.run()
    assert [(one.what, one.where) for one in run.found] == [
        ("checkpoint", "size 5"),
        ("payload", "entry 250"),
        ("projection", "evidence_approval index=5, column role"),
    ]
    assert run.tree.size == 600


def test_it_finds_nothing_while_the_log_grows(release: Release) -> None:
    grow_to(release.system, 300)
    ended = threading.Event()

    def go_on() -> None:
        while not ended.is_set():
            write("approval", approval("qa"), release.system, release.id)
        connection.close()

    writer = threading.Thread(target=go_on)
    writer.start()
    try:
        assert check() == []
    finally:
        ended.set()
        writer.join()
    assert check() == []
