"""Trust policies: what they may say, that they are records, and the patterns for claims."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from config.errors import ProoftrailError
from evidence.api.actors import actor_for
from evidence.ledger import reader
from evidence.ledger.check import check
from evidence.models import Record, TrustPolicy
from evidence.models.people import Limits
from evidence.oidc.patterns import all_fit, fits
from evidence.people import change_pipeline
from tests.evidence.oidc.issuer import AUDIENCE

GITHUB = "https://token.actions.githubusercontent.com"


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("acme/web", ["acme/web"], ["acme/web2", "xacme/web", "acme/web\n", "acme", ""]),
        ("acme/*", ["acme/web", "acme/"], ["acme", "acme/web/x", "acme-evil/web"]),
        ("refs/heads/*", ["refs/heads/main"], ["refs/heads/a/b", "refs/tags/v1"]),
        ("refs/heads/**", ["refs/heads/main", "refs/heads/a/b"], ["refs/tags/v1"]),
        ("refs/tags/v*.*", ["refs/tags/v1.2", "refs/tags/v."], ["refs/tags/v1", "refs/tags/v1/2.0"]),
        ("*", ["", "main"], ["a/b"]),
        ("**", ["", "a/b"], []),
        ("**/x", ["/x", "a/b/x"], ["x", "a/xy"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]?", ["[ab]?"], ["a", "b1"]),
    ],
)
def test_it_fits_patterns_to_the_whole_claim(pattern, yes, no):
    assert [text for text in yes if not fits(pattern, text)] == []
    assert [text for text in no if fits(pattern, text)] == []


@given(st.text("ab/*", max_size=8), st.text("ab/", max_size=8))
def test_it_agrees_with_regular_expressions(pattern, text):
    import re

    parts = re.findall(r"\*\*|\*|[^*]+", pattern)
    expression = "".join({"*": "[^/]*", "**": ".*"}.get(part, re.escape(part)) for part in parts)
    assert fits(pattern, text) == (re.fullmatch(expression, text) is not None)


def test_it_needs_no_time_for_patterns_that_are_hard_elsewhere():
    assert not fits("a**" * 150 + "b", "a" * 5000)


def test_it_wants_every_claim_and_one_of_its_patterns():
    wanted = {"repository": ["acme/web", "acme/api"], "ref_protected": ["true"], "run": ["7"]}
    assert all_fit(wanted, {"repository": "acme/api", "ref_protected": True, "run": 7, "more": "x"})
    for bad in ({"repository": "acme/x"}, {"ref_protected": "True"}, {"run": 7.0}, {"run": None}, {"run": [7]}):
        assert not all_fit(wanted, {"repository": "acme/api", "ref_protected": True, "run": 7} | bad)


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "a name with a space": ("policy_name", {"name": "acme web"}),
    "no https": ("policy_issuer", {"issuer": "http://issuer.example.com"}),
    "an issuer with a query": ("policy_issuer", {"issuer": "https://issuer.example.com/?a=b"}),
    "no audience": ("policy_audience", {"audience": " "}),
    "no claims": ("policy_claims", {"claims": {}}),
    "a claim without patterns": ("policy_claims", {"claims": {"repository": []}}),
    "a pattern that is a text": ("policy_claims", {"claims": {"repository": "acme/web"}}),
    "an empty pattern": ("policy_claims", {"claims": {"repository": [""]}}),
    "a name of the product's own": ("policy_claims", {"claims": {"import": ["x"]}}),
    "everything": ("policy_too_wide", {"claims": {"repository": ["**"], "ref": ["*/*"]}}),
    "everything, or something": ("policy_too_wide", {"claims": {"repository": ["acme/web", "**"]}}),
    "GitHub without an owner": ("policy_too_wide", {"issuer": GITHUB, "claims": {"ref": ["refs/heads/main"]}}),
    "GitHub, owners that begin alike": ("policy_too_wide", {"issuer": GITHUB, "claims": {"repository": ["acme*"]}}),
    "GitHub, any owner": ("policy_too_wide", {"issuer": GITHUB, "claims": {"repository": ["*/web"]}}),
    "GitHub of an enterprise": ("policy_too_wide", {"issuer": f"{GITHUB}/acme", "claims": {"ref": ["refs/heads/x"]}}),
}


def test_it_refuses_policies_that_anybody_could_meet_and_writes_nothing(trust, cast):
    size = reader.size()
    for defect, (code, changes) in BAD.items():
        with pytest.raises(ProoftrailError) as caught:
            trust(**changes)
        assert caught.value.code == code, defect
    limits = Limits(systems=frozenset({cast.billing.pk})), Limits(kinds=frozenset({"nonsense"}))
    for limit, code in zip(limits, ("scope_too_wide", "kind_unknown"), strict=True):
        with pytest.raises(ProoftrailError) as caught:
            trust(limits=limit)
        assert caught.value.code == code
    assert (reader.size(), TrustPolicy.objects.count()) == (size, 0)
    assert trust(issuer=GITHUB, claims={"repository": ["acme/*"]}).is_active
    with pytest.raises(ProoftrailError) as caught:
        trust()
    assert caught.value.code == "name_taken"


def test_it_records_each_change_and_finds_one_behind_its_back(trust, cast, superuser):
    policy = trust()
    changed = trust(policy=policy, claims={"repository": ["acme/*"]})
    rows = list(Record.objects.filter(kind="config.trust_policy").order_by("index"))
    assert [row.principal for row in rows] == [cast.root.uid] * 2
    assert changed.changed_by == rows[1].index
    assert reader.get(rows[0].index).recorded.body["claims"] == {
        "repository": ["acme/web"],
        "environment": ["production"],
    }
    change_pipeline(cast.ci, actor=actor_for(cast.root), systems=[cast.trading], kinds=[], is_active=True)
    assert check() == []
    superuser.execute("""UPDATE evidence_trustpolicy SET claims = '{"repository": ["**"]}'""")
    (found,) = check()
    assert found.where == f"evidence_trustpolicy id={policy.pk}, column claims"


def run(*arguments):
    out = io.StringIO()
    call_command("trust_policy", *arguments, stdout=out)
    return out.getvalue()


def test_it_keeps_policies_from_the_command_line(cast, issuer):
    added = run(
        *("add", "acme-web", "--pipeline", "ci", "--issuer", issuer.url, "--audience", AUDIENCE, "--json"),
        *("--claim", "repository=acme/web", "--claim", "ref=refs/heads/main", "--claim", "ref=refs/tags/v*"),
        *("--system", "netlify-trading", "--kind", "decision"),
    )
    assert json.loads(added)["claims"] == {"repository": ["acme/web"], "ref": ["refs/heads/main", "refs/tags/v*"]}
    policy = TrustPolicy.objects.get()
    assert (policy.systems, policy.kinds, policy.pipeline) == ([cast.trading.pk], ["decision"], cast.ci)
    assert json.loads(run("change", "acme-web", "--claim", "repository=acme/*", "--json"))["kinds"] == ["decision"]
    assert json.loads(run("list", "--json"))[0]["claims"] == {"repository": ["acme/*"]}
    assert "acme-web" in run("list")
    assert json.loads(run("check", "acme-web", "--json"))["keys"] == ["rsa"]
    assert json.loads(run("end", "acme-web", "--json"))["active"] is False
    for bad in (
        ("add", "x", "--pipeline", "none", "--issuer", issuer.url, "--claim", "a=b"),
        ("add", "x", "--pipeline", "ci", "--issuer", issuer.url, "--claim", "a"),
        ("change", "nobody", "--claim", "a=b"),
        ("add", "x", "--pipeline", "ci", "--issuer", issuer.url),
    ):
        with pytest.raises(CommandError):
            run(*bad)
    issuer.documents.clear()
    with pytest.raises(CommandError, match="404"):
        run("check", "acme-web")


def test_it_takes_a_presets_issuer_by_name(cast):
    run("add", "gh", "--pipeline", "ci", "--issuer", "github", "--claim", "repository=acme/web")
    assert TrustPolicy.objects.get().issuer == GITHUB
