"""Kinds of evidence, to read: what there is, each version, and an example that the service really takes."""

import json
import re

from django.test import Client

from evidence import kinds
from evidence.kinds import example
from tests.evidence.conftest import Api


def text(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_it_lists_every_kind_and_finds_one(as_):
    ada = as_("ada")
    html = text(ada, "/admin/kinds/")
    assert {name for name in kinds.load().by_name if f">{name}</a>" not in html} == set()
    assert ">custom.*</a>" in html
    found = text(ada, "/admin/kinds/?q=Hotfix")
    assert "1 of" in found
    assert ">hotfix</a>" in found
    assert "No kind has" in text(ada, "/admin/kinds/?q=<script>")
    assert "<script>”" not in text(ada, "/admin/kinds/?q=<script>")
    assert "/admin/kinds/" in text(as_("alice"), "/admin/ledger/")  # in the navigation


def test_it_shows_each_version(as_):
    bob = as_("bob")
    html = text(bob, "/admin/kinds/hotfix/")
    assert "/incident" in html
    assert "prooftrail attest hotfix --release your-system:your-release-tag" in html
    earlier = text(bob, "/admin/kinds/hotfix/?version=1")
    assert "earlier version" in earlier
    assert "prooftrail attest" not in earlier
    assert "prooftrail attest" not in text(bob, "/admin/kinds/approval/")  # only the product writes it
    assert "custom.example" in text(bob, "/admin/kinds/custom.*/")
    for path in ("nothing.known", "hotfix/?version=9"):
        assert bob.get(f"/admin/kinds/{path}".removesuffix("/") + ("" if "?" in path else "/")).status_code == 404


def test_every_example_fits_its_kind():
    for kind in kinds.load().by_name.values():
        if not kind.reserved:
            kind.validate(example.body(kind), kind.predicate_types[0])


def test_an_example_is_taken_as_it_stands(as_, cast):
    html = text(as_("root"), "/admin/kinds/uptime.snapshot/").replace("&quot;", chr(34)).replace("&#x27;", "'")
    sent = json.loads(re.search(r"-d '(.*)'", html)[1].replace("your-system", "netlify-trading"))  # type: ignore[index]
    assert Api(cast.ci_token).post("records", sent).status_code == 201
