"""Releases in the admin: opened and signed off through the same functions as the API."""

import uuid

import pytest
from django.contrib.admin.utils import quote

from evidence.ledger import Actor, append, reader
from evidence.models import Approval, Record, Release
from evidence.records import plain_draft
from tests.evidence.admin.conftest import post_manifest

ADD = "/admin/evidence/release/add/"


def page_of(release: Release, more: str = "change/") -> str:
    return f"/admin/evidence/release/{quote(release.pk)}/{more}"


def form(release: Release, **changes: str) -> dict[str, str]:
    digest = release.manifest_digest or ""
    data = {"once": str(uuid.uuid4()), "role": "qa", "decision": "approved", "comment": "", "manifest_digest": digest}
    return data | changes


def test_it_records_an_approval_of_the_digest_that_was_shown(as_, cast, release):
    bob = as_("bob")
    shown = bob.get(page_of(release, "approve/"))
    assert release.manifest_digest in shown.content.decode()
    assert shown.context["roles"] == ["qa"]
    data = form(release)
    assert bob.post(page_of(release, "approve/"), data).status_code == 302
    assert bob.post(page_of(release, "approve/"), data).status_code == 302  # the second click is the same write
    approval = Approval.objects.get()
    assert (approval.person, approval.role, approval.manifest_digest) == (cast.bob.uid, "qa", release.manifest_digest)
    assert "✓" not in shown.content.decode()
    assert "Bob" in bob.get(page_of(release)).content.decode()


@pytest.mark.parametrize(
    ("who", "changes", "said"),
    [
        ("bob", {"decision": "rejected"}, "A rejection says why."),
        ("bob", {"decision": "withdrawn"}, "no decision as qa to withdraw"),
        ("bob", {"role": "sre"}, "not one of the available choices"),
        ("bob", {"manifest_digest": "sha256:" + "0" * 64}, "Another manifest arrived"),
        ("bob", {"manifest_digest": ""}, "required"),
        ("alice", {}, "do not sign off"),
    ],
)
def test_it_refuses_on_the_form_and_writes_nothing(as_, release, who, changes, said):
    before = reader.size()
    page = as_(who).post(page_of(release, "approve/"), form(release, **changes))
    assert said in page.content.decode()
    assert reader.size() == before


def test_it_decides_afterwards_about_what_was_deployed_in_an_emergency(as_, cast, release):
    body = {"environment": "production", "manifest_digest": release.manifest_digest}
    data = {"kind": "deploy.started", "release": release.pk, "body": body}
    append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))
    post_manifest(cast, commit="c" * 40)
    bob, there = as_("bob"), f"approve/?role=qa&manifest={release.manifest_digest}"
    assert page_of(release, there).replace("&", "&amp;") in bob.get(page_of(release)).content.decode()
    shown = bob.get(page_of(release, there))
    assert "a" * 40 in shown.content.decode()
    assert "c" * 40 not in shown.content.decode()
    assert "afterwards" in shown.content.decode()
    assert bob.post(page_of(release, there), form(release)).status_code == 302
    html = bob.get(page_of(release)).content.decode()
    assert html.count("retrospective") == 2  # among the decisions and in the timeline
    assert "approve/?role=qa&amp;manifest" not in html
    other = f"approve/?role=qa&manifest=sha256:{'0' * 64}"
    assert "There is nothing to decide" in bob.get(page_of(release, other)).content.decode()


def test_it_marks_approvals_of_an_earlier_manifest_as_stale(as_, cast, release):
    bob = as_("bob")
    bob.post(page_of(release, "approve/"), form(release))
    post_manifest(cast, commit="c" * 40)
    assert "for an earlier manifest" in bob.get(page_of(release)).content.decode()
    assert 'title="qa approved, stale"' in bob.get("/admin/evidence/release/").content.decode()


def test_it_marks_what_was_recorded_later(as_, cast, release):
    for suite, minutes in {"unit": 0, "lint": 40, "contract": 3000}.items():
        body = {"suite": suite, "outcome": "passed"}
        occurred = release.opened_at.timestamp() - minutes * 60
        data = {"kind": "test.result", "release": release.pk, "body": body, "occurred_at": _rfc3339(occurred)}
        append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))
    html = as_("cora").get(page_of(release)).content.decode()
    assert html.count("recorded 40 min later") == 1
    assert html.count("backfilled after 2 d 2 h") == 1


def _rfc3339(timestamp: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(timestamp, UTC).isoformat()


def opening(**changes: object) -> dict[str, object]:
    return {
        "tag": "release-20260401",
        "type": "regular",
        "ticket_id": "REL-401",
        "ticket_url": "https://tickets.example.com/REL-401",
        "captain": "Cora",
        "window_from_0": "2026-04-01",
        "window_from_1": "14:00",
        "window_to_0": "2026-04-01",
        "window_to_1": "16:00",
        "surface_lines": "web\n\napi ",
        "dashboard_lines": "Errors: https://dash.example.com/errors",
        **changes,
    }


def test_it_opens_a_release(as_, cast):
    response = as_("cora").post(ADD, opening(system=cast.trading.pk))
    release = Release.objects.get()
    assert response.url == page_of(release)
    assert release.surfaces == ["web", "api"]
    assert release.dashboards == [{"name": "Errors", "url": "https://dash.example.com/errors"}]
    assert release.window_from is not None
    assert release.window_from.isoformat() == "2026-04-01T14:00:00+00:00"
    assert Record.objects.get(pk=release.opened_by).principal == cast.cora.uid


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tag": "has space"}, "does not fit kind"),
        ({"ticket_url": "javascript:alert(1)"}, "valid URL"),
        ({"window_to_1": "13:00"}, "ends before it begins"),
        ({"window_to_0": "", "window_to_1": ""}, "both ends"),
        ({"window_from_0": "2026-02-30"}, "valid date"),
        ({"dashboard_lines": "Errors javascript:alert(1)"}, "does not end in an address"),
    ],
)
def test_it_says_what_is_wrong_with_an_opening(as_, cast, change, said):
    before = reader.size()
    page = as_("cora").post(ADD, opening(system=cast.trading.pk, **change))
    assert said in page.content.decode()
    assert reader.size() == before


def test_it_offers_visible_systems_only(as_, cast):
    page = as_("charlie").post(ADD, opening(system=cast.trading.pk))
    assert "valid choice" in page.content.decode()
    assert not Release.objects.exists()


def test_it_refuses_a_second_release_of_the_same_name(as_, cast):
    cora = as_("cora")
    cora.post(ADD, opening(system=cast.trading.pk))
    assert "There is a release" in cora.post(ADD, opening(system=cast.trading.pk)).content.decode()


def test_it_lists_many_releases_in_few_queries(as_, cast, release, django_assert_max_num_queries):
    cora = as_("cora")
    cora.get("/admin/evidence/release/")
    for day in range(10, 25):
        cora.post(ADD, opening(system=cast.trading.pk, tag=f"release-202604{day}"))
    with django_assert_max_num_queries(14):
        assert "release-20260424" in cora.get("/admin/evidence/release/").content.decode()
    with django_assert_max_num_queries(14):
        cora.get("/admin/evidence/record/")
    with django_assert_max_num_queries(38):  # the gate's among them; the same for a release with thousands of records
        cora.get(page_of(release))


# -- the cutover's plan, hotfixes ------------------------------------------------------------------------------------


def plan_of(page, **changes: str) -> dict[str, str]:
    """The plan form as it was shown, with changes."""
    shown = page.context["form"]
    data = {name: str(shown[name].value() or "") for name in shown.fields}
    return data | changes


def test_a_captain_plans_the_cutover(as_, cast, release):
    cora, there = as_("cora"), page_of(release, "plan/")
    assert there in cora.get(page_of(release)).content.decode()
    page = cora.get(there)
    data = plan_of(page)
    assert (data["step_0"], data["from_0"], data["owner_0"]) == (
        "War room opens",
        "2026-03-12T13:30",
        "Release captain",
    )
    data |= {"step_1": "", "owner_1": "", "from_1": "", "to_1": "", "to_0": "2026-03-12T13:45", "owner_0": "Max"}
    data |= {"step_6": "Tell the desk", "from_6": "2026-03-12T13:00", "to_6": "2026-03-12T13:10"}
    assert cora.post(there, data).status_code == 302
    steps = cora.get(page_of(release)).context["state"].cutover
    assert [step.step for step in steps][:2] == ["Tell the desk", "War room opens"]
    assert len(steps) == 6
    assert (steps[1].owner, f"{steps[1].planned_to:%H:%M}") == ("Max", "13:45")
    assert plan_of(cora.get(there))["step_0"] == "Tell the desk"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"to_0": "2026-03-12T13:00"}, "ends before it begins"),
        ({"to_0": ""}, "When?"),
        ({"step_0": "promote to production"}, "There is a step of this name."),
        ({"step_0": ""}, "Name the step"),
        ({"from_0": "12 o'clock"}, "valid date/time"),
        ({f"{part}_{row}": "" for part in ("step", "owner", "from", "to") for row in range(6)}, "a step at least"),
    ],
)
def test_it_says_what_is_wrong_with_a_plan(as_, cast, release, changes, said):
    cora, there, before = as_("cora"), page_of(release, "plan/"), reader.size()
    assert said in cora.post(there, plan_of(cora.get(there), **changes)).content.decode()
    assert reader.size() == before


def test_only_captains_plan(as_, release):
    assert as_("alice").get(page_of(release, "plan/")).status_code == 403
    assert page_of(release, "plan/") not in as_("alice").get(page_of(release)).content.decode()
    assert as_("charlie").get(page_of(release, "plan/")).status_code == 404


def test_a_hotfix_is_recorded_with_the_incident_that_is_open(as_, cast, release):
    def incident(kind: str, name: str, **more: object) -> None:
        data = {"kind": kind, "system": "netlify-trading", "body": {"incident": name, **more}}
        append(plain_draft(data, principal=cast.ci, actor=Actor(cast.ci.uid)))

    incident("incident.opened", "INC-1", severity=2, title="Down")
    incident("incident.opened", "INC-2", severity=1, title="Down, too")
    incident("incident.resolved", "INC-2")
    cora = as_("cora")
    cora.post(ADD, opening(system=cast.trading.pk, tag="hotfix-1", type="hotfix"))
    hotfix = Release.objects.get(tag="hotfix-1")
    assert page_of(hotfix, "hotfix/") in cora.get(page_of(hotfix)).content.decode()
    assert page_of(release, "hotfix/") not in cora.get(page_of(release)).content.decode()
    data = plan_of(cora.get(page_of(hotfix, "hotfix/")), trigger="The feed is down")
    assert (data["incident"], data["severity"], data["owner"]) == ("INC-1", "2", "Cora")
    assert cora.post(page_of(hotfix, "hotfix/"), data).status_code == 302
    row = Record.objects.get(kind="hotfix")
    assert row.facts == {"severity": 2, "incident": "INC-1"}
    assert reader.get(row.index).recorded.body["surfaces"] == ["web", "api"]


def test_the_second_click_on_what_ended_a_release_is_answered_as_the_first(as_, release):
    cora, there = as_("cora"), page_of(release, "cancel/")
    data = {"once": str(uuid.uuid4()), "reason": "The feature waits."}
    assert [cora.post(there, data).status_code for _ in range(2)] == [302, 302]
    assert Record.objects.filter(kind="release.cancelled").count() == 1
    another = cora.post(there, data | {"once": str(uuid.uuid4())})
    assert "is cancelled" in another.content.decode()
    assert cora.get(there).status_code == 403
    assert as_("alice").post(page_of(release, "plan/"), {}).status_code == 403
