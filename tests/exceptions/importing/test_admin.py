"""The way through the admin: send, look, say what columns mean, import, ratify."""

import re
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from evidence.models import User
from exceptions.models import Import, SecurityException
from tests.cast import PASSWORD, Cast
from tests.exceptions.importing.files import HEADINGS, csv_of, row

LIST = "/admin/exceptions/securityexception/"


def browser(user: User) -> Client:
    found = Client()
    assert found.login(email=user.email, password=PASSWORD)
    return found


def send(lea: Client, data: bytes) -> str:
    answer = lea.post("/admin/exceptions/import/add/", {"file": SimpleUploadedFile("r.csv", data)})
    assert answer.status_code == 302, answer.content.decode()
    return answer.headers["Location"]


def fields(html: str) -> dict[str, Any]:
    """The mapping form as the page shows it."""
    chosen = {
        name: (re.findall(r'<option value="([^"]*)"[^>]* selected', body) or [""])[0]
        for name, body in re.findall(r'<select name="([^"]+)".*?>(.*?)</select>', html, re.S)
    }
    return chosen | {"words_owner": "", "words_systems": "", "words_severity": "", "words_status": ""}


def test_it_leads_from_the_file_to_the_ratified_list(cast: Cast) -> None:
    lea, bob = browser(cast.lea), browser(cast.bob)
    headings = ["Who" if heading == "Owner" else heading for heading in HEADINGS]
    url = send(lea, csv_of(row(), row(ref="SEC-2", owner="Batch team"), headings=headings))
    first = lea.get(url).content.decode()
    assert "has no column for owner" in first
    said = fields(first) | {"column_owner": "Who", "verb": "remap"}
    assert lea.post(url, said).status_code == 302
    looked = lea.get(url).content.decode()
    assert "Nobody here has that mail address" in looked
    assert "Import the 1 good row only" in looked
    again = fields(looked) | {"words_owner": "Batch team = charlie@example.com", "verb": "remap"}
    assert lea.post(url, again).status_code == 302
    assert "Import 2 exceptions" in lea.get(url).content.decode()
    assert not SecurityException.objects.exists()
    lea.post(url, {"verb": "all"})
    assert "EXC-0002" in lea.get(url).content.decode()
    assert "approved elsewhere (claim)" in bob.get(LIST).content.decode()
    shown = bob.get(f"{LIST}EXC-0001/change/").content.decode()
    assert "The sheet calls it approved by Bob" in shown
    chosen = {"action": "ratify_selected", "_selected_action": ["EXC-0001", "EXC-0002"]}
    assert "Who requested, owns or imported one" in bob.post(LIST, chosen).content.decode()
    bob.post(LIST, chosen | {"confirmed": "True", "reason": "In the minutes"})
    assert set(SecurityException.objects.values_list("decision", flat=True)) == {"approved"}


def test_it_hands_out_the_bad_rows(cast: Cast) -> None:
    lea = browser(cast.lea)
    url = send(lea, csv_of(row(expires="2027-02-30")))
    page = lea.get(url).content.decode()
    link = re.search(r'href="([^"]+bad-rows/)"', page)
    assert link is not None
    assert b"2027-02-30" in b"".join(lea.get(link[1]).streaming_content)  # type: ignore[attr-defined]  # it streams


def test_only_liaisons_come_here(cast: Cast) -> None:
    alice = browser(cast.alice)
    assert alice.get("/admin/exceptions/import/add/").status_code == 403
    url = send(browser(cast.lea), csv_of(row()))
    assert alice.get(url).status_code in {302, 403}
    assert alice.post(url, {"verb": "all"}).status_code in {302, 403}
    assert Import.objects.get().state == Import.CHECKED
