"""Evidence kinds: what may be recorded, as data (R2.3; docs/kinds.md).

A kind is one YAML document: its JSON Schema (2020-12), predicate type, retention class, who may post it, and where its
outcome, its time and its facts stand. The product's own lie in each app's ``kinds`` folder; a company adds its own as
``*.yaml`` in the folders of ``PROOFTRAIL_KINDS``, or in ``<folder>/kinds`` of those of ``PROOFTRAIL_DATA_PATHS``.
A version never changes: another schema, outcome, time or facts make a new version, whose predicate type ends in it
(``:v2``); the old document stays beside it, and old records are read as they were written.
"""

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings

from config.errors import InvalidError
from evidence.kinds import definitions, source
from evidence.kinds.kind import Kind, Reading, matches, pointer
from evidence.kinds.source import Document, Fault
from evidence.tlog.canonical import canonical
from evidence.tlog.statement import PREDICATE_PREFIX

__all__ = ["Fault", "Kind", "Kinds", "Reading", "faults", "load", "pointer", "yaml_files"]

_OWN = re.compile(re.escape(PREDICATE_PREFIX) + r"([^:]+):v[0-9]{1,3}")
_NAME = re.compile(r"[a-z][a-z0-9_-]*(\.[a-z0-9_-]+)+")
_LONGEST_NAME = 60


class DefinitionsError(InvalidError):
    """Definitions cannot be used; `faults` say why, each with file and line."""

    code = "definition_invalid"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True)
class Kinds:
    #: Each kind's version in force.
    by_name: dict[str, Kind]
    #: Every version by its predicate type, and kinds by those of others.
    by_predicate: dict[str, Kind]
    #: SHA-256 over the canonical definitions: the revision in force is itself a record (`config.revision`).
    revision: str
    #: ``custom.`` and the kind that stands for all undeclared ones of that name.
    families: Mapping[str, Kind] = field(default_factory=dict)
    #: What no version may change, as a digest for each predicate type.
    fixed: Mapping[str, str] = field(default_factory=dict)

    def find(self, name: str) -> Kind | None:
        """The version in force of a kind, declared or of an open family."""
        return self.by_name.get(name) or self._of_family(name)

    def named(self, name: str) -> Kind:
        kind = self.find(name)
        if kind is None:
            raise InvalidError(
                f"There is no evidence kind {name!r}. Known: GET /api/v1/kinds.", code="kind_unknown", where="$.kind"
            )
        return kind

    def for_predicate(self, predicate_type: str) -> Kind:
        kind = self.by_predicate.get(predicate_type) or self._by_pattern(predicate_type)
        if kind is None:
            raise InvalidError(
                f"No evidence kind declares the predicate type {predicate_type!r}.",
                code="kind_unknown",
                where="$.predicateType",
            )
        return kind

    def reading(self, name: str, predicate_type: str) -> Kind | None:
        """The version of a kind by which a record of this predicate type was written and is read; None where that
        is no longer declared."""
        kind = self.by_predicate.get(predicate_type)
        if kind is None:
            kind = self._by_pattern(predicate_type)
        return kind if kind is not None and kind.name == name else None

    def versions(self, name: str) -> list[Kind]:
        """Every version of a kind that is declared, the one in force first."""
        found = {id(kind): kind for kind in self.by_predicate.values() if kind.name == name}
        return sorted(found.values(), key=lambda kind: -kind.version)

    def _of_family(self, name: str) -> Kind | None:
        family = self.families.get(name.partition(".")[0] + ".")
        if family is None or len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
            return None
        return _member(family, name)

    def _by_pattern(self, predicate_type: str) -> Kind | None:
        own = _OWN.fullmatch(predicate_type)
        if own is not None:  # an undeclared kind of an open family; its members have one version
            member = self._of_family(own.group(1))
            return member if member is not None and predicate_type == member.predicate_types[0] else None
        return next((kind for pattern, kind in self.by_predicate.items() if matches(pattern, predicate_type)), None)


@functools.lru_cache(maxsize=1024)
def _member(family: Kind, name: str) -> Kind:
    return family.member(name)


def yaml_files(folder: str) -> list[Path]:
    """YAML files below `folder` (``kinds``, ``policies``, ``controls``): of each app, then of the company."""
    return [path for path, _ in _yaml_files(folder)]


def _yaml_files(folder: str) -> Iterator[tuple[Path, bool]]:
    """Files, and whether they come with the product."""
    roots = [(Path(app.path) / folder, True) for app in apps.get_app_configs()]
    roots += [(path / folder, False) for path in settings.DATA_PATHS]
    if folder == "kinds":
        roots += [(path, False) for path in settings.KINDS_PATHS]
    for root, builtin in roots:
        for path in sorted(root.glob("*.yaml")):
            yield path, builtin


def _read() -> tuple[list[Document], list[Fault]]:
    """The definitions of this installation, and everything that is wrong with them."""
    from evidence import retention  # which looks for its files here

    found, wrong = [], list(_missing_folders())
    for path, builtin in _yaml_files("kinds"):
        documents, faults = source.read(path, builtin=builtin)
        wrong += faults
        for document in documents:
            own = definitions.faults_of(document, retention.classes())
            wrong += own
            if not own:
                found.append(document)
    return found, [*wrong, *definitions.faults_between(found)]


def _missing_folders() -> Iterator[Fault]:
    """A folder that is named but not there would leave its kinds out in silence."""
    for name, paths in (("PROOFTRAIL_KINDS", settings.KINDS_PATHS), ("PROOFTRAIL_DATA_PATHS", settings.DATA_PATHS)):
        for path in paths:
            if not path.is_dir():
                yield Fault(path, 0, f"{name} names this folder, which is not there")


def faults() -> list[Fault]:
    """What is wrong with the definitions as they lie in their files now."""
    return _read()[1]


@functools.cache
def load() -> Kinds:
    """All kinds of this installation. Read once for each process. Raises DefinitionsError."""
    documents, wrong = _read()
    if wrong:
        raise DefinitionsError(wrong)
    overrides = {d.value["override"]: d.value for d in documents if definitions.is_override(d)}
    kinds: list[Kind] = []
    fixed: dict[str, str] = {}
    for document in documents:
        if definitions.is_override(document):
            continue
        kind = definitions.make(document.value, builtin=document.builtin)
        kinds.append(definitions.overridden(kind, overrides[kind.name]) if kind.name in overrides else kind)
        fixed[kind.predicate_types[0]] = _digest(definitions.fixed_part(document.value))
    kinds.sort(key=lambda kind: kind.version)  # so that the newest of a name is the one that counts
    return Kinds(
        by_name={kind.name: kind for kind in kinds if not kind.is_family},
        by_predicate={p: kind for kind in kinds if not kind.is_family for p in kind.predicate_types},
        revision=_digest([document.value for document in documents]),
        families={kind.name[:-1]: kind for kind in kinds if kind.is_family and not kind.retired},
        fixed=fixed,
    )


def _digest(value: Any) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()
