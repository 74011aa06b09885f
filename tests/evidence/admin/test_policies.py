"""Trust policies in the admin: written as records, refused on the form, for administrators only."""

import pytest

from evidence.ledger import reader
from evidence.models import Record, TrustPolicy

ADD = "/admin/evidence/trustpolicy/add/"
GITHUB = "https://token.actions.githubusercontent.com"


@pytest.fixture
def root(as_):
    return as_("root")


@pytest.fixture
def sent(cast):
    return {
        "name": "acme-web",
        "pipeline": cast.ci.pk,
        "issuer": GITHUB,
        "audience": "https://proof.example.com",
        "claims": "repository = acme/web\r\n\r\nref = refs/heads/main\r\nref=refs/tags/v*",
        "systems": [cast.trading.pk],
        "kinds": ["decision"],
    }


def test_it_adds_shows_changes_and_ends_a_policy(root, cast, sent):
    start = root.get(f"{ADD}?pipeline={cast.ci.pk}").content.decode()
    assert GITHUB in start
    assert root.post(ADD, sent).status_code == 302
    policy = TrustPolicy.objects.get()
    assert policy.claims == {"repository": ["acme/web"], "ref": ["refs/heads/main", "refs/tags/v*"]}
    assert (policy.systems, policy.kinds, policy.is_active) == ([cast.trading.pk], ["decision"], True)
    assert "acme/web" in root.get("/admin/evidence/trustpolicy/").content.decode()
    assert "acme-web" in root.get(f"/admin/evidence/pipeline/{cast.ci.pk}/change/").content.decode()
    url = f"/admin/evidence/trustpolicy/{policy.pk}/change/"
    page = root.get(url).content.decode()
    assert "ref = refs/tags/v*" in page
    assert root.post(url, sent | {"claims": "repository = acme/*", "is_active": "on"}).status_code == 302
    policy.refresh_from_db()
    assert (policy.claims, policy.is_active) == ({"repository": ["acme/*"]}, True)
    assert root.post(url, sent).status_code == 302
    policy.refresh_from_db()
    assert not policy.is_active
    written = Record.objects.filter(kind="config.trust_policy")
    assert {record.principal for record in written} == {cast.root.uid}
    assert written.count() == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"claims": "repository"}, "claim = pattern"),
        ({"claims": ""}, "required"),
        ({"claims": "ref = refs/heads/main"}, "has tokens for everybody"),
        ({"issuer": "http://x"}, "is no issuer"),
        ({"kinds": ["approval"]}, "not one of the available choices"),
        ({"name": "acme web"}, "valid"),
    ],
)
def test_it_refuses_on_the_form_and_writes_nothing(root, sent, change, said):
    before = reader.size()
    assert said in root.post(ADD, sent | change).content.decode()
    assert (reader.size(), TrustPolicy.objects.count()) == (before, 0)


def test_it_is_for_administrators_only(as_, sent):
    for name in ("lea", "alice", "cora", "ada"):
        client = as_(name)
        assert client.get("/admin/evidence/trustpolicy/").status_code == 403
        assert client.post(ADD, sent).status_code == 403
    assert not TrustPolicy.objects.exists()
