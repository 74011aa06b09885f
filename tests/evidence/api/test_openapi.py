"""The API describes itself: completely, without warnings, from local files."""

import io
import re

from django.core.management import call_command


def test_it_describes_every_call_without_a_warning(capsys):
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=out)
    text = out.getvalue()
    for path in ("records", "releases", "artifacts", "exceptions", "packs", "holds", "reports", "log/keys"):
        assert f'"/api/v1/{path}"' in text
    assert '"records_create"' in text


def test_it_serves_its_pages_locally_and_to_people_only(cast):
    from django.test import Client

    assert Client().get("/api/v1/docs").status_code in {401, 403}
    client = Client()
    client.force_login(cast.lea)
    page = client.get("/api/v1/docs").content.decode()
    assert "swagger" in page.lower()
    assert re.findall(r'(?:src|href)="(https?://[^"]+)"', page) == []
