"""What the API's description says beyond what views show: errors by code, pages, idempotency, examples.

Each app describes its calls in ``api/operations.yaml``; here that is checked and laid over what drf-spectacular finds.
An entry, by operation id:

- ``problems``: the call's own error codes by status; those that any such call may answer are added here.
- ``writes: true``: it appends a record, takes an Idempotency-Key, and a replay answers 200 with the same body.
- ``appends: true``: it appends a record, without such a key.
- ``page: Schema``: it answers a cursor page of these.
- ``answers: {200: Schema}``: the answer's shape, where the view does not say it.
- ``rehearsed: Schema``: what 200 answers to ``dry_run=1``, beside what it is otherwise.
- ``parameters``: query parameters that the view does not say; ``request``, ``response``: examples.

``components`` are schemas. `tests/evidence/api/test_openapi.py` holds all of it against real answers.
"""

import functools
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import yaml
from django.apps import apps

from config.api.problem import MEDIA_TYPE, TYPE_PREFIX

Operation = dict[str, Any]
_REF = "#/components/schemas/"
#: What any call may answer.
_ALWAYS = {
    400: ["bad_request"],
    401: ["not_authenticated", "token_invalid"],
    403: ["forbidden"],
    404: ["not_found"],
    406: ["not_acceptable"],
    422: ["invalid"],
    429: ["rate_limited"],
    500: ["internal_error"],
    503: ["database_unavailable"],
}
_WITH_BODY = {
    400: ["json_duplicate_key", "json_malformed"],
    413: ["body_too_large"],
    415: ["media_type_unsupported"],
    422: ["body_invalid"],
}
_PAGED = {422: ["cursor_invalid", "limit_invalid"]}
#: What a call that writes and cannot be rehearsed says to ``dry_run=1``.
_UNREHEARSED = {422: ["dry_run_unsupported"]}
_APPENDS = {
    403: ["credential_revoked"],
    503: [
        "clock_skew",
        "database_full",
        "ledger_behind",
        "ledger_behind_anchor",
        "ledger_busy",
        "ledger_forked",
        "ledger_inconsistent",
        "ledger_unavailable",
        "signing_key_missing",
    ],
}
_WRITES = {
    410: ["record_disposed"],
    422: ["idempotency_key_invalid", "idempotency_key_reused"],
}
_PAGE_PARAMETERS = [
    {
        "in": "query",
        "name": "cursor",
        "description": "From `next` or `previous` of a page; opaque",
        "schema": {"type": "string", "minLength": 1, "maxLength": 1000},
    },
    {
        "in": "query",
        "name": "limit",
        "description": "Rows a page",
        "schema": {"type": "integer", "minimum": 1, "maximum": 500, "default": 50},
    },
]
_IDEMPOTENCY = {
    "in": "header",
    "name": "Idempotency-Key",
    "description": "1 to 255 visible ASCII characters, yours alone: a retry gets the first answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "example": "deploy-4711-attempt-1",
}
_REPLAYED = {
    "Idempotency-Replayed": {
        "description": "`true`: this was recorded before, and nothing was written now",
        "schema": {"type": "string", "enum": ["true"]},
    }
}
PROBLEM = {
    "type": "object",
    "description": "RFC 9457. Branch on `code`, which is part of the API's contract; `detail` is for people.",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string", "description": "What is wrong, and what to do about it"},
        "where": {"type": "string", "description": "The member of the input that is meant, as $.body.suite"},
        "errors": {
            "type": "array",
            "description": "Every member that is wrong, where several may be",
            "items": {
                "type": "object",
                "required": ["where", "code", "detail"],
                "properties": {name: {"type": "string"} for name in ("where", "code", "detail")},
            },
        },
    },
}


class DescriptionError(Exception):
    """An ``operations.yaml`` says what cannot be: which file, which entry."""


@functools.cache
def described() -> dict[str, Any]:
    """``{components, operations}`` of every app."""
    found: dict[str, Any] = {"components": {}, "operations": {}}
    for config in apps.get_app_configs():
        path = Path(config.path) / "api" / "operations.yaml"
        if path.is_file():
            for part, entries in yaml.safe_load(path.read_text()).items():
                found[part] |= entries
    return found


def complete(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """drf-spectacular's hook: lay the descriptions over the generated schema."""
    schemas = result["components"].setdefault("schemas", {})
    schemas |= described()["components"] | {"Problem": PROBLEM}
    responses = result["components"].setdefault("responses", {})
    for method, operation in _calls(result):
        entry = described()["operations"].get(operation["operationId"], {})
        _complete(operation, entry, schemas, responses)
        _refuse(method, operation, entry, responses)
    for schema in schemas.values():
        if "receipt" in schema.get("properties", {}):
            schema["properties"]["receipt"] = {"$ref": f"{_REF}Receipt"}
    return result


def operations(schema: Mapping[str, Any]) -> Iterator[Operation]:
    yield from (operation for _, operation in _calls(schema))


def _calls(schema: Mapping[str, Any]) -> Iterator[tuple[str, Operation]]:
    for methods in schema["paths"].values():
        yield from (call for call in methods.items() if call[0] in {"get", "post", "put", "delete"})


def _complete(
    operation: Operation, entry: Mapping[str, Any], schemas: dict[str, Any], responses: dict[str, Any]
) -> None:
    named = {parameter["name"] for parameter in operation.get("parameters", [])}
    extra = [
        *entry.get("parameters", []),
        *(_PAGE_PARAMETERS if "page" in entry else []),
        *([_IDEMPOTENCY] if entry.get("writes") else []),
    ]
    if parameters := [*operation.get("parameters", []), *(one for one in extra if one["name"] not in named)]:
        operation["parameters"] = parameters
    for status, name in entry.get("answers", {}).items():
        operation["responses"][str(status)] = _answer(operation, str(status), {"$ref": _REF + name})
    if "page" in entry:
        name = f"{entry['page']}Page"
        schemas[name] = _page(entry["page"])
        operation["responses"]["200"] = _answer(operation, "200", {"$ref": _REF + name})
    if entry.get("writes"):
        _replay(operation)
    if "rehearsed" in entry:
        _rehearse(operation, entry["rehearsed"])
    _examples(operation, entry)


def _refuse(method: str, operation: Operation, entry: Mapping[str, Any], responses: dict[str, Any]) -> None:
    for status, (name, codes) in _problems(method, operation, entry).items():
        answer = _problem(status, sorted(codes))
        if name is not None:
            responses[name], answer = answer, {"$ref": f"#/components/responses/{name}"}
        operation["responses"][str(status)] = answer
    operation["responses"] = dict(sorted(operation["responses"].items()))


def _answer(operation: Operation, status: str, schema: dict[str, Any]) -> dict[str, Any]:
    before = operation["responses"].get(status, {})
    answer: dict[str, Any] = before | {
        "description": before.get("description") or HTTPStatus(int(status)).phrase,
        "content": {"application/json": {"schema": schema}},
    }
    return answer


def _page(item: str) -> dict[str, Any]:
    link = {"type": ["string", "null"], "format": "uri"}
    return {
        "type": "object",
        "required": ["results", "next", "previous"],
        "properties": {
            "results": {"type": "array", "items": {"$ref": _REF + item}},
            "next": link | {"description": "The page after this one; null on the last"},
            "previous": link | {"description": "The page before this one; null on the first"},
        },
    }


def _replay(operation: Operation) -> None:
    first = next(answer for status, answer in operation["responses"].items() if status in {"200", "201", "202"})
    again = {"description": "The answer of the first time: this was recorded before", "headers": _REPLAYED}
    operation["responses"]["200"] = {**first, **again}


def _rehearse(operation: Operation, name: str) -> None:
    again = operation["responses"]["200"]
    shapes = [again["content"]["application/json"]["schema"], {"$ref": _REF + name}]
    content = {"application/json": {"schema": {"type": "object", "anyOf": shapes}}}
    text = f"{again['description']}; or what a rehearsal (`dry_run=1`) found"
    operation["responses"]["200"] = {**again, "description": text, "content": content}


def _examples(operation: Operation, entry: Mapping[str, Any]) -> None:
    """One example of what is sent, and of each successful answer."""
    if "request" in entry:
        content = operation["requestBody"]["content"]
        next(iter(content.values()))["example"] = entry["request"]
    if "response" in entry:
        for status, answer in operation["responses"].items():
            if status.startswith("2") and answer.get("content"):
                next(iter(answer["content"].values())).setdefault("example", entry["response"])


def _problems(method: str, operation: Operation, entry: Mapping[str, Any]) -> dict[int, tuple[str | None, set[str]]]:
    """Codes by status. What follows from the nature of a call alone has a name, and is described once."""
    own: Mapping[int, list[str]] = entry.get("problems", {})
    parts = {"": _ALWAYS}
    parts |= {"Body": _WITH_BODY} if "requestBody" in operation else {}
    parts |= {"Page": _PAGED} if "page" in entry else {}
    parts |= {"Append": _APPENDS} if entry.get("writes") or entry.get("appends") else {}
    parts |= {"Write": _WRITES} if entry.get("writes") else {}
    parts |= {"Unrehearsed": _UNREHEARSED} if method != "get" and not _can_be_rehearsed(operation) else {}
    found: dict[int, tuple[str | None, set[str]]] = {}
    for status in sorted({status for codes in (*parts.values(), own) for status in codes}):
        if not isinstance(status, int) or not 400 <= status <= 599:
            raise DescriptionError(f"{operation['operationId']}: {status!r} is no status of a problem")
        name = f"Problem{status}" + "".join(part for part, codes in parts.items() if status in codes)
        codes = {code for part in (*parts.values(), own) for code in part.get(status, [])}
        found[status] = (None if status in own else name, codes)
    return found


def _can_be_rehearsed(operation: Operation) -> bool:
    return any(parameter["name"] == "dry_run" for parameter in operation.get("parameters", []))


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
    example = {"type": TYPE_PREFIX + codes[0], "title": phrase, "status": status, "code": codes[0]}
    content = {
        "schema": {"allOf": [{"$ref": f"{_REF}Problem"}, narrowed]},
        "example": example | {"detail": "What is wrong, and what to do about it."},
    }
    answer: dict[str, Any] = {"description": phrase, "content": {MEDIA_TYPE: content}}
    if status in {429, 503}:
        retry = {"description": "Seconds to wait", "schema": {"type": "integer", "minimum": 0}}
        answer["headers"] = {"Retry-After": retry}
    if status == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer
