"""Connecting a pipeline: its secret is shown once, its keys and tokens are ended with a reason."""

import json
import uuid

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from django.test import Client

from evidence.admin import snippets
from evidence.ledger import reader
from evidence.models import Pipeline, Record, Token

ADD = "/admin/evidence/pipeline/add/"


@pytest.fixture
def root(as_):
    return as_("root")


def public_pem() -> str:
    return (
        Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


def once() -> str:
    return str(uuid.uuid4())


def test_it_shows_the_token_once_beside_snippets_that_work(root, cast, settings):
    settings.PROOFTRAIL_URL = "https://proof.example.com"
    page = root.post(ADD, {"name": "trading-ci", "systems": [cast.trading.pk], "public_key": public_pem()})
    text = page.context["new"].text
    html = page.content.decode()
    assert page.status_code == 200
    assert text in html
    assert "https://proof.example.com" in html
    assert "no-store" in page["Cache-Control"]
    pipeline = Pipeline.objects.get(name="trading-ci")
    assert pipeline.keys.count() == 1
    change = root.get(f"/admin/evidence/pipeline/{pipeline.pk}/change/").content.decode()
    assert text not in change
    assert "trading-ci" in change
    # what the curl snippet posts is accepted as it stands
    record = json.dumps(snippets.example(pipeline))
    headers = {"authorization": f"Bearer {text}"}
    poll = f"/admin/evidence/pipeline/{pipeline.pk}/first-record/"
    assert root.get(poll).json() == {"index": None}
    posted = Client().post("/api/v1/records", record, content_type="application/json", headers=headers)
    assert posted.status_code == 201, posted.content
    assert root.get(poll).json()["index"] == posted.json()["index"]


def test_it_keeps_a_pipeline_to_kinds_that_nobody_declared(root, cast):
    from evidence.api.actors import actor_for
    from evidence.people import create_pipeline

    kinds = ["custom.adr"]
    pipeline, _ = create_pipeline(actor=actor_for(cast.root), name="adr", systems=[cast.trading], kinds=kinds)
    url = f"/admin/evidence/pipeline/{pipeline.pk}/change/"
    assert "custom.adr (not declared)" in root.get(url).content.decode()
    data = {"name": "adr", "systems": [cast.trading.pk], "kinds": kinds, "is_active": "on"}
    assert root.post(url, data).status_code == 302
    pipeline.refresh_from_db()
    assert pipeline.kinds == kinds  # none would mean everything
    assert snippets.example(pipeline)["kind"] == "custom.adr"


def test_it_writes_yaml_that_ci_systems_can_read(cast):
    github, gitlab = snippets.for_pipeline(cast.ci)[1:]
    (step,) = yaml.safe_load(github.text)
    assert step["run"].startswith("curl ")
    job = yaml.safe_load(gitlab.text)["record-evidence"]
    assert job["script"][0].startswith("curl ")
    assert "pt_" not in github.text + gitlab.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "ci"}, "already"),
        ({"name": "not a slug"}, "valid"),
        ({"systems": []}, "at least one system"),
        ({"kinds": ["hold.placed"]}, "not one of the available choices"),
        ({"public_key": "-----BEGIN nonsense"}, "Not a PEM"),
    ],
)
def test_it_refuses_on_the_form_and_writes_nothing(root, cast, change, said):
    before = reader.size()
    page = root.post(ADD, {"name": "trading-ci", "systems": [cast.trading.pk]} | change)
    assert said in page.content.decode()
    assert reader.size() == before
    assert Pipeline.objects.count() == 1


def test_it_ends_a_pipelines_access(root, cast):
    url = f"/admin/evidence/pipeline/{cast.ci.pk}/change/"
    assert root.post(url, {"systems": [cast.trading.pk], "kinds": ["test.result"]}).status_code == 302
    cast.ci.refresh_from_db()
    assert (cast.ci.is_active, cast.ci.kinds, cast.ci.name) == (False, ["test.result"], "ci")
    assert Record.objects.filter(kind="access.pipeline_changed").count() == 1
    headers = {"authorization": f"Bearer {cast.ci_token}"}
    assert Client().get("/api/v1/releases", headers=headers).status_code in {401, 403}


def test_it_issues_and_ends_tokens(root, cast):
    base = f"/admin/evidence/pipeline/{cast.ci.pk}/tokens"
    page = root.post(f"{base}/add/", {"once": once(), "label": "rotated", "days": "90"})
    new = page.context["new"]
    assert new.text in page.content.decode()
    first = cast.ci.tokens.exclude(pk=new.token.pk).get()
    assert "required" in root.post(f"{base}/{first.pk}/revoke/", {"once": once(), "reason": " "}).content.decode()
    assert Token.objects.get(pk=first.pk).revoked_at is None
    assert root.post(f"{base}/{first.pk}/revoke/", {"once": once(), "reason": "rotation"}).status_code == 302
    assert Token.objects.get(pk=first.pk).revoked_at is not None
    assert root.get(f"{base}/{first.pk}/revoke/").status_code == 404


def test_it_adds_and_ends_keys(root, cast):
    base = f"/admin/evidence/pipeline/{cast.ci.pk}/keys"
    pem = public_pem()
    assert root.post(f"{base}/add/", {"once": once(), "public_key": pem}).status_code == 302
    assert "known already" in root.post(f"{base}/add/", {"once": once(), "public_key": pem}).content.decode()
    assert "Not a PEM" in root.post(f"{base}/add/", {"once": once(), "public_key": "x"}).content.decode()
    added = cast.ci.keys.get()
    assert root.post(f"{base}/{added.key_id}/revoke/", {"once": once(), "reason": "leaked"}).status_code == 302
    added.refresh_from_db()
    assert added.valid_until is not None


def test_it_opens_secrets_to_administrators_only(as_, cast):
    token = cast.ci.tokens.get()
    paths = ["first-record/", "tokens/add/", f"tokens/{token.pk}/revoke/", "keys/add/"]
    for name in ("lea", "alice", "cora", "ada"):
        client = as_(name)
        for path in paths:
            assert client.get(f"/admin/evidence/pipeline/{cast.ci.pk}/{path}").status_code == 403
        assert client.post(ADD, {"name": "mine", "systems": [cast.trading.pk]}).status_code == 403
