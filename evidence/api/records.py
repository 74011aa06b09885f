"""POST and GET records, and their proofs."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.pagination import CursorPagination
from config.errors import ForbiddenError, InvalidError, MissingError
from evidence import repeats, search
from evidence.api import actors, posting
from evidence.api.permissions import INSIDE, PipelineOrPeople, opens_to, token_has_scope
from evidence.events import BACKFILLED, LATER
from evidence.ledger import reader
from evidence.models import Note, Record
from evidence.models.records import RecordQuerySet
from evidence.people import Principal, display_names, visible_systems
from evidence.tlog import b64
from evidence.tlog.leaf import format_time
from evidence.tlog.tlog_proof import format_proof

_PAGING = ("cursor", "limit")


@csrf_exempt
def collection(request: HttpRequest) -> HttpResponse:
    """``/api/v1/records``: a plain view for POST (speed, docs/performance.md), the API's list for GET."""
    if request.method == "POST":
        return posting.post(request)
    response: HttpResponse = _LIST(request)
    if "Allow" in response.headers:
        response.headers["Allow"] = "GET, POST, HEAD, OPTIONS"
    return response


def row(record: Record, names: dict[str, str]) -> dict[str, Any]:
    """A record in a list."""
    late = record.at - record.occurred
    return {
        "index": record.index,
        "kind": record.kind,
        "at": format_time(record.at),
        "occurred": format_time(record.occurred),
        "timeliness": "backfilled" if late > BACKFILLED else "recorded_later" if late > LATER else "on_time",
        "recorded_later_seconds": int(late.total_seconds()),
        "principal": {"id": record.principal, "name": names.get(record.principal, record.principal)},
        "release": record.release,
        "subjects": record.subjects,
        "outcome": record.outcome,
        "facts": record.facts,
        "signed_by": record.signed_by,
        "withdrawn_by": record.withdrawn_by,
        "disposed_by": record.disposed_by,
    }


def visible_records(principal: Principal) -> RecordQuerySet:
    """Records that a principal may see."""
    return Record.objects.in_systems(visible_systems(principal))


class RecordList(APIView):
    """Search records."""

    permission_classes = [PipelineOrPeople]

    @extend_schema(
        operation_id="records_list",
        parameters=[
            OpenApiParameter(name, OpenApiTypes.STR, description=text)
            for name, text in {
                "kind": "Kind, as in deploy.manifest",
                "release": "Release id, as in netlify-trading:release-20260312",
                "subject": "Digest of a subject, as in sha256:<hex>",
                "principal": "Opaque id of who recorded it",
                "outcome": "Outcome that the record states",
                "from": "Occurred at or after (RFC 3339 with offset)",
                "to": "Occurred before (RFC 3339 with offset)",
                "cursor": "From `next` or `previous`",
                "limit": "Rows a page, at most 500",
            }.items()
        ],
        responses={200: OpenApiTypes.OBJECT},
    )
    def get(self, request: Request) -> Response:
        if not token_has_scope(request.auth, "records:read"):
            raise ForbiddenError("The token's scopes do not include records:read.", code="scope_missing")
        asked = search.question(
            {name: str(value) for name, value in request.query_params.items() if name not in _PAGING}
        )
        pages = CursorPagination()
        pages.ordering = asked.ordering
        with search.bounded(asked):
            page = pages.paginate_queryset(asked.among(visible_records(actors.principal_of(request))), request)
        names = display_names(record.principal for record in page)
        return pages.get_paginated_response([row(record, names) for record in page])


_LIST = RecordList.as_view()


def visible_record(request: Request, index: int) -> Record:
    """Raises MissingError ``record_unknown``."""
    record = visible_records(actors.principal_of(request)).filter(pk=index).first()
    if record is None:
        raise MissingError(f"There is no record {index}.", code="record_unknown")
    return record


class RecordDetail(APIView):
    """One record with everything that can be checked about it."""

    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="records_retrieve", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, index: int) -> Response:
        record = visible_record(request, index)
        stored = reader.of(record)
        found = row(record, display_names([record.principal])) | {"leaf": b64.encode(stored.leaf_bytes)}
        found |= {"repeats": repeats.of(index)}
        if stored.envelope is None or stored.context is None or stored.salt is None or stored.retain_until is None:
            return Response(found | {"disposed": True})
        recorded = stored.recorded
        return Response(
            found
            | {
                "disposed": False,
                "envelope": b64.encode(stored.envelope),
                "context": b64.encode(stored.context),
                "salt": b64.encode(stored.salt),
                "verification": recorded.context["verification"] | {"key": recorded.context["key"]},
                "predicate_type": recorded.statement.predicate_type,
                "body": recorded.body,
                "retention_class": stored.retention_class,
                "retain_until": format_time(stored.retain_until),
            }
        )


class RecordProof(APIView):
    """The inclusion proof of a record, also of one that was disposed of."""

    permission_classes = [opens_to(*INSIDE, "auditor", pipelines=True)]

    @extend_schema(
        operation_id="records_proof",
        parameters=[OpenApiParameter("size", OpenApiTypes.INT, description="Tree size of a signed checkpoint")],
        responses={(200, "text/plain"): OpenApiTypes.STR},
    )
    def get(self, request: Request, index: int) -> HttpResponse:
        visible_record(request, index)
        note = self._note(request.query_params.get("size"), index)
        hashes = reader.inclusion(index, note.size)
        if "application/json" in request.headers.get("Accept", ""):
            return Response(
                {
                    "index": index,
                    "size": note.size,
                    "hashes": [b64.encode(item) for item in hashes],
                    "checkpoint": note.text,
                }
            )
        return HttpResponse(format_proof(index, hashes, note.text), content_type="text/plain; charset=utf-8")

    def _note(self, size: str | None, index: int) -> Note:
        if size is None:
            return reader.latest_note() or reader.note_for(index)
        if not size.isdecimal() or len(size) > 18:
            raise InvalidError("size is a tree size.", code="invalid", where="size")
        note = Note.objects.filter(size=int(size)).first()
        if note is None or note.size <= index:
            raise MissingError(f"No signed checkpoint of size {size} covers record {index}.", code="checkpoint_unknown")
        return note
