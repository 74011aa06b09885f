"""in-toto Statements: what is said (the predicate) about what (the subjects, matched by digest alone)."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from evidence.tlog.canonical import canonical, parse_strict
from evidence.tlog.errors import MalformedError

STATEMENT_V1 = "https://in-toto.io/Statement/v1"
STATEMENT_V01 = "https://in-toto.io/Statement/v0.1"
PREDICATE_PREFIX = "urn:prooftrail:predicate:"
_VERSION = ":v1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Subject(NamedTuple):
    """``digest`` maps algorithms to digests: lower-case hex for sha256."""

    name: str | None
    digest: dict[str, str]


class Statement(NamedTuple):
    """``type`` is `STATEMENT_V1`, or `STATEMENT_V01` for one stored as an older tool sent it."""

    type: str
    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: dict[str, Any]


def predicate_type_for(kind: str) -> str:
    """The predicate type of this product's own kind."""
    return f"{PREDICATE_PREFIX}{kind}{_VERSION}"


def parse_statement(payload: bytes) -> Statement:
    value = parse_strict(payload)
    if not isinstance(value, dict):
        raise MalformedError("a statement is a JSON object", path="$")
    type_ = value.get("_type")
    if type_ not in (STATEMENT_V1, STATEMENT_V01):
        raise MalformedError(f"a statement's type is {STATEMENT_V1}", path="$._type")
    predicate_type = value.get("predicateType")
    if not isinstance(predicate_type, str) or not predicate_type:
        raise MalformedError("predicateType is missing or not text", path="$.predicateType")
    predicate = value.get("predicate")
    if predicate is not None and not isinstance(predicate, dict):
        raise MalformedError("a predicate is a JSON object", path="$.predicate")
    return Statement(type_, _parse_subjects(value.get("subject")), predicate_type, predicate or {})


def build_statement(
    *,
    subjects: Sequence[Subject | Mapping[str, Any]],
    predicate_type: str,
    predicate: Mapping[str, Any],
) -> bytes:
    """A Statement v1 as canonical JSON; what it writes, `parse_statement` reads.

    Subjects that are mappings are written as they are: in-toto knows more members than `Subject`.
    """
    members = [_member(subject) if isinstance(subject, Subject) else dict(subject) for subject in subjects]
    _parse_subjects(members)
    return canonical(
        {
            "_type": STATEMENT_V1,
            "subject": members,
            "predicateType": predicate_type,
            "predicate": dict(predicate),
        }
    )


def _member(subject: Subject) -> dict[str, Any]:
    return ({"name": subject.name} if subject.name else {}) | {"digest": subject.digest}


def _parse_subjects(value: Any) -> tuple[Subject, ...]:
    if not isinstance(value, list) or not value:
        raise MalformedError("a statement has at least one subject", path="$.subject")
    return tuple(_parse_subject(item, f"$.subject[{index}]") for index, item in enumerate(value))


def _parse_subject(value: Any, path: str) -> Subject:
    if not isinstance(value, dict):
        raise MalformedError("a subject is a JSON object", path=path)
    name = value.get("name")
    if name is not None and not isinstance(name, str):
        raise MalformedError("a subject's name is text", path=f"{path}.name")
    digest = value.get("digest")
    if not isinstance(digest, dict) or not digest:
        raise MalformedError("a subject has at least one digest", path=f"{path}.digest")
    for algorithm, hex_ in digest.items():
        if not isinstance(hex_, str) or not hex_:
            raise MalformedError("a digest is text", path=f"{path}.digest.{algorithm}")
    if "sha256" in digest and not _SHA256.fullmatch(digest["sha256"]):
        raise MalformedError("a sha256 digest is 64 lower-case hex digits", path=f"{path}.digest.sha256")
    return Subject(name or None, dict(digest))
