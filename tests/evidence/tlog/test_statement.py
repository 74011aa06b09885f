import json
from typing import Any

import pytest

from evidence.tlog.canonical import canonical
from evidence.tlog.errors import MalformedError
from evidence.tlog.statement import (
    STATEMENT_V01,
    STATEMENT_V1,
    Statement,
    Subject,
    build_statement,
    parse_statement,
    predicate_type_for,
)

SHA = "a" * 64
SUBJECT = {"name": "site.tar.gz", "digest": {"sha256": SHA}}


def statement(**changes: Any) -> bytes:
    members = {"_type": STATEMENT_V1, "subject": [SUBJECT], "predicateType": "t", "predicate": {"a": 1}}
    return json.dumps(members | changes).encode()


def test_it_writes_canonical_json_that_it_reads() -> None:
    data = build_statement(
        subjects=[Subject("site.tar.gz", {"sha256": SHA, "gitCommit": "ff"}), Subject(None, {"sha256": SHA})],
        predicate_type=predicate_type_for("deploy.manifest"),
        predicate={"environment": "staging"},
    )
    assert canonical(json.loads(data)) == data
    assert json.loads(data)["subject"][1] == {"digest": {"sha256": SHA}}
    assert parse_statement(data) == Statement(
        STATEMENT_V1,
        (Subject("site.tar.gz", {"sha256": SHA, "gitCommit": "ff"}), Subject(None, {"sha256": SHA})),
        "urn:prooftrail:predicate:deploy.manifest:v1",
        {"environment": "staging"},
    )


def test_it_writes_subjects_with_further_members_as_they_are() -> None:
    subject = SUBJECT | {"uri": "https://example.com/site.tar.gz"}
    data = build_statement(subjects=[subject], predicate_type="t", predicate={})
    assert json.loads(data)["subject"] == [subject]


def test_it_marks_the_older_version_by_its_type() -> None:
    assert parse_statement(statement(_type=STATEMENT_V01)).type == STATEMENT_V01


@pytest.mark.parametrize("absent", [None, {}])
def test_it_reads_a_missing_predicate_as_an_empty_one(absent: Any) -> None:
    assert parse_statement(statement(predicate=absent)).predicate == {}


def test_it_reads_subjects_of_other_digests() -> None:
    subject = {"uri": "pkg:x", "name": "", "digest": {"gitCommit": "ff", "dirHash": "h1:x="}}
    assert parse_statement(statement(subject=[subject])).subjects[0] == Subject(None, subject["digest"])  # type: ignore[arg-type]  # a dictionary of mixed values


@pytest.mark.parametrize(
    ("data", "path"),
    [
        (b"[]", "$"),
        (b'{"_type":1,"_type":1}', "$._type"),
        (statement(_type="https://in-toto.io/Statement/v2"), "$._type"),
        (statement(_type=[]), "$._type"),
        (statement(predicateType=""), "$.predicateType"),
        (statement(predicateType=None), "$.predicateType"),
        (statement(predicate=[]), "$.predicate"),
        (statement(subject=[]), "$.subject"),
        (statement(subject=None), "$.subject"),
        (statement(subject={"digest": {}}), "$.subject"),
        (statement(subject=[SUBJECT, "x"]), "$.subject[1]"),
        (statement(subject=[SUBJECT | {"name": 7}]), "$.subject[0].name"),
        (statement(subject=[{"name": "x"}]), "$.subject[0].digest"),
        (statement(subject=[SUBJECT | {"digest": {}}]), "$.subject[0].digest"),
        (statement(subject=[SUBJECT | {"digest": {"sha512": ""}}]), "$.subject[0].digest.sha512"),
        (statement(subject=[SUBJECT | {"digest": {"sha512": 1}}]), "$.subject[0].digest.sha512"),
        (statement(subject=[SUBJECT | {"digest": {"sha256": SHA.upper()}}]), "$.subject[0].digest.sha256"),
        (statement(subject=[SUBJECT | {"digest": {"sha256": SHA + "\n"}}]), "$.subject[0].digest.sha256"),
    ],
)
def test_it_refuses_what_is_not_a_statement(data: bytes, path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_statement(data)
    assert caught.value.path == path


def test_it_writes_nothing_that_it_would_not_read() -> None:
    with pytest.raises(MalformedError):
        build_statement(subjects=[], predicate_type="t", predicate={})
    with pytest.raises(MalformedError):
        build_statement(subjects=[Subject("x", {"sha256": "short"})], predicate_type="t", predicate={})
