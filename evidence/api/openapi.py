"""What drf-spectacular cannot see by itself: how callers authenticate, and the plain views of `records`."""

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from evidence.api.dryrun import MEANINGS

_PREFIX = "/api/v1/"
_BESIDE_ENVELOPES = [
    {"in": "query", "name": name, "description": text, "schema": {"type": "string"}}
    for name, text in (
        ("release", "With an envelope: the release it belongs to"),
        ("system", "With an envelope of a kind without a release"),
        ("occurred_at", "With an envelope: when it happened, RFC 3339 with offset"),
    )
]
_DRY_RUN = {
    "in": "query",
    "name": "dry_run",
    "description": "1: check everything, write nothing, and answer what would be recorded",
    "schema": {"type": "string", "enum": list(MEANINGS)},
}


class TokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # registers itself, untyped there
    target_class = "evidence.api.authentication.TokenAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A pipeline's or a person's token"}


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # as above
    target_class = "evidence.api.authentication.SessionAuthentication"
    name = "session"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "apiKey", "in": "cookie", "name": "sessionid", "description": "Signed in; writes need CSRF"}


def add_record_list(endpoints: list[Any]) -> list[Any]:
    """`records` is a plain Django view for speed; its list is DRF's."""
    from evidence.api.records import RecordList

    return [*endpoints, (_PREFIX + "records", "^api/v1/records$", "GET", RecordList.as_view())]


def add_plain_views(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:
    """Both ways to write records are plain Django views."""
    result["paths"].setdefault(_PREFIX + "records", {})["post"] = _post_records()
    result["paths"][_PREFIX + "records/batch"] = {"post": _post_batch()}
    return result


def _post_records() -> dict[str, Any]:
    receipt = {"application/json": {"schema": {"$ref": "#/components/schemas/Receipt"}}}
    return {
        "operationId": "records_create",
        "tags": ["records"],
        "description": "Record evidence: plain JSON that the service signs, or a DSSE envelope that you signed. "
        "The answer is the receipt: the record is durable, included and covered by a signed checkpoint.",
        "parameters": [*_BESIDE_ENVELOPES, _DRY_RUN],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": "#/components/schemas/RecordIn"}},
                "application/vnd.dsse.envelope.v1+json": {"schema": {"$ref": "#/components/schemas/Envelope"}},
            },
        },
        "security": [{"bearer": []}],
        "responses": {
            "201": {"description": "The receipt", "content": receipt},
        },
    }


def _post_batch() -> dict[str, Any]:
    lines = {"application/x-ndjson": {"schema": {"type": "string"}}}
    return {
        "operationId": "records_batch_create",
        "tags": ["records"],
        "description": "Record evidence in bulk: NDJSON, a line for each record, either as in `POST records` or a DSSE "
        "envelope with `release`, `system` and `occurred_at` beside `payload` (or in the query, for all). A record may "
        "have its own `idempotency_key`; an envelope is its own. The answer has a line for each line, in order: "
        "`{line, status, receipt}` or `{line, status, problem}`; a bad line fails alone.",
        "parameters": _BESIDE_ENVELOPES,
        "requestBody": {"required": True, "content": lines},
        "security": [{"bearer": []}],
        "responses": {"200": {"description": "A line of answer for each line", "content": lines}},
    }
