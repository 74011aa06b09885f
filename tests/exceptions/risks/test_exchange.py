"""The register as a file: out, in elsewhere, and in again."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import DjangoDbBlocker

from config.errors import ConflictError
from evidence.api.actors import actor_for
from evidence.composing import append_composed
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.models import Record, User
from evidence.people import issue_token
from evidence.spreadsheets import defused, undefused
from evidence.workbooks import workbook
from exceptions import risks
from exceptions.exchange import bringing
from exceptions.importing.workbook import read
from exceptions.models import Risk, RiskImport
from tests.cast import Cast, assemble
from tests.conftest import Clone, cloned
from tests.evidence.conftest import Api
from tests.exceptions.conftest import Request, actor
from tests.exceptions.importing.files import REGISTER
from tests.exceptions.risks.conftest import ENTRY, AddRisk, send

FORMATS = ("csv", "xlsx", "json")
HOSTILE = "=cmd|' /C calc'!A0"
TOUGH = {
    "title": HOSTILE,
    "description": 'First line\r\n\r\n- second; with "quotes", commas\tand tabs',
    "cause": "'=quoted already",
    "consequence": "−5 % of revenue, 中文, émigré",
    "mitigation": "+44 20 is a number, <b>no markup</b> & no entity",
    "contingency": "@home",
}


def register(add_risk: AddRisk, cast: Cast) -> None:
    """Three risks: full of what files stumble over, judged after treatment, closed."""
    item = {"title": "Call =the vendor", "owner": "bob@example.com", "due": date(2027, 3, 31)}
    links = {"controls": ["exception-reminded", "access-change-by-another"]}
    systems = ["billing", "netlify-trading"]
    add_risk(**TOUGH, systems=systems, links=links, action_items=[item], reference="-17")
    judged = add_risk(residual_likelihood=1, residual_impact=4, status="accepted")
    risks.review_risk(actor=actor(cast.lea), risk=judged.pk, reason="It holds")
    closed = add_risk(title="Gone", owner="max@example.com")
    risks.close_risk(actor=actor(cast.lea), risk=closed.pk, reason="The contract ended")


def counts(answer: Any) -> dict[str, int]:
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert found["counts"].get("bad") == 0, [row for row in found["rows"] if row["problems"]]
    return {name: count for name, count in found["counts"].items() if count}


def what_it_says(exported: bytes) -> list[dict[str, str]]:
    """A CSV export without what each installation computes for itself."""
    rows = csv.DictReader(io.StringIO(exported.decode("utf-8-sig"), newline=""))
    return [
        {name: cell for name, cell in row.items() if name not in {"Added on", "Reviewed on", "Closed on"}}
        for row in rows
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_an_export_is_the_same_register_elsewhere_and_changes_nothing_here(
    name: str,
    cast: Cast,
    lea: Api,
    add_risk: AddRisk,
    broker: str,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    register(add_risk, cast)
    exported, as_csv = (lea.get(f"risks/export?format={form}") for form in (name, "csv"))
    assert f'filename="risks-{datetime.now(UTC):%Y-%m-%d}.{name}"' in exported.headers["Content-Disposition"]
    size = reader.size()
    assert counts(send(lea, exported.content)) == {"unchanged": 3}
    assert reader.size() == size
    with cloned(broker, django_db_blocker):
        there = assemble()
        elsewhere = Api(issue_token(there.lea, actor=actor_for(there.root), label="test").text)
        assert counts(send(elsewhere, exported.content)) == {"added": 3}
        assert what_it_says(elsewhere.get("risks/export").content) == what_it_says(as_csv.content)
        assert counts(send(elsewhere, exported.content)) == {"unchanged": 3}
        assert Risk.objects.get(pk="RISK-0003").status == "closed"
        added = elsewhere.post("risks", ENTRY).json()["risk"]
        assert added["id"] == "RISK-0004"
        assert check() == []


@given(st.text())
def test_a_defused_cell_runs_nowhere_and_says_the_same(text: str) -> None:
    written = defused(text)
    assert undefused(written) == text
    assert not written.lstrip(" '").startswith(("=", "+", "-", "@")) or written.startswith("'")


def test_a_workbook_says_what_was_written() -> None:
    rows: list[list[str | int]] = [["=1+1", 4, ""], ["a\r\nb\tc", 25, "<&>\"' _x000D_ \x0b"]]
    (sheet,) = read(workbook("Risks", ["Title", "Rating", "Last"], rows)).sheets
    found = [[cell.value for _, cell in sorted(row.cells.items())] for row in sheet.rows]
    assert found == [["Title", "Rating", "Last"], ["=1+1", 4.0], ["a\r\nb\tc", 25.0, "<&>\"' _x000D_ \x0b"]]
    assert not any(cell.formula for row in sheet.rows for cell in row.cells.values())


# -- from other tools --------------------------------------------------------------------------------------------------


def csv_of(*lines: str) -> bytes:
    return "\r\n".join(lines).encode()


def test_it_takes_what_another_tool_says_and_then_what_differs(lea: Api, cast: Cast) -> None:
    """A column "Impact" of words is the impact in words; roles are mapped to people; the next file changes cells."""
    log = csv_of(
        "Risk;Impact;Mitigation Owner;Status;Key",
        "Vendor data anomalies persist undetected;High analyst churn;Engineering Lead, AI Analyst;in progress;R1",
        "Design tokens diverge across surfaces;Brand inconsistency;Design Systems Lead;planned;R2",
    )
    refused = send(lea, log).json()
    assert (refused["state"], refused["columns"]["consequence"]) == ("refused", "Impact")
    assert {problem["code"] for row in refused["rows"] for problem in row["problems"]} == {
        *("owner_unknown", "likelihood_missing", "impact_missing")
    }
    owners = {"Engineering Lead, AI Analyst": "alice@example.com", "Design Systems Lead": "Bob"}
    mapping = json.dumps({"values": {"owner": owners}, "defaults": {"likelihood": "likely", "impact": "4"}})
    looked = send(lea, log, mapping=mapping, dry_run="true").json()
    assert (looked["state"], looked["counts"]["added"], Risk.objects.count()) == ("checked", 2, 0)
    done = lea.post(f"risks/import/{looked['id']}/confirm", None).json()
    assert (done["state"], done["rows"][1]["risk"]) == ("done", "RISK-0002")
    first = Risk.objects.get(pk="RISK-0001")
    assert (first.owner, first.status, first.likelihood, first.consequence) == (
        *(cast.alice.uid, "mitigating", 4),
        "High analyst churn",
    )
    assert "Imported from risks.csv, risks!2" in first.changes.get().reason
    assert lea.post(f"risks/import/{looked['id']}/confirm", None).json()["code"] == "import_settled"
    _says_it_again(lea, log, mapping)


def _says_it_again(lea: Api, log: bytes, mapping: str) -> None:
    """What was judged here since is not undone by a default; a changed cell is one record, a closed row another."""
    lea.post("risks/RISK-0001", {"reason": "The tests run", "changes": {"likelihood": 2}})
    size = reader.size()
    assert counts(send(lea, log, mapping=mapping)) == {"unchanged": 2}
    assert reader.size() == size
    later = csv_of(
        "Key,Title,Status", "R2,Design tokens diverge,closed", "R1,Vendor data anomalies persist undetected,"
    )
    assert counts(send(lea, later)) == {"changed": 1, "unchanged": 1}
    second = Risk.objects.get(pk="RISK-0002")
    kinds = ["risk.added", "risk.changed", "risk.closed"]
    assert (second.title, second.status, [change.kind for change in second.changes.all()]) == (
        *("Design tokens diverge", "closed"),
        kinds,
    )
    started = Record.objects.filter(kind="risk.import_started").count()
    reopened = send(lea, csv_of("Key,Title,Status", "R2,Design tokens diverge,open")).json()
    assert reopened["rows"][0]["problems"][0]["code"] == "risk_closed"
    assert Record.objects.filter(kind="risk.import_started").count() == started


def test_it_takes_the_risk_log_of_a_messy_workbook(lea: Api, cast: Cast) -> None:
    """The sheet beside the exceptions, as a retrospective left it: roles, sentences for states, no ratings."""
    sheets = {"sheets": ["Risk log"]}
    refused = send(lea, REGISTER.read_bytes(), mapping=json.dumps(sheets)).json()
    told = {(problem["cell"], problem["code"]) for row in refused["rows"] for problem in row["problems"]}
    assert {
        ("Risk log!C2", "owner_unknown"),
        ("Risk log!D3", "status_unknown"),
        ("Risk log!4", "impact_missing"),
    } <= told
    roles = ["Engineering Lead, AI Analyst", "Design Systems Lead", "Security & Compliance Liaison"]
    states = {
        "Mitigation in progress via smoke testing initiative": "mitigating",
        "Mitigation planned with CI linting": "open",
        "Migration scheduled in April sprint": "open",
    }
    owners = dict(zip(roles, ("alice@example.com", "bob@example.com", "lea@example.com"), strict=True))
    values = {"owner": owners, "status": states}
    defaults = {"likelihood": "3", "impact": "3", "systems": "netlify-trading"}
    mapping = json.dumps(sheets | {"values": values, "defaults": defaults})
    assert counts(send(lea, REGISTER.read_bytes(), mapping=mapping)) == {"added": 3}
    found = Risk.objects.order_by("pk").values_list("title", "consequence", "owner", "status")
    kept = [(cast.alice.uid, "mitigating"), (cast.bob.uid, "open"), (cast.lea.uid, "open")]
    assert [row[2:] for row in found] == kept
    assert found[0][1] == "High analyst churn due to mistrust of insights"


BAD = """Number,Ref,Title,Likelihood,Impact,Likelihood after,Owner,Status,Systems,Review by,Exceptions,Controls,Actions
RISK-0009x,A,One,4,4,,bob@example.com,,,,,,
RISK-0001,B,Two,4,4,,bob@example.com,,,,,,
RISK-0001,,Two,4,4,,bob@example.com,,,,,,
,A,Three,4,4,,bob@example.com,,,,,,
,,,6,often,9,nobody@example.com,lost,mars,2027-02-30,EXC-0099,none,Call | nobody@example.com
,C,=1+1,,4,,,,,03/04/2027,,,Call | bob@example.com | later
,D,Secret,1,1,,bob@example.com,,,,,,AKIAQ3EGRTYUIOPLKJHG
RISK-9999,E,Kept,1,1,,bob@example.com,,,2040-01-01,,,
"""
EXPECTED = {
    ("risks!A2", "number_invalid"),
    ("risks!B3", "reference_taken"),
    ("risks!A4", "number_duplicate"),
    ("risks!B5", "reference_duplicate"),
    ("risks!C6", "title_missing"),
    ("risks!D6", "step_unknown"),
    ("risks!E6", "step_unknown"),
    ("risks!F6", "step_unknown"),
    ("risks!G6", "owner_unknown"),
    ("risks!H6", "status_unknown"),
    ("risks!I6", "system_unknown"),
    ("risks!J6", "date_invalid"),
    ("risks!K6", "exception_unknown"),
    ("risks!L6", "control_unknown"),
    ("risks!M6", "item_invalid"),
    ("risks!C7", "formula"),
    ("risks!D7", "step_missing"),
    ("risks!G7", "owner_missing"),
    ("risks!J7", "date_invalid"),
    ("risks!M7", "item_invalid"),
    ("risks!8", "secret_found"),
}


def test_it_names_every_bad_cell_and_takes_nothing(lea: Api, add_risk: AddRisk) -> None:
    add_risk()
    add_risk(reference="B")
    size = reader.size()
    answer = send(lea, BAD.encode())
    found = answer.json()
    told = {(problem["cell"], problem["code"]) for row in found["rows"] for problem in row["problems"]}
    assert told == EXPECTED
    assert (found["state"], found["counts"]["bad"], reader.size()) == ("refused", 7, size)
    kept = found["rows"][-1]
    assert (kept["fate"], kept["risk"], kept["flags"]) == ("added", "RISK-9999", ["review_late"])
    assert b"AKIA" not in answer.content
    assert lea.post(f"risks/import/{found['id']}/confirm", None).json()["code"] == "rows_bad"
    for data, code in (
        (b"", "file_missing"),
        (b"{", "sheet_malformed"),
        (b'{"risks": [{"titel": 1}]}', "sheet_malformed"),
        (b'{"risks": [{"title": "x", "title": "y"}]}', "sheet_malformed"),
        (b'{"format": "other", "risks": [{}]}', "sheet_malformed"),
        (b"a,b\r\n1,2", "columns_missing"),
        (b"\0\0", "encoding_unknown"),
    ):
        assert send(lea, data).json()["code"] == code, data
    assert send(lea, b"Title,Owner", mapping='{"columns": {"severity": "x"}}').json()["code"] == "mapping_invalid"


def test_what_changed_since_a_dry_run_is_looked_at_again(lea: Api, cast: Cast, add_risk: AddRisk) -> None:
    number = add_risk().pk
    looked = send(lea, csv_of("Number,Title", f"{number},A new name"), dry_run="true").json()
    lea.post(f"risks/{number}", {"reason": "x", "changes": {"title": "Another name"}})
    path = f"risks/import/{looked['id']}/confirm"
    assert lea.post(path, None).json()["code"] == "register_changed"
    assert lea.get(f"risks/import/{looked['id']}").json()["rows"][0]["changes"]["title"]["from"] == "Another name"
    waiting = RiskImport.objects.get()
    other = RiskImport.objects.create(
        id="rim_other", created_by="x", created_at=waiting.created_at, state="running", started_at=datetime.now(UTC)
    )
    assert lea.post(path, None).json()["code"] == "imports_waiting"
    RiskImport.objects.filter(pk=other.pk).update(started_at=datetime.now(UTC) - timedelta(hours=1))  # its process died
    assert lea.post(path, None).json()["state"] == "done"
    assert Risk.objects.get().title == "A new name"


def test_an_import_that_meets_a_change_under_the_lock_shows_nothing(
    cast: Cast, add_risk: AddRisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    risk = add_risk()
    data = csv_of("Number,Title,Likelihood,Impact,Owner", f"{risk.pk},New,2,5,alice@example.com", ",More,1,1,Bob")
    found = bringing.open_import(person=cast.lea, filename="risks.csv", data=data)

    def meanwhile(*args: Any, **kwargs: Any) -> Any:
        placed = append_composed(*args, **kwargs)
        risks.change_risk(actor=actor(cast.alice), risk=risk.pk, reason="x", changes={"impact": 4})
        return placed

    monkeypatch.setattr(bringing, "append_composed", meanwhile)
    with pytest.raises(ConflictError) as refused:
        bringing.record(found, person=cast.lea)
    assert refused.value.code == "register_changed"
    assert [(one.pk, one.title, one.impact) for one in Risk.objects.all()] == [(risk.pk, "One provider for DNS", 4)]
    monkeypatch.undo()
    again = bringing.open_import(person=cast.lea, filename="risks.csv", data=data)
    bringing.record(again, person=cast.lea)
    assert set(Risk.objects.values_list("pk", "title")) == {("RISK-0001", "New"), ("RISK-0003", "More")}


def test_a_limited_liaison_brings_in_what_is_hers(
    cast: Cast, as_person: Callable[[User], Api], add_risk: AddRisk, request_one: Request
) -> None:
    whole, own = add_risk(), add_risk(systems=["billing"], links={"exceptions": [request_one().pk]})
    cast.lea.systems.set([cast.billing])
    limited = as_person(cast.lea)
    exported = limited.get("risks/export").content
    assert counts(send(limited, exported)) == {"unchanged": 2}
    sheet = csv_of(
        "Number,Title,Exceptions,Systems,Likelihood,Impact,Owner",
        f"{whole.pk},Mine,,,2,5,alice@example.com",
        f"{own.pk},Better,,billing,2,5,alice@example.com",
        ",New,,netlify-trading,1,1,Bob",
        ",Newer,,,1,1,Bob",
    )
    rows = send(limited, sheet).json()["rows"]
    assert [[problem["code"] for problem in row["problems"]] for row in rows] == [
        ["system_not_yours"],
        [],
        ["system_unknown"],
        ["system_not_yours"],
    ]
    mine = csv_of("Number,Title,Exceptions", f"{own.pk},Better,")
    assert counts(send(limited, mine)) == {"changed": 1}
    own.refresh_from_db()
    assert (own.title, len(own.linked_exceptions)) == ("Better", 1)


def test_a_log_without_numbers_is_matched_by_its_titles(lea: Api, add_risk: AddRisk) -> None:
    log = csv_of("Risk,Likelihood,Impact,Owner,Status", "Vendor data,4,4,Bob,open", "Tokens,2,2,Bob,done")
    assert counts(send(lea, log)) == {"added": 2}
    assert counts(send(lea, log)) == {"unchanged": 2}
    add_risk(title="vendor DATA")
    twice = csv_of("Risk,Likelihood,Impact,Owner", "Vendor data,4,4,Bob", "Tokens,1,1,Bob", "tokens,1,1,Bob")
    rows = send(lea, twice).json()["rows"]
    assert [[problem["code"] for problem in row["problems"]] for row in rows] == [
        ["title_ambiguous"],
        [],  # the closed one is over: this is another
        ["title_duplicate"],
    ]


def test_an_incident_that_is_not_here_yet_stays_named(lea: Api, api: Api, add_risk: AddRisk) -> None:
    sheet = csv_of("Number,Title,Incidents", f'{add_risk().pk},One provider for DNS,"NT-1\nNT-2"')
    answer = send(lea, sheet).json()
    assert (answer["counts"]["changed"], answer["rows"][0]["flags"]) == (1, ["incident_unknown"])
    assert counts(send(lea, sheet)) == {"unchanged": 1}
    assert counts(send(lea, lea.get("risks/export?format=xlsx").content)) == {"unchanged": 1}
    assert lea.get("risks/RISK-0001").json()["links"]["incidents"] == ["NT-1", "NT-2"]
    fewer = {"reason": "x", "changes": {"links": {"incidents": ["NT-2"]}}}
    assert lea.post("risks/RISK-0001", fewer).json()["risk"]["links"]["incidents"] == ["NT-2"]


def test_only_liaisons_import(lea: Api, as_person: Callable[[User], Api], cast: Cast, ledger: Clone) -> None:
    alice = as_person(cast.alice)
    assert send(alice, b"Title,Owner\r\nx,Bob").json()["code"] == "forbidden"
    assert alice.get("risks/import/rim_x").json()["code"] == "forbidden"
    assert lea.get("risks/import/rim_x").json()["code"] == "import_unknown"
