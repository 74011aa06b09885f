"""The checklist in the gate: judged as the release's page judges it."""

from typing import Any

from evidence.models import Release
from evidence.readiness import checklist_state
from tests.evidence.gate.conftest import Play
from tests.evidence.gate.ledgers import OTHER, Ledger, judge, suites

ITEMS = [{"id": "room", "title": "War room"}]
WANTED = {"checklist": ({"id": "ops", "title": "Operations", "items": ITEMS},)}


def checklist(log: Ledger, **answer: Any) -> Ledger:
    item = {"title": "War room", "done": True, "evidence": "https://x"} | answer
    return log.add("release.checklist", sections=[{"name": "Operations", "items": [item]}])


def test_it_keeps_an_open_item_red(log):
    assert judge("checklist", log).state == "unmet"
    assert judge("checklist", checklist(log)).state == "met"
    assert judge("checklist", checklist(log, evidence=" ")).detail == "1 open: War room (ticked without evidence)"
    assert judge("checklist", checklist(log, done=False, reason="no such room")).state == "met"
    assert judge("checklist", checklist(log, done=False, reason="")).state == "unmet"


def test_it_asks_every_item_of_the_checklist_in_force(log):
    tests = {"kind": "test.result", "outcome": "passed", "facts": {"suite": "unit"}}
    items = [{"id": "room", "title": "War room"}, {"id": "unit", "title": "Unit tests", "met_by": tests}]
    wanted = {"checklist": ({"id": "ops", "title": "Operations", "items": items},)}
    checklist(log.manifest())
    assert judge("checklist", log, wanted).detail == "1 open: Unit tests"
    assert judge("checklist", suites(log, "unit", manifest_digest=OTHER), wanted).state == "unmet"
    assert judge("checklist", suites(log, "unit"), wanted).state == "met"
    assert judge("checklist", suites(log, "unit", outcome="failed"), wanted).state == "unmet"
    assert judge("checklist", checklist(log, id="unit", title="x"), wanted).state == "met"


def test_it_takes_a_record_as_evidence_while_it_counts(log):
    checklist(log, evidence="#7")
    assert judge("checklist", log, WANTED).state == "met"
    finding = judge("checklist", log, WANTED | {"gone": frozenset({7})})
    assert finding.state == "unmet"
    assert finding.detail == "1 open: War room (#7, its evidence, does not count (withdrawn, or not of this system))"


def test_evidence_that_is_withdrawn_opens_its_item_on_the_page_and_in_the_gate_alike(ready: Play) -> None:
    """And as it was before, when asked as of a moment before."""
    index = ready.post(
        "decision", {"title": "War room set up", "decision": "Calendar entry 7", "rationale": "Asked for"}
    )
    (first, *_) = checklist_state(Release.objects.get(pk=ready.release)).items
    answer = {"id": first.id, "title": first.title, "done": True, "evidence": f"#{index}"}
    ready.post("release.checklist", {"sections": [{"name": "Own", "items": [answer]}]})
    met = ready.one("checklist")
    assert met["state"] == "met"
    before = ready.gate()["size"]
    ready.post("record.withdrawn", {"index": index, "reason": "The room was another's"})
    unmet = ready.one("checklist")
    assert (unmet["state"], unmet["detail"].split(" (")[0]) == ("unmet", f"1 open: {first.title}")
    assert [item.title for item in checklist_state(Release.objects.get(pk=ready.release)).open] == [first.title]
    assert ready.one("checklist", size=before)["state"] == "met"
