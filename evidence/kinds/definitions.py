"""What a definition must be, and the kinds that sound ones make."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs

from evidence.kinds.kind import Kind, Pointers, Reading, declared, own_predicate
from evidence.kinds.source import Document, Fault, Place
from evidence.tlog.canonical import canonical, parse_strict
from evidence.tlog.errors import TlogError

_LONGEST_OUTCOME = 20
#: The family in which companies may name kinds as they like; other first words of the product's kinds are its own.
OPEN = "custom"


@cache
def _rules(name: str) -> Any:
    """What the definition of a kind (or an override) must be."""
    rules = parse_strict((Path(__file__).parent / "definition.json").read_bytes())
    assert isinstance(rules, dict)
    return jsonschema_rs.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": rules["$defs"]})


def is_override(document: Document) -> bool:
    return isinstance(document.value, dict) and "override" in document.value


def faults_of(document: Document, retention_classes: Mapping[str, Any]) -> list[Fault]:
    """What is wrong with one definition, by itself."""
    rules = _rules("override" if is_override(document) else "kind")
    found = [document.fault(error.instance_path, _told(error)) for error in rules.iter_errors(document.value)]
    if found:
        return found
    value = document.value
    try:
        canonical(value)
    except TlogError as error:
        found.append(document.fault((), f"it is not JSON: {error}"))
    if value.get("retention", "audit") not in retention_classes:
        known = ", ".join(sorted(retention_classes))
        found.append(
            document.fault(("retention",), f"there is no retention class {value['retention']!r}; known: {known}")
        )
    if not is_override(document):
        found += _faults_of_readings(document)
    return found


def _faults_of_readings(document: Document) -> Iterator[Fault]:
    value = document.value
    yield from _faults_of_schema(document, value, ())
    for place, source in enumerate(value.get("also", [])):
        if isinstance(source, dict):
            yield from _faults_of_schema(document, source, ("also", place))


def _faults_of_schema(document: Document, source: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    """Whether it is a JSON Schema, needs nothing from elsewhere, and has what the pointers point to."""
    schema = source.get("schema", {})
    outside = next(_outside(schema, (*place, "schema")), None)
    if outside is not None:
        yield document.fault(outside, "a schema refers to its own parts only (#/…): nothing is fetched")
        return
    try:
        jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    except jsonschema_rs.ValidationError as error:
        yield document.fault(
            (*place, "schema", *error.instance_path), f"this is not JSON Schema 2020-12: {_told(error)}"
        )
        return
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        yield document.fault((*place, "schema"), f"this is not JSON Schema 2020-12: {error}")
        return
    yield from _faults_of_pointers(document, source, place)


def _outside(schema: Any, place: Place) -> Iterator[Place]:
    members = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for name, value in members:
        if name in ("$ref", "$dynamicRef") and isinstance(value, str) and not value.startswith("#"):
            yield (*place, name)
        if name == "$schema" and value != "https://json-schema.org/draft/2020-12/schema":
            yield (*place, name)
        yield from _outside(value, (*place, name))


def _faults_of_pointers(document: Document, source: Mapping[str, Any], place: Place) -> Iterator[Fault]:
    schema, mapped = source.get("schema", {}), bool(source.get("outcomes"))
    pointed: list[tuple[Place, str]] = [(("outcome",), path) for path in _pointers(source.get("outcome"))]
    pointed += [(("time",), path) for path in _pointers(source.get("time"))]
    for name, paths in source.get("facts", {}).items():
        pointed += [(("facts", name), path) for path in _pointers(paths)]
    for member, path in pointed:
        stated = declared(schema, path)
        if stated is None:
            yield document.fault((*place, *member), f"{path} is no member that the schema names")
        elif member == ("outcome",) and stated and not mapped and not _few_words(stated):
            complaint = f"{path} is an outcome: give it an enum of words of up to {_LONGEST_OUTCOME} characters"
            yield document.fault((*place, *member), complaint)
        elif member == ("time",) and stated and stated.get("format") != "date-time":
            yield document.fault((*place, *member), f"{path} is a time: give it format: date-time")


def _few_words(stated: Mapping[str, Any]) -> bool:
    if "maxLength" in stated:
        return stated.get("type") == "string" and stated["maxLength"] <= _LONGEST_OUTCOME
    words = stated.get("enum", [stated.get("const")])
    return all(isinstance(word, str) and len(word) <= _LONGEST_OUTCOME for word in words)


def _told(error: Any) -> str:
    return str(error.message) if len(error.message) < 300 else error.message[:300] + "…"


# -- together ----------------------------------------------------------------------------------------------------------


def faults_between(documents: Sequence[Document]) -> Iterator[Fault]:
    """What is wrong with definitions beside each other: two of one thing, or a company's in the product's place."""
    seen: dict[tuple[str, int], Document] = {}
    predicates: dict[str, Document] = {}
    builtin = {document.value["kind"] for document in documents if document.builtin and not is_override(document)}
    for document in documents:
        value = document.value
        if is_override(document):
            if value["override"] not in builtin:
                yield document.fault(("override",), f"the product has no kind {value['override']!r}")
            continue
        if not document.builtin:
            yield from _in_the_way(document, builtin)
        first = seen.setdefault((value["kind"], value.get("version", 1)), document)
        if first is not document:
            complaint = f"{value['kind']} version {value.get('version', 1)} is declared in {_place(first)} already"
            yield document.fault(("kind",), f"{complaint}: another schema is another version")
            continue
        for place, predicate_type in _predicates(value):
            taken = predicates.setdefault(predicate_type, document)
            if taken is not document:
                yield document.fault(place, f"{predicate_type} belongs to {taken.value['kind']} ({_place(taken)})")


def _in_the_way(document: Document, builtin: set[str]) -> Iterator[Fault]:
    name = document.value["kind"]
    word = name.partition(".")[0]
    families = {kind.partition(".")[0] for kind in builtin if "." in kind} - {OPEN}
    singles = tuple(kind for kind in builtin if "." not in kind)  # what follows such a word is taken as the same thing
    if name in builtin:
        yield document.fault(("kind",), f"{name} is the product's own: `override: {name}` changes its retention class")
    elif word in families or word.startswith(singles):
        yield document.fault(("kind",), f"{word}… is the product's own: name it {OPEN}.{name.rpartition('.')[2]}")
    elif name.endswith(".*"):
        yield document.fault(("kind",), f"only the product declares a family: {OPEN}.* is there for all")
    elif not document.value.get("posted_by"):
        yield document.fault(("posted_by",), "who may post it? posted_by: [pipeline, person], or one of them")


def _predicates(value: Mapping[str, Any]) -> Iterator[tuple[Place, str]]:
    yield ("kind",), own_predicate(value["kind"], value.get("version", 1))
    for place, source in enumerate(value.get("also", [])):
        yield ("also", place), source if isinstance(source, str) else source["predicate_type"]


def _place(document: Document) -> str:
    return f"{document.path.name}:{document.lines.get((), 1)}"


# -- made of them ------------------------------------------------------------------------------------------------------


def _pointers(value: Any) -> Pointers:
    return tuple(value) if isinstance(value, list) else (value,) if value else ()


def _reading(source: Mapping[str, Any], *, foreign: bool) -> Reading:
    return Reading(
        schema=source.get("schema", None if foreign else {"type": "object"}),
        outcome=_pointers(source.get("outcome")),
        outcomes=source.get("outcomes", {}),
        time=_pointers(source.get("time")),
        facts={name: _pointers(paths) for name, paths in source.get("facts", {}).items()},
        foreign=foreign,
    )


def make(value: Mapping[str, Any], *, builtin: bool = True) -> Kind:
    """The kind of a sound definition."""
    version, own = value.get("version", 1), _reading(value, foreign=False)
    also = value.get("also", [])
    # An older version that says no more of itself is read as this one, without its schema.
    known = {source: replace(own, schema=None) for source in also if isinstance(source, str)}
    known |= {source["predicate_type"]: _reading(source, foreign=True) for source in also if isinstance(source, dict)}
    return Kind(
        name=value["kind"],
        title=value["title"],
        description=value.get("description", ""),
        version=version,
        predicate_types=(own_predicate(value["kind"], version), *known),
        retention=value["retention"],
        posted_by=frozenset(value.get("posted_by", [])),
        own=own,
        well_known=known,
        needs_release=value.get("needs_release", False),
        needs_artifact=value.get("needs_artifact", False),
        retired=value.get("retired", False),
        builtin=builtin,
    )


def overridden(kind: Kind, override: Mapping[str, Any]) -> Kind:
    """A kind as a company changes it: another retention class, fewer who may post it, or nobody."""
    posters = kind.posted_by & frozenset(override.get("posted_by", kind.posted_by))
    return replace(
        kind,
        retention=override.get("retention", kind.retention),
        posted_by=posters or kind.posted_by,
        retired=kind.retired or (not posters and not kind.reserved),
    )


def fixed_part(value: Mapping[str, Any]) -> dict[str, Any]:
    """What a version fixes for ever: everything by which its records were checked and are read."""
    return {name: value[name] for name in ("schema", "outcome", "time", "facts", "also") if name in value}
