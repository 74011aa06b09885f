"""A body that a kind's schema takes: what must be there, with values that say what they stand for."""

import json
import re
from collections.abc import Mapping
from typing import Any

from evidence.kinds.kind import Kind

#: Tried in this order against a pattern.
_TEXTS = (
    *("example", "v1", "2026-03-12", "release-20260312", "https://example.com/1", "0" * 40, "0" * 64),
    *("sha256:" + "0" * 64, "EXC-0001", "0"),
)
_FORMATS = {
    "date-time": "2026-03-12T15:04:05Z",
    "date": "2026-03-12",
    "uri": "https://example.com/1",
    "email": "alice@example.com",
}


def body(kind: Kind) -> dict[str, Any]:
    """Every required member, and the outcome where the kind has one."""
    found = _object(kind.schema)
    for path in kind.own.outcome[:1]:
        name = path.removeprefix("/")
        if name in kind.schema.get("properties", {}):
            found.setdefault(name, _value(kind.schema["properties"][name], name))
    return found


def command(kind: Kind, *, system: str = "your-system") -> str:
    """What posts it from a shell, by the command line."""
    place = f"--release {system}:your-release-tag" if kind.needs_release else f"--system {system}"
    file = " --file path/to/file" if kind.needs_artifact else ""
    text = json.dumps(body(kind), indent=2)
    return f"cat > body.json <<'JSON'\n{text}\nJSON\nprooftrail attest {kind.name} {place} --body body.json{file}\n"


def request(kind: Kind, *, system: str = "your-system") -> dict[str, Any]:
    """The same as `POST records` takes it."""
    place = {"release": f"{system}:your-release-tag"} if kind.needs_release else {"system": system}
    return {"kind": kind.name, **place, "body": body(kind)}


def _object(schema: Mapping[str, Any]) -> dict[str, Any]:
    chosen = [schema, *schema.get("anyOf", [])[:1], *schema.get("oneOf", [])[:1], *schema.get("allOf", [])]
    members = {name: value for part in chosen for name, value in part.get("properties", {}).items()}
    found = {name: _value(members.get(name, {}), name) for part in chosen for name in part.get("required", [])}
    others = schema.get("additionalProperties")
    if len(found) < schema.get("minProperties", 0):
        found["example"] = _value(others if isinstance(others, Mapping) else {}, "example")
    return found


def _value(schema: Mapping[str, Any], name: str) -> Any:
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    given = schema.get("type", "string" if "properties" not in schema else "object")
    kind = given[0] if isinstance(given, list) else given
    if kind == "object":
        return _object(schema)
    if kind == "array":
        return [_value(schema.get("items", {}), name)]
    if kind == "boolean":
        return True
    if kind in {"integer", "number"}:
        return schema.get("minimum", schema.get("maximum", 1))
    return _text(schema, name)


def _text(schema: Mapping[str, Any], name: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    texts = _TEXTS if "pattern" in schema else (name.replace("_", " "), *_TEXTS)
    longest, shortest = schema.get("maxLength", 1000), schema.get("minLength", 0)
    fitting = (t for t in texts if shortest <= len(t) <= longest and re.search(schema.get("pattern", ""), t))
    return next(fitting, "…")
