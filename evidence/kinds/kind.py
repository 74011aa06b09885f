"""One version of one kind: what it takes, and what it reads from a body."""

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice
from typing import Any

import jsonschema_rs

from config.api.times import parse_time
from config.errors import InvalidError
from evidence.tlog.statement import PREDICATE_PREFIX

#: RFC 6901 pointers, of which the first that leads to something counts.
Pointers = tuple[str, ...]
_SHOWN = 10
_LONGEST_MESSAGE = 300
#: A fact read from a predicate that no schema of ours bounds is cut here.
_LONGEST_FACT = 200
_LONGEST_OUTCOME = 20


def pointer(value: Any, path: str) -> Any:
    """What an RFC 6901 pointer finds in `value`, or None."""
    for part in path.split("/")[1:]:
        if "~" in part:
            part = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


def first_of(value: Any, paths: Pointers) -> tuple[Any, str]:
    """The first thing that any of the pointers finds, and which one did."""
    for path in paths:
        if (found := pointer(value, path)) is not None:
            return found, path
    return None, ""


def own_predicate(name: str, version: int) -> str:
    return f"{PREDICATE_PREFIX}{name}:v{version}"


@dataclass(frozen=True, eq=False)
class Reading:
    """How bodies of one predicate type are read.

    `foreign`: somebody else's predicate, taken as it is; `schema` is then only what reading it takes, or None.
    """

    schema: dict[str, Any] | None
    outcome: Pointers = ()
    #: What the predicate calls an outcome, and what the kind calls it; empty where both say the same.
    outcomes: Mapping[str, str] = field(default_factory=dict)
    time: Pointers = ()
    facts: Mapping[str, Pointers] = field(default_factory=dict)
    foreign: bool = False

    @functools.cached_property
    def validator(self) -> Any:
        return jsonschema_rs.Draft202012Validator({} if self.schema is None else self.schema, validate_formats=True)


@dataclass(frozen=True, eq=False)
class Kind:
    """A version never changes: another schema, outcome, time or facts make a new version."""

    name: str
    title: str
    predicate_types: tuple[str, ...]
    retention: str
    posted_by: frozenset[str]
    own: Reading
    version: int = 1
    description: str = ""
    needs_release: bool = False
    #: Each subject must be a confirmed artifact (a log file, a screenshot).
    needs_artifact: bool = False
    #: Nothing of this version is recorded any more.
    retired: bool = False
    #: It comes with the product, not from a company's folder.
    builtin: bool = True
    #: How predicate types other than its own are read.
    well_known: Mapping[str, Reading] = field(default_factory=dict)

    @property
    def reserved(self) -> bool:
        """Whether only the product writes it (403 ``kind_reserved``)."""
        return not self.posted_by

    @property
    def schema(self) -> Mapping[str, Any]:
        return self.own.schema or {}

    @property
    def is_family(self) -> bool:
        """Whether it stands for all kinds that begin alike (``custom.*``) and are not declared themselves."""
        return self.name.endswith(".*")

    def member(self, name: str) -> "Kind":
        """This family's rules for a kind of that name."""
        return replace(self, name=name, predicate_types=(own_predicate(name, 1),))

    def reading(self, predicate_type: str | None = None) -> Reading:
        """How a body of this predicate type is read; without one, of the kind's own."""
        if predicate_type is None or predicate_type == self.predicate_types[0] or not self.well_known:
            return self.own
        found = self.well_known.get(predicate_type)
        if found is not None:
            return found
        return next((r for p, r in self.well_known.items() if matches(p, predicate_type)), self.own)

    def validate(self, body: Any, predicate_type: str) -> None:
        """Raise InvalidError (``body_invalid``) naming the members unless `body` follows the schema.

        A well-known predicate is taken as it is: only what is read from it must be readable.
        """
        reading = self.reading(predicate_type)
        if reading.schema is None or reading.validator.is_valid(body):
            return
        rows = [_row(error) for error in islice(reading.validator.iter_errors(body), _SHOWN)]
        raise InvalidError(
            f"The body does not fit kind {self.name} (version {self.version}): {rows[0]['detail']}",
            code="body_invalid",
            where=rows[0]["where"],
            **({"errors": rows} if len(rows) > 1 else {}),
        )

    def outcome_of(self, body: Any, predicate_type: str | None = None) -> str | None:
        """The outcome that the body states, in this kind's words, or None for kinds without one."""
        reading = self.reading(predicate_type)
        value, _ = first_of(body, reading.outcome)
        if not isinstance(value, str):
            return None
        return reading.outcomes.get(value) if reading.outcomes else value[:_LONGEST_OUTCOME]

    def facts_of(self, body: Any, predicate_type: str | None = None) -> dict[str, Any]:
        """The members of the body that this kind declares as searchable."""
        reading = self.reading(predicate_type)
        found = {name: first_of(body, paths)[0] for name, paths in reading.facts.items()}
        if reading.foreign:
            found = {name: _bounded(value) for name, value in found.items()}
        return {name: value for name, value in found.items() if value is not None}

    def occurred_in(self, body: Any, predicate_type: str | None = None) -> datetime | None:
        """When the body says it happened. Raises InvalidError ``time_invalid``, but not over a well-known predicate:
        an unreadable time there is none."""
        reading = self.reading(predicate_type)
        value, path = first_of(body, reading.time)
        if not isinstance(value, str):
            return None
        try:
            return parse_time(value, "$.body" + path.replace("/", "."))
        except InvalidError:
            if reading.foreign:
                return None
            raise

    def outcomes(self) -> Iterator[str]:
        """Every outcome that records of this kind can have, as far as its schema says."""
        for reading in (self.own, *self.well_known.values()):
            yield from reading.outcomes.values()
            for path in reading.outcome:
                stated = declared(reading.schema or {}, path) or {}
                words = stated.get("enum") or [stated.get("const")]
                yield from (word for word in words if isinstance(word, str) and not reading.outcomes)


def matches(pattern: str, predicate_type: str) -> bool:
    """A predicate type may be declared with all its versions: ``https://cyclonedx.org/bom/v*``."""
    return pattern.endswith("*") and predicate_type.startswith(pattern[:-1])


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_LONGEST_FACT]
    return value if isinstance(value, bool | int | float) else None


def _row(error: Any) -> dict[str, str]:
    where = "$.body" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.instance_path)
    message = error.message
    shown = message if len(message) < _LONGEST_MESSAGE else message[:_LONGEST_MESSAGE] + "…"
    return {"where": where, "code": "body_invalid", "detail": shown}


def declared(schema: Any, path: str) -> Mapping[str, Any] | None:
    """What a schema says of the member that a pointer leads to: ``{}`` where it says nothing, None where that member
    is not among those that it names."""
    at = schema
    for part in path.split("/")[1:]:
        at = _resolved(schema, at)
        if not at:
            return {}
        if part.isdigit() and isinstance(at.get("items"), Mapping):
            at = at["items"]
        elif part in at.get("properties", {}):
            at = at["properties"][part]
        elif isinstance(at.get("additionalProperties"), Mapping):
            at = at["additionalProperties"]
        else:
            return None if "properties" in at else {}
    return _resolved(schema, at)


def _resolved(schema: Any, at: Any) -> Mapping[str, Any]:
    for _ in range(20):
        reference = at.get("$ref") if isinstance(at, Mapping) else None
        if not isinstance(reference, str) or not reference.startswith("#/"):
            break
        at = pointer(schema, reference[1:])
    return at if isinstance(at, Mapping) else {}
