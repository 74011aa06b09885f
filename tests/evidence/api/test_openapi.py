"""The API describes itself: completely, without warnings, from local files."""

import io
import json
import re

from django.core.management import call_command
from drf_spectacular.generators import SchemaGenerator

from config.api import operations
from tests.engines import ROOT


def test_it_describes_every_call_without_a_warning(capsys):
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", "--format", "openapi-json", stdout=out)
    text = out.getvalue()
    for path in ("records", "releases", "artifacts", "exceptions", "packs", "holds", "reports", "log/keys"):
        assert f'"/api/v1/{path}"' in text
    assert '"records_create"' in text


def test_it_says_of_every_call_what_it_takes_answers_and_refuses():
    described = operations.described()["operations"]
    schema = SchemaGenerator().get_schema(request=None, public=True)
    found = {operation["operationId"]: operation for operation in operations.operations(schema)}
    assert set(described) <= set(found), "operations.yaml describes calls that there are not"
    for name, operation in found.items():
        assert name in described, f"{name}: say in the app's api/operations.yaml which errors it answers"
        answers = operation["responses"]
        assert operation["description"], name
        assert any(status.startswith("2") for status in answers), name
        assert {"400", "401", "403", "404", "422", "429", "500", "503"} <= set(answers), name
        assert "default" not in answers, name
        if "requestBody" in operation:
            content = next(iter(operation["requestBody"]["content"].values()))
            assert "example" in content, f"{name}: give an example of what is sent"
        for answer in [answer for status, answer in answers.items() if status.startswith("2")]:
            shapes = [content["schema"] for content in answer["content"].values()]
            assert all(shape != {"type": "object", "additionalProperties": {}} for shape in shapes), name


def test_its_own_codes_are_described():
    """Every code that the API's modules raise by name stands at some call."""
    schema = json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str)
    sources = [path for app in ("evidence", "exceptions", "compliance") for path in (ROOT / app / "api").glob("*.py")]
    codes = {code for path in sources for code in re.findall(r'code="([a-z_]+)"', path.read_text())}
    codes -= {"batch_too_long"}  # in the answer's lines
    missing = sorted(code for code in codes if f'"{code}"' not in schema)
    assert len(codes) > 15
    assert not missing, "name these in the app's api/operations.yaml, at the calls that answer them"


def test_it_serves_its_pages_locally_and_to_people_only(cast):
    from django.test import Client

    assert Client().get("/api/v1/docs").status_code in {401, 403}
    client = Client()
    client.force_login(cast.lea)
    page = client.get("/api/v1/docs").content.decode()
    assert "swagger" in page.lower()
    assert re.findall(r'(?:src|href)="(https?://[^"]+)"', page) == []
