"""What a release has and lacks, over HTTP, from records that pipelines and people really posted."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest

from evidence.api.actors import actor_for
from evidence.ledger import Actor, append, reader, service_draft
from evidence.ledger.check import check
from evidence.models import Release
from evidence.readiness import checklist_state
from evidence.tlog.canonical import canonical
from tests.evidence.conftest import RELEASE, Api

MANIFEST = {
    "commit": "a" * 40,
    "author": "alice@example.com",
    "artifacts": [{"name": "web.tar.gz", "size": 3, "sha256": "b" * 64}],
    "pull_requests": [{"url": "https://git.example.com/1", "author": "alice", "reviewers": ["bob"]}],
}


@pytest.fixture(autouse=True)
def clean(cast):
    yield
    assert check() == []


def post(api, release, kind, body, **more):
    answer = api.post("records", {"kind": kind, "release": release, "body": body, **more})
    assert answer.status_code == 201, answer.json()
    return answer.json()["index"]


def digest_of(release):
    return Release.objects.values_list("manifest_digest", flat=True).get(pk=release)


def deploy(api, release, environment="production", **more):
    body = {"environment": environment, "manifest_digest": digest_of(release)} | more
    post(api, release, "deploy.started", body)
    return post(api, release, "deploy.finished", body | {"outcome": "succeeded"})


def answer_all(api, release):
    items = [
        item for section in api.get(f"releases/{release}/checklist").json()["sections"] for item in section["items"]
    ]
    body = [{"id": i["id"], "title": i["title"], "done": True, "evidence": "https://ci.example.com/1"} for i in items]
    return post(api, release, "release.checklist", {"sections": [{"name": "All", "items": body}]})


# -- the checklist -----------------------------------------------------------------------------------------------------


def test_it_keeps_items_open_until_they_have_evidence_or_a_reason(api, release):
    state = api.get(f"releases/{release}/checklist").json()
    assert len(state["sections"]) == 5
    assert state["open"] == sum(len(section["items"]) for section in state["sections"]) == 16

    def answered(**answer):
        items = [{"id": "flags", "title": "Feature flags", **answer}]
        post(api, release, "release.checklist", {"sections": [{"name": "Configuration", "items": items}]})
        found = api.get(f"releases/{release}/checklist").json()
        return next(i for s in found["sections"] for i in s["items"] if i["id"] == "flags")

    assert answered(done=True)["note"] == "ticked without evidence"
    assert answered(done=False)["state"] == "open"
    assert answered(done=False, reason="No flags in this release")["state"] == "excused"
    assert answered(done=True, evidence="#99999")["note"].startswith("#99999, its evidence, does not count")
    before = datetime.now(UTC)
    given = answered(done=True, evidence=f"#{Release.objects.get().opened_by}")
    assert (given["state"], given["by"]) == ("done", "ci")
    assert answer_all(api, release)
    assert api.get(f"releases/{release}/checklist").json()["open"] == 0
    then = checklist_state(Release.objects.get(), before)
    assert len(then.open) == 16


def test_records_answer_items_and_a_later_failure_opens_them_again(api, release):
    def unit():
        return next(item for item in checklist_state(Release.objects.get()).items if item.id == "unit-tests")

    index = post(api, release, "test.result", {"suite": "unit", "outcome": "passed"})
    assert (unit().state, unit().evidence) == ("done", f"#{index}")
    post(api, release, "test.result", {"suite": "unit", "outcome": "failed"})
    assert unit().state == "open"
    again = post(api, release, "test.result", {"suite": "unit", "outcome": "passed"})
    moment = Release.objects.get().opened_at
    api.post("records", {"kind": "record.withdrawn", "body": {"index": again, "reason": "wrong suite"}})
    assert unit().state == "open"
    assert len(checklist_state(Release.objects.get(), moment).open) == 16


# -- plan, deployments, difference ----------------------------------------------------------------------------------


def test_the_timeline_tells_planned_against_actual_on_its_first_page(api, release):
    post(api, release, "deploy.manifest", MANIFEST)
    answer = api.get(f"releases/{release}/timeline?limit=1").json()
    planned = {line["id"]: line for line in answer["planned"]["expected"]}
    assert planned["production"]["state"] == "missing"
    assert planned["production"]["by_seconds"] > 0
    assert planned["metrics"]["state"] == "waiting"
    assert [step["state"] for step in answer["planned"]["cutover"]] == ["missing"] * 6
    assert "Sign-off missing: product, design, sre, qa" in answer["planned"]["lacking"]
    assert "planned" not in api.get(answer["next"].split("/api/v1/")[1]).json()


def test_it_shows_a_deploy_of_another_build_before_and_after(api, release):
    post(api, release, "deploy.manifest", MANIFEST)
    deploy(api, release, "staging")
    post(api, release, "deploy.manifest", MANIFEST | {"commit": "c" * 40})
    before = api.get(f"releases/{release}/deployments").json()
    assert [each["code"] for each in before["differences"]] == ["staging_digest"]
    finished = deploy(api, release)
    after = api.get(f"releases/{release}/deployments").json()
    assert [each["code"] for each in after["failures"]] == ["staging_digest", "approval_missing"]
    assert {each["state"] for each in after["retrospectives"]} == {"due"}
    assert len(after["retrospectives"]) == 4
    found = api.get("deployments").json()
    assert found["success_percent"] == 100.0
    assert found["counts"]["emergencies"] == found["counts"]["succeeded"] == 1
    (member,) = found["population"]
    assert (member["tag"], member["ticket_id"], member["index"]) == ("release-20260312", "TRD-1042", finished - 1)


def test_it_compares_the_manifest_with_the_last_release_in_production(api, release):
    assert api.get(f"releases/{release}/difference").json()["code"] == "manifest_missing"
    post(api, release, "deploy.manifest", MANIFEST)
    first = api.get(f"releases/{release}/difference").json()
    assert (first["since"], len(first["artifacts"]), len(first["pull_requests"])) == (None, 1, 1)
    deploy(api, release)
    assert api.post("releases", RELEASE | {"tag": "release-20260326"}).status_code == 201
    second = "netlify-trading:release-20260326"
    more = {"url": "https://git.example.com/2", "author": "alice", "reviewers": []}
    artifacts = [
        {"name": "web.tar.gz", "size": 4, "sha256": "d" * 64},
        {"name": "api.zip", "size": 1, "sha256": "e" * 64},
    ]
    pulls = [*MANIFEST["pull_requests"], more]
    post(api, second, "deploy.manifest", MANIFEST | {"artifacts": artifacts, "pull_requests": pulls})
    found = api.get(f"releases/{second}/difference").json()
    assert found["since"] == release
    assert [(each["name"], each["what"]) for each in found["artifacts"]] == [
        ("api.zip", "added"),
        ("web.tar.gz", "changed"),
    ]
    assert found["pull_requests"] == [more]


def test_it_reconciles_inventories_both_ways(api, release):
    post(api, release, "deploy.manifest", MANIFEST)
    deploy(api, release)
    soon = (datetime.now(UTC) - timedelta(seconds=30)).isoformat()
    rows = [{"id": "d1", "at": soon, "release": "release-20260312"}, {"id": "d2", "at": soon, "release": "unheard-of"}]
    body = {"source": "netlify", "query": "deploys?context=production", "rows": rows}
    answer = api.post("records", {"kind": "deploy.inventory", "system": "netlify-trading", "body": body})
    assert answer.status_code == 201, answer.json()
    found = api.get("deployments").json()["reconciliation"]
    assert (found["matched"], found["sources"], found["unlisted"]) == (1, ["netlify"], [])
    assert [row["id"] for row in found["unrecorded"]] == ["d2"]


def test_others_see_nothing_of_it(cast, release, token_for):
    charlie, nobody = Api(token_for(cast.charlie)), Api()
    for path in ("checklist", "plan", "deployments", "difference", "timeline"):
        assert charlie.get(f"releases/{release}/{path}").status_code == 404
        assert nobody.get(f"releases/{release}/{path}").status_code == 401


def test_a_period_is_bounded_and_scoped(api, cast, release, token_for):
    assert api.get("deployments?from=2020-01-01T00:00:00Z").json()["code"] == "period_invalid"
    assert api.get("deployments?from=2020-01-01").json()["code"] == "time_invalid"
    assert api.get("deployments?system=billing").json()["code"] == "system_unknown"
    post(api, release, "deploy.manifest", MANIFEST)
    deploy(api, release)
    assert Api(token_for(cast.charlie)).get("deployments").json()["counts"]["deployments"] == 0


# -- approvals and the end of a release ------------------------------------------------------------------------------


def approve(api, release, role, decision="approved"):
    body = {"role": role, "decision": decision, "manifest_digest": digest_of(release), "comment": "Read"}
    return api.post(f"releases/{release}/approvals", body)


def test_sign_offs_are_those_of_the_moment_asked_about(api, cast, release, token_for):
    bob, moments = Api(token_for(cast.bob)), [datetime.now(UTC)]

    def missing(moment):
        lacking = api.get(f"releases/{release}/plan?at={moment.isoformat().replace('+00:00', 'Z')}").json()["lacking"]
        return next(text for text in lacking if text.startswith("Sign-off missing: "))

    def then(answer=None):
        assert answer is None or answer.status_code == 201, answer.json()
        moments.append(datetime.now(UTC))

    post(api, release, "deploy.manifest", MANIFEST)
    then(approve(bob, release, "qa"))
    then(approve(bob, release, "qa", "withdrawn"))
    then(approve(bob, release, "qa"))
    post(api, release, "deploy.manifest", MANIFEST | {"commit": "c" * 40})
    then()
    given = approve(bob, release, "qa")
    then(given)
    withdrawn = {"index": given.json()["approval"]["index"], "reason": "wrong build"}
    append(service_draft("record.withdrawn", withdrawn, actor=Actor(cast.root.uid), systems=[cast.trading.pk]))
    then()
    without = [missing(moment).endswith("qa") for moment in moments]
    assert without == [True, False, True, False, True, False, True]


def test_who_deployed_does_not_approve(api, cast, release, token_for):
    post(api, release, "deploy.manifest", MANIFEST)
    deploy(api, release, "staging", deployed_by="BOB@example.com")
    bob = Api(token_for(cast.bob))
    size = reader.size()
    assert approve(bob, release, "qa").json()["code"] == "deployer_approval"
    assert reader.size() == size
    body = {"environment": "staging", "manifest_digest": digest_of(release)}
    system = [cast.trading.pk]
    append(service_draft("deploy.started", body, actor=Actor(cast.lea.uid), systems=system, release=release))
    assert approve(Api(token_for(cast.lea)), release, "product").json()["code"] == "deployer_approval"
    assert approve(Api(token_for(cast.cora)), release, "sre").status_code == 201


def end(api, release, kind="release.closed"):
    return api.post("records", {"kind": kind, "release": release, "body": {"reason": "Done"}})


def test_a_release_is_closed_only_with_root_causes_and_decisions(api, cast, release, token_for):
    post(api, release, "deploy.manifest", MANIFEST)
    deploy(api, release)
    assert end(api, release, "release.cancelled").json()["code"] == "already_deployed"
    rollback = {"severity": 1, "trigger": "Outage", "action": "Back", "owner": "Cora", "restored_tag": "release-1"}
    post(api, release, "rollback", rollback)
    assert end(api, release).json()["code"] == "root_cause_missing"
    post(api, release, "rollback", rollback | {"root_cause": "A cache"})
    assert end(api, release).json()["code"] == "approval_outstanding"
    for user, role in ((cast.bob, "qa"), (cast.lea, "product"), (cast.cora, "sre")):
        assert approve(Api(token_for(user)), release, role, "rejected").status_code == 201
    refused = end(api, release)
    assert (refused.json()["code"], refused.json()["roles"]) == ("approval_outstanding", ["design"])
    assert end(Api(token_for(cast.bob)), release).status_code == 403
    from evidence.people import change_user

    change_user(cast.charlie, actor=actor_for(cast.root), systems=[], sign_offs=[("design", cast.trading)])
    assert approve(Api(token_for(cast.charlie)), release, "design").status_code == 201
    assert end(api, release).status_code == 201
    assert end(api, release).json()["code"] == "release_ended"


def test_a_deployed_manifest_is_decided_about_afterwards_though_a_newer_one_exists(api, cast, release, token_for):
    from evidence.people import change_user

    change_user(cast.charlie, actor=actor_for(cast.root), systems=[], sign_offs=[("design", cast.trading)])
    signers = {"qa": cast.bob, "product": cast.lea, "sre": cast.cora, "design": cast.charlie}
    apis = {role: Api(token_for(user)) for role, user in signers.items()}
    post(api, release, "deploy.manifest", MANIFEST | {"author": "lea@example.com"})
    deployed = digest_of(release)
    assert approve(apis["sre"], release, "sre").status_code == 201
    post(api, release, "deploy.manifest", MANIFEST | {"commit": "c" * 40})
    post(api, release, "deploy.manifest", MANIFEST | {"author": "lea@example.com"})
    run = deploy(api, release) - 1
    post(api, release, "deploy.manifest", MANIFEST | {"commit": "d" * 40})
    assert approve(apis["qa"], release, "qa").status_code == 201

    def decide(role, digest=deployed, decision="approved"):
        body = {"role": role, "decision": decision, "manifest_digest": digest, "comment": "Read"}
        return apis[role].post(f"releases/{release}/approvals", body)

    def owed():
        found = api.get(f"releases/{release}/deployments").json()["retrospectives"]
        return {each["role"]: each["state"] for each in found if each["deployment"] == run}

    assert end(api, release).json()["roles"] == ["product", "design", "qa"]
    assert decide("sre").json()["code"] == "manifest_stale"  # approved before: nothing is owed
    assert decide("product").json()["code"] == "self_approval"  # of the deployed manifest's author
    never = "sha256:" + hashlib.sha256(canonical(MANIFEST | {"commit": "c" * 40})).hexdigest()
    assert decide("qa", never).json()["code"] == "manifest_stale"  # not deployed
    given = decide("qa")
    assert (given.status_code, given.json()["approval"]["retrospective"]) == (201, True)
    assert decide("design").status_code == 201
    assert owed() == {"product": "due", "design": "given", "qa": "given"}
    assert decide("qa", decision="withdrawn").status_code == 201
    assert decide("qa", decision="withdrawn").json()["code"] == "nothing_to_withdraw"
    assert owed() == {"product": "due", "design": "given", "qa": "due"}

    detail = api.get(f"releases/{release}").json()["approvals"]
    about = {(each["role"], each["manifest_digest"] == deployed): each for each in detail}
    assert about["qa", False]["counts"]  # of the newest manifest: what is said of another does not undo it
    assert [each["retrospective"] for each in detail] == [False, False, True, True, True]
    timeline = api.get(f"releases/{release}/timeline").json()["results"]
    assert [row["retrospective"] for row in timeline if row["kind"] == "approval"] == [False, False, True, True, True]

    assert decide("qa").status_code == 201
    change_user(cast.alice, actor=actor_for(cast.root), systems=[], sign_offs=[("product", cast.trading)])
    apis["product"] = Api(token_for(cast.alice))
    assert decide("product").status_code == 201
    gate = api.get(f"releases/{release}/gate?environment=production").json()
    finding = next(each for each in gate["requirements"] if each["name"] == "approved-before-deploy")
    assert finding["state"] == "late"
    (member,) = api.get("deployments").json()["emergencies"]
    assert {each["state"] for each in member["retrospectives"]} == {"given"}
    assert end(api, release).status_code == 201
