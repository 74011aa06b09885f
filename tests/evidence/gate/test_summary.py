"""What a release's page says of the gate, and where its roles come from."""

from evidence import release_policy
from evidence.gate import gate_summary, gather, policy
from evidence.models import Release
from tests.evidence.conftest import RELEASE_ID

LEGAL = """
requirements:
  - {name: approval-legal, title: Legal approves, rule: approved, with: {role: legal}, environments: [production]}
  - {name: approval-lawyers, title: Legal again, rule: approved, with: {role: legal}, environments: [production]}
systems:
  netlify-trading:
    approval-design: {enabled: false}
"""


def summary():
    return gate_summary(Release.objects.select_related("system").get(pk=RELEASE_ID))


def test_it_says_what_the_gate_of_production_says_and_what_blocks_first(play):
    play.build()
    found, answer = summary(), play.gate()
    assert found["outcome"] == answer["outcome"] == "red"
    wanted = {(row["title"], row["state"]) for row in answer["requirements"]}
    shown = {(row["title"], row["state"]) for row in found["requirements"]}
    assert shown == wanted
    assert ("CI is green for this build", "unmet") in shown
    assert all(row["detail"] for row in found["requirements"])
    passes = [row["state"] in {"met", "waived", "not_applicable"} for row in found["requirements"]]
    assert passes == sorted(passes)
    assert set(passes) == {False, True}


def test_it_is_green_when_everything_is_there(ready):
    found = summary()
    assert found["outcome"] == "green", found["requirements"]


def test_nobody_asks_for_a_release_that_has_ended(play):
    Release.objects.filter(pk=RELEASE_ID).update(state="cancelled")
    try:
        assert summary() is None
    finally:
        Release.objects.filter(pk=RELEASE_ID).update(state="open")


def test_it_says_why_there_is_no_answer(play, monkeypatch):
    monkeypatch.setattr(gather, "MOST", -1)
    found = summary()
    assert found["outcome"] == "unknown"
    assert [row["state"] for row in found["requirements"]] == ["unmet"]
    assert "more than -1 records" in found["requirements"][0]["detail"]


def test_a_release_needs_the_roles_of_the_gates_policy(play, settings, tmp_path):
    settings.DATA_PATHS = [tmp_path]
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "gate.yaml").write_text(LEGAL)
    policy.load.cache_clear()
    assert release_policy.load().roles("netlify-trading") == ("product", "sre", "qa", "legal")
    assert release_policy.load().roles("billing") == ("product", "design", "sre", "qa", "legal")
