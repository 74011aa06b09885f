"""Evidence kinds: what may be recorded, as data (R2.3).

A kind is one YAML file: its predicate type, JSON Schema, retention class, who may post it, what its outcome and
facts are. Built-in kinds lie in each app's ``kinds`` folder; a company adds its own in ``<folder>/kinds/*.yaml`` of
``PROOFTRAIL_DATA_PATHS``. A version never changes: another schema or other facts make a new version, whose
predicate type ends in it (``:v2``), so that old records are read as they were written.
"""

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml
from django.apps import apps
from django.conf import settings

from config.errors import InvalidError
from evidence.tlog.canonical import canonical

POSTERS = frozenset({"pipeline", "person"})


@dataclass(frozen=True)
class Kind:
    """One revision of one kind."""

    name: str
    title: str
    predicate_types: tuple[str, ...]
    retention: str
    posted_by: frozenset[str]
    schema: dict[str, Any]
    needs_release: bool = False
    #: Each subject must be a confirmed artifact (a log file, a screenshot).
    needs_artifact: bool = False
    outcome: str | None = None
    facts: dict[str, str] = field(default_factory=dict)

    @property
    def reserved(self) -> bool:
        """Whether only the product writes it (403 ``kind_reserved``)."""
        return not self.posted_by

    @functools.cached_property
    def _validator(self) -> Any:
        return jsonschema_rs.validator_for(self.schema, validate_formats=True)

    def validate(self, body: Any, predicate_type: str) -> None:
        """Raise InvalidError (``body_invalid``) naming the member unless `body` follows the schema.

        A well-known predicate type other than the kind's own is taken as it is (formats.md, DSSE and in-toto).
        """
        if predicate_type != self.predicate_types[0]:
            return
        error = next(self._validator.iter_errors(body), None)
        if error is not None:
            where = "$.body" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in error.instance_path)
            message = error.message if len(error.message) < 300 else error.message[:300] + "…"
            raise InvalidError(f"The body does not fit kind {self.name}: {message}", code="body_invalid", where=where)

    def outcome_of(self, body: Any) -> str | None:
        """The outcome that the body states, or None for kinds without one."""
        value = pointer(body, self.outcome) if self.outcome else None
        return value[:20] if isinstance(value, str) else None

    def facts_of(self, body: Any) -> dict[str, Any]:
        """The members of the body that this kind declares as searchable."""
        found = {name: pointer(body, path) for name, path in self.facts.items()}
        return {name: value for name, value in found.items() if value is not None}


def pointer(value: Any, path: str) -> Any:
    """What an RFC 6901 pointer finds in `value`, or None."""
    for part in path.split("/")[1:]:
        if isinstance(value, dict):
            value = value.get(part)
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    return value


@dataclass(frozen=True)
class Kinds:
    by_name: dict[str, Kind]
    by_predicate: dict[str, Kind]
    #: SHA-256 over the canonical definitions: the revision in force is itself a record (`config.revision`).
    revision: str

    def named(self, name: str) -> Kind:
        try:
            return self.by_name[name]
        except KeyError:
            raise InvalidError(
                f"There is no evidence kind {name!r}. Known: GET /api/v1/kinds.",
                code="kind_unknown",
                where="$.kind",
            ) from None

    def for_predicate(self, predicate_type: str) -> Kind:
        try:
            return self.by_predicate[predicate_type]
        except KeyError:
            raise InvalidError(
                f"No evidence kind declares the predicate type {predicate_type!r}.",
                code="kind_unknown",
                where="$.predicateType",
            ) from None


def yaml_files(folder: str) -> list[Path]:
    """YAML files below `folder` (``kinds``, ``policies``, ``controls``): of each app, then of the company."""
    roots = [*(Path(app.path) / folder for app in apps.get_app_configs()), *(p / folder for p in settings.DATA_PATHS)]
    return [path for root in roots for path in sorted(root.glob("*.yaml"))]


def parse_kind(source: dict[str, Any]) -> Kind:
    name = source["kind"]
    own = f"urn:prooftrail:predicate:{name}:v{source.get('version', 1)}"
    return Kind(
        name=name,
        title=source["title"],
        predicate_types=(own, *source.get("also", [])),
        retention=source["retention"],
        posted_by=frozenset(source.get("posted_by", [])) & POSTERS,
        schema=source.get("schema", {"type": "object"}),
        needs_release=source.get("needs_release", False),
        needs_artifact=source.get("needs_artifact", False),
        outcome=source.get("outcome"),
        facts=source.get("facts", {}),
    )


@functools.cache
def load() -> Kinds:
    """All kinds of this installation. Read once for each process."""
    sources = [doc for path in yaml_files("kinds") for doc in yaml.safe_load_all(path.read_text()) if doc]
    kinds = [parse_kind(source) for source in sources]
    return Kinds(
        by_name={kind.name: kind for kind in kinds},
        by_predicate={predicate: kind for kind in kinds for predicate in kind.predicate_types},
        revision="sha256:" + hashlib.sha256(canonical(sources)).hexdigest(),
    )
