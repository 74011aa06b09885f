"""The published description of v1 against the code: additions pass, what a client could trip over does not."""

import copy
import json
from typing import Any

import pytest

from tests.contract.compatibility import broken
from tests.contract.published import PATH, current

UPDATE = "make openapi writes docs/openapi-v1.json anew (BREAK=1 if a broken promise is meant)"


@pytest.fixture(scope="module")
def now() -> dict[str, Any]:
    return current()


def test_it_keeps_every_promise_of_the_published_description(now):
    lost = broken(json.loads(PATH.read_text()), now)
    assert not lost, "\n".join(["The code breaks what docs/openapi-v1.json promises:", *lost, UPDATE])


def _at(schema: Any, path: str) -> Any:
    for name in path.split(" "):
        schema = schema[int(name) if isinstance(schema, list) else name]
    return schema


def _kind_filter(schema: Any, *, gone: bool = False) -> Any:
    parameters = _at(schema, "paths /api/v1/records get parameters")
    place = next(place for place, one in enumerate(parameters) if one["name"] == "kind")
    return parameters.pop(place) if gone else parameters[place]


RELEASES = "paths /api/v1/releases post"
IN = "components schemas RecordIn"
CHANGES = [
    ("the call is gone", lambda s: _at(s, "paths").pop("/api/v1/risks")),
    ("query parameter kind is gone", lambda s: _kind_filter(s, gone=True)),
    ("is required now", lambda s: _kind_filter(s).update(required=True)),
    ("no longer taken", lambda s: _at(s, f"{RELEASES} requestBody content").pop("application/json")),
    ("the answer 201 is gone", lambda s: _at(s, f"{RELEASES} responses").pop("201")),
    ("body.release is required now", lambda s: _at(s, f"{IN} required").append("release")),
    ("body.subject is gone", lambda s: _at(s, f"{IN} properties").pop("subject")),
    ("body.release may no longer be null", lambda s: _at(s, f"{IN} properties release").update(type="string")),
    ("maxLength is 5", lambda s: _at(s, f"{IN} properties kind").update(maxLength=5)),
    ("another pattern", lambda s: _at(s, f"{IN} properties kind").update(pattern="^a")),
    ("may no longer be", lambda s: _at(s, f"{IN} properties kind").update(enum=["decision"])),
    ("proof is no longer always there", lambda s: _at(s, "components schemas Receipt required").remove("proof")),
    ("index may be string", lambda s: _at(s, "components schemas Receipt properties index").update(type="string")),
    (
        "the error code release_exists is gone",
        lambda s: _at(
            s, f"{RELEASES} responses 409 content application/problem+json schema allOf 1 properties code enum"
        ).remove("release_exists"),
    ),
]


@pytest.mark.parametrize(("said", "change"), CHANGES, ids=[said for said, _ in CHANGES])
def test_it_finds_what_a_client_could_trip_over(now, said, change):
    changed = copy.deepcopy(now)
    change(changed)
    lost = broken(now, changed)
    assert any(said in line for line in lost), lost
    assert broken(changed, now) == [] or "may" in said or "pattern" in said or "maxLength" in said


def test_it_lets_the_api_grow(now):
    grown = copy.deepcopy(now)
    grown["paths"]["/api/v1/new"] = grown["paths"]["/api/v1/kinds"]
    grown["components"]["schemas"]["RecordIn"]["properties"]["note"] = {"type": "string"}
    grown["components"]["schemas"]["Receipt"]["properties"]["witness"] = {"type": "string"}
    grown["components"]["schemas"]["Receipt"]["required"].append("witness")
    _at(grown, "paths /api/v1/records get parameters").append({"in": "query", "name": "system", "schema": {}})
    assert broken(now, grown) == []
