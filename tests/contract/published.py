"""The description that clients were given, and the one that the code gives now."""

import json
from typing import Any

from tests.engines import ROOT

PATH = ROOT / "docs" / "openapi-v1.json"


def current() -> dict[str, Any]:
    """What the code says, in the order in which it is written."""
    import django

    django.setup()
    from drf_spectacular.generators import SchemaGenerator

    found: dict[str, Any] = json.loads(json.dumps(SchemaGenerator().get_schema(request=None, public=True), default=str))
    return found


def written(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
