"""Whether a description of the API still keeps what a published one promised.

Additions pass: calls, optional parameters and members, answers' members, error codes. What a client written against
the published description could trip over does not: something removed, something newly required of a request, something
no longer promised in an answer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

Schema = dict[str, Any]
_LOWER, _UPPER = ("minimum", "minLength", "minItems"), ("maximum", "maxLength", "maxItems")


def broken(published: Schema, current: Schema) -> list[str]:
    """Every promise of `published` that `current` breaks, in words."""
    return list(_Comparison(published, current).all())


class _Comparison:
    def __init__(self, published: Schema, current: Schema) -> None:
        self._published, self._current = published, current

    def all(self) -> Iterator[str]:
        for path, methods in self._published["paths"].items():
            for method, before in methods.items():
                where = f"{method.upper()} {path}"
                after = self._current["paths"].get(path, {}).get(method)
                if after is None:
                    yield f"{where}: the call is gone"
                else:
                    yield from self._parameters(where, before, after)
                    yield from self._body(where, before, after)
                    yield from self._answers(where, before, after)

    def _parameters(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        old, new = ({(p["in"], p["name"]): p for p in one.get("parameters", [])} for one in (before, after))
        for key, parameter in old.items():
            at = f"{where}: {key[0]} parameter {key[1]}"
            if key not in new:
                yield f"{at} is gone"
            else:
                yield from self._accepts(at, parameter.get("schema", {}), new[key].get("schema", {}))
        for key, parameter in new.items():
            if parameter.get("required") and not old.get(key, {}).get("required"):
                yield f"{where}: {key[0]} parameter {key[1]} is required now"

    def _body(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        old, new = before.get("requestBody", {}), after.get("requestBody", {})
        if new.get("required") and not old.get("required"):
            yield f"{where}: a body is required now"
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{where}: a body as {media} is no longer taken"
            else:
                yield from self._accepts(f"{where}: body", content["schema"], new["content"][media]["schema"])

    def _answers(self, where: str, before: Schema, after: Schema) -> Iterator[str]:
        for status, answer in before["responses"].items():
            old = self._found(self._published, answer).get("content", {})
            new = self._found(self._current, after["responses"].get(status, {})).get("content", {})
            if status not in after["responses"]:
                yield f"{where}: the answer {status} is gone"
            for media in [media for media in old if status in after["responses"]]:
                if media not in new:
                    yield f"{where}: the answer {status} as {media} is gone"
                else:
                    yield from self._promises(f"{where}: answer {status}", old[media]["schema"], new[media]["schema"])

    # -- schemas -------------------------------------------------------------------------------------------------------

    def _accepts(self, where: str, before: Schema, after: Schema, depth: int = 0) -> Iterator[str]:
        """What was valid to send stays so."""
        before, after = self._merged(self._published, before), self._merged(self._current, after)
        if depth > 8:
            return
        yield from _narrowed(where, before, after)
        for name in sorted(set(after.get("required", [])) - set(before.get("required", []))):
            yield f"{where}.{name} is required now"
        for name, old in before.get("properties", {}).items():
            if name not in after.get("properties", {}):
                yield f"{where}.{name} is gone"
            else:
                yield from self._accepts(f"{where}.{name}", old, after["properties"][name], depth + 1)
        if "items" in before and "items" in after:
            yield from self._accepts(f"{where}[]", before["items"], after["items"], depth + 1)

    def _promises(self, where: str, before: Schema, after: Schema, depth: int = 0) -> Iterator[str]:
        """What was always answered stays so, in the same shape."""
        before, after = self._merged(self._published, before), self._merged(self._current, after)
        if depth > 8:
            return
        widened = _types(after) - _types(before)
        if _types(before) and (widened or not _types(after)):
            yield f"{where} may be {' or '.join(sorted(widened)) or 'anything'} now"
        for name in sorted(set(before.get("required", [])) - set(after.get("required", []))):
            yield f"{where}.{name} is no longer always there"
        for name, old in before.get("properties", {}).items():
            if name not in after.get("properties", {}):
                yield f"{where}.{name} is gone"
            else:
                yield from self._promises(f"{where}.{name}", old, after["properties"][name], depth + 1)
        if "items" in before and "items" in after:
            yield from self._promises(f"{where}[]", before["items"], after["items"], depth + 1)
        if where.endswith(".code"):
            for code in sorted(set(before.get("enum", [])) - set(after.get("enum", []))):
                yield f"{where}: the error code {code} is gone"

    @staticmethod
    def _found(document: Schema, part: Schema) -> Schema:
        while "$ref" in part:
            found: Any = document
            for name in part["$ref"].removeprefix("#/").split("/"):
                found = found[name]
            part = found
        return part

    def _merged(self, document: Schema, schema: Schema) -> Schema:
        """A schema with its reference followed and its `allOf` put together."""
        schema = self._found(document, schema)
        parts = [self._merged(document, part) for part in schema.get("allOf", [])]
        merged: Schema = {"required": [], "properties": {}}
        for part in [*parts, {name: value for name, value in schema.items() if name != "allOf"}]:
            for name, member in part.get("properties", {}).items():
                merged["properties"][name] = self._found(document, merged["properties"].get(name, {})) | member
            merged["required"] = [*merged["required"], *part.get("required", [])]
            merged |= {name: value for name, value in part.items() if name not in {"properties", "required"}}
        return merged


def _types(schema: Mapping[str, Any]) -> set[str]:
    given = schema.get("type", [])
    return {given} if isinstance(given, str) else set(given)


def _narrowed(where: str, before: Schema, after: Schema) -> Iterator[str]:
    if _types(after) and (lost := _types(before) - _types(after) or ({"anything"} if not _types(before) else set())):
        yield f"{where} may no longer be {' or '.join(sorted(lost))}"
    if "enum" in after and (
        lost := {str(v) for v in before.get("enum", ["anything else"])} - set(map(str, after["enum"]))
    ):
        yield f"{where} may no longer be {' or '.join(sorted(lost))}"
    if "pattern" in after and after["pattern"] != before.get("pattern"):
        yield f"{where} has another pattern: {after['pattern']}"
    for name in _LOWER:
        if name in after and after[name] > before.get(name, float("-inf")):
            yield f"{where}: {name} is {after[name]} now"
    for name in _UPPER:
        if name in after and after[name] < before.get(name, float("inf")):
            yield f"{where}: {name} is {after[name]} now"
    if after.get("additionalProperties") is False and before.get("additionalProperties") is not False:
        yield f"{where} takes no other members now"
