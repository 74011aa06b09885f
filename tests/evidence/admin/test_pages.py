"""Which role sees which page, and that no page asks another host for anything."""

import re

import pytest
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.test import Client

PAGES = {
    "/admin/": ["root", "lea", "alice", "bob", "cora", "max"],
    "/admin/setup/": ["root"],
    "/admin/evidence/release/": ["root", "lea", "alice", "bob", "cora", "max"],
    "/admin/evidence/release/add/": ["root", "alice", "cora"],
    "/admin/evidence/record/": ["root", "lea", "alice", "bob", "cora", "max"],
    "/admin/evidence/record/0/change/": ["root", "lea", "alice", "bob", "cora", "max"],
    "/admin/kinds/": ["root", "lea", "alice", "bob", "cora", "max", "ada"],
    "/admin/kinds/deploy.manifest/": ["root", "lea", "alice", "bob", "cora", "max", "ada"],
    "/admin/ledger/": ["root", "lea", "alice", "bob", "cora", "max", "ada"],
    "/admin/evidence/user/": ["root"],
    "/admin/evidence/user/add/": ["root"],
    "/admin/evidence/pipeline/": ["root"],
    "/admin/evidence/pipeline/add/": ["root"],
    "/admin/evidence/pipeline/1/change/": ["root"],
    "/admin/evidence/system/": ["root", "lea", "cora"],
    "/admin/evidence/system/add/": ["root"],
    "/admin/mail/": ["root"],
    "/admin/tokens/": ["root", "lea", "alice", "bob", "cora", "max", "ada"],
}
EVERYBODY = ["root", "lea", "alice", "bob", "cora", "max", "ada"]
_LOADED = re.compile(r"""(?:src|href|srcset|action)\s*=\s*["']([^"']+)|url\(["']?([^"')]+)""")


def loaded(html: str) -> list[str]:
    """Addresses that a browser would ask while showing the page: links to click are not among them."""
    without_links = re.sub(r"<a\b[^>]*>", "", html)
    return [a or b for a, b in _LOADED.findall(without_links)]


def test_it_opens_each_page_to_its_roles_only(as_, release, mailbox):
    clients = {name: as_(name) for name in EVERYBODY}
    opened = {
        path: sorted(name for name, client in clients.items() if client.get(path).status_code == 200) for path in PAGES
    }
    assert opened == {path: sorted(names) for path, names in PAGES.items()}


def test_it_loads_nothing_from_another_host(as_, release, mailbox):
    root = as_("root")
    pages = {path: root.get(path) for path in PAGES} | {"/admin/login/": Client().get("/admin/login/")}
    for path, response in pages.items():
        assert response.status_code == 200, path
        assert not re.search(r"<title>\s*Select ", response.content.decode()), f"{path} is named after what is in it"
        assert [url for url in loaded(response.content.decode()) if re.match(r"(https?:)?//", url)] == [], path


def test_it_shows_nothing_to_strangers(cast, release):
    for path in PAGES:
        response = Client().get(path)
        assert response.status_code == 302
        assert response.headers["Location"].startswith("/admin/login/")


def test_it_shows_releases_of_visible_systems_only(cast, as_, release):
    charlie = as_("charlie")
    assert "release-20260312" not in charlie.get("/admin/evidence/release/").content.decode()
    assert charlie.get(f"/admin/evidence/release/{quote(release.pk)}/change/").status_code == 404
    assert charlie.get(f"/admin/evidence/record/{release.opened_by}/change/").status_code == 404
    assert charlie.get(f"/admin/evidence/record/{release.opened_by}/receipt/").status_code == 404


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("lea", "/admin/"),
        ("cora", "/admin/evidence/release/"),
        ("ada", "/admin/compliance/pack/"),
        ("max", "/reports/"),
        ("root", "/admin/setup/"),
        ("alice", "/admin/evidence/release/"),
    ],
)
def test_it_leads_each_role_to_its_start_page(cast, as_, name, start):
    client = as_(name)
    assert client.get("/").url == start
    if name == "ada":  # who has nothing to do on the first page is led away from it
        assert client.get("/admin/").url == "/"


def test_it_deletes_nothing(cast, as_, release):
    root = as_("root")
    for model, model_admin in admin.site._registry.items():
        if model._meta.app_label != "evidence":
            continue
        row = model._default_manager.first()
        if row is None:
            continue
        url = f"/admin/evidence/{model._meta.model_name}/{quote(row.pk)}/delete/"
        assert root.post(url, {"post": "yes"}).status_code == 403
        assert not model_admin.get_actions(type("Request", (), {"user": cast.root, "GET": {}})())


def test_it_says_what_to_do_first_on_an_empty_list(cast, as_):
    page = as_("alice").get("/admin/evidence/release/").content.decode()
    assert "No release yet" in page
    assert "/admin/evidence/release/add/" in page
    filtered = as_("alice").get("/admin/evidence/release/?state__exact=open").content.decode()
    assert "No release yet" in filtered


def test_it_offers_to_widen_a_search_that_finds_nothing(as_, release):
    searched = as_("alice").get("/admin/evidence/release/?q=nothing").content.decode()
    assert "Nothing matches" in searched


def test_it_tells_an_administrator_what_set_up_still_needs(cast, as_):
    page = as_("root").get("/admin/setup/").content.decode()
    assert "3 of 5 done" in page
    assert "Receive the first record" in page
