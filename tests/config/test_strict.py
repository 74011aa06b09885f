"""What a call does not know is refused, with its place: a typo is not dropped in silence."""

from collections.abc import Iterator
from typing import Any

import pytest
from rest_framework import serializers

from config.api.strict import StrictSerializer
from config.urls import urlpatterns
from evidence.ledger import reader
from tests.cast import Cast, assemble
from tests.evidence.conftest import Api

DIGEST = "sha256:" + "0" * 64


@pytest.fixture
def cast(ledger: object) -> Cast:
    return assemble()


@pytest.fixture
def root(cast: Cast) -> Api:
    from evidence.api.actors import actor_for
    from evidence.people import issue_token

    return Api(issue_token(cast.root, actor=actor_for(cast.root), label="test", scopes=["person"], days=1).text)


def _below(serializer: Any) -> Iterator[Any]:
    for each in serializer.__subclasses__():
        yield each
        yield from _below(each)


def test_every_serializer_of_a_body_is_strict() -> None:
    assert urlpatterns  # importing them has imported every view
    own = [each for each in _below(serializers.Serializer) if each.__module__.split(".")[1:2] == ["api"]]
    bodies = [each for each in own if each.__name__ in {"In", "Input", "Control"} or each.__name__.endswith("In")]
    assert len(bodies) >= 14
    assert [each for each in bodies if not issubclass(each, StrictSerializer)] == []


CALLS: list[tuple[str, dict[str, Any], str]] = [
    ("releases/netlify-trading:r1/gate", {"environment": "production", "as_of": "x"}, "$.as_of"),
    ("releases/netlify-trading:r1/approvals", {"role": "qa", "manifest_digest": DIGEST, "aprover": "Bob"}, "$.aprover"),
    ("exceptions", {"compensating_controls": [{"title": "x"}, {"title": "y", "evidnce": "z"}]}, ""),
    ("exceptions/EXC-0001/transitions", {"to": "approved", "reson": "x"}, "$.reson"),
    ("risks", {"title": "x", "Owner": "x"}, "$.Owner"),
    ("holds", {"reason": "x", "relase": "netlify-trading:r1"}, "$.relase"),
    ("packs", {"from": "2026-01-01", "to": "2026-01-31", "system": "netlify-trading"}, "$.system"),
    ("reports", {"kind": "monthly", "month": "2026-01", "to": "max@example.com"}, "$.to"),
    ("auth/oidc", {"id_token": "x", "audience": "y"}, "$.audience"),
    ("artifacts", {"sha256": "0" * 64, "size": 1, "name": "x", "sytem": "y"}, "$.sytem"),
    (f"artifacts/{'0' * 64}/confirm", {"sytem": "y"}, "$.sytem"),
    ("releases", {"system": "netlify-trading", "tag": "r2", "tyepe": "regular"}, ""),
]


def test_a_member_that_there_is_not_is_refused_and_nothing_written(cast: Cast, root: Api) -> None:
    opening = {"system": "netlify-trading", "tag": "r1", "type": "regular", "ticket_id": "T", "captain": "Cora"}
    assert root.post("releases", opening | {"ticket_url": "https://tickets.example.com/T"}).status_code == 201
    before = reader.size()
    for path, body, where in CALLS:
        answer = root.post(path, body)
        assert (path, answer.status_code, answer.json()["code"]) == (path, 422, "body_invalid")
        if where:
            assert answer.json()["where"] == where
    assert reader.size() == before


def test_the_place_is_that_of_the_member_however_deep(root: Api) -> None:
    asked = {"compensating_controls": [{"title": "x"}, {"title": "y", "evidnce": "z"}]}
    found = root.post("exceptions", asked).json()
    assert found["where"] == "$.compensating_controls[1].evidnce"
    assert {"$.title", "$.owner"} < {row["where"] for row in found["errors"]}


def test_a_value_of_another_type_is_named_in_the_words_of_json(root: Api) -> None:
    for given, said in {"x": "Send an array here, not a string.", 3: "Send an array here, not a number."}.items():
        found = root.post("exceptions", {"compensating_controls": given}).json()
        rows = {row["where"]: row for row in found["errors"]}
        assert rows["$.compensating_controls"]["detail"] == said
    found = root.post("exceptions", {"compensating_controls": ["x"]}).json()
    rows = {row["where"]: row for row in found["errors"]}
    assert rows["$.compensating_controls[0]"]["detail"] == "Send an object here, not a string."
