"""Registers kept as spreadsheets over HTTP: send a file, see what becomes of each row, confirm, ratify."""

from typing import Any

from django.db import transaction
from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.strict import StrictBoolean, StrictSerializer
from config.errors import InvalidError
from evidence.api.actors import actor_of, idempotency_of, person_of
from evidence.api.permissions import INSIDE, opens_to
from evidence.api.receipts import answer
from evidence.workbooks import MEDIA_TYPE
from exceptions import ratification
from exceptions.api.uploads import upload
from exceptions.importing import fates, jobs, limits
from exceptions.models import Import
from exceptions.tasks import import_register

#: Files up to this size are answered at once, others by the worker.
AT_ONCE = 128 * 1024

IMPORT = inline_serializer(
    "Import",
    {
        "id": serializers.CharField(),
        "state": serializers.ChoiceField([name for name, _ in Import.STATES]),
        "dry_run": serializers.BooleanField(),
        "only_good": serializers.BooleanField(),
        "filename": serializers.CharField(),
        "sha256": serializers.CharField(),
        "created_at": serializers.DateTimeField(),
        "done": serializers.IntegerField(help_text="Rows prepared so far"),
        "total": serializers.IntegerField(help_text="Rows that enter the register"),
        "summary": serializers.DictField(help_text="Counts, flags, problems, how each sheet was understood, notes"),
        "mapping": serializers.DictField(help_text="`said` and `used`; `used` may be sent back, changed"),
        "error": serializers.DictField(allow_null=True),
        "index": serializers.IntegerField(allow_null=True, help_text="Of the record that shows all of it"),
    },
)
ROWS = inline_serializer(
    "ImportRows",
    {"results": serializers.ListField(child=serializers.DictField()), "count": serializers.IntegerField()},
)
RATIFIED = inline_serializer(
    "ListRatified",
    {
        "digest": serializers.CharField(),
        "exceptions": serializers.ListField(child=serializers.CharField()),
        "receipt": serializers.DictField(),
    },
)


def shown(found: Import) -> dict[str, Any]:
    plain = ("id", "state", "dry_run", "only_good", "filename", "sha256", "created_at", "done", "total", "summary")
    return {name: getattr(found, name) for name in plain} | {
        "mapping": found.mapping,
        "error": found.error,
        "index": found.record_index,
    }


def started(found: Import) -> Import:
    """A small file is worked on now, a large one by the worker; where that fails the sweep comes to it."""
    if len(bytes(found.content or b"")) <= AT_ONCE:
        jobs.run(found.pk)
    else:
        transaction.on_commit(lambda: import_register.delay(found.pk), robust=True)
    found.refresh_from_db()
    return found


def answered(found: Import) -> Response:
    return Response(shown(found), status=200 if found.is_settled else 202)


class ImportView(APIView):
    def get_permissions(self) -> list[Any]:
        return [opens_to(*jobs.ROLES)()]


FATES = ["claimed", "requested", "left_out", "bad"]


class Imports(ImportView):
    parser_classes = [MultiPartParser]

    @extend_schema_serializer(component_name="ImportIn")
    class In(StrictSerializer):
        file = serializers.FileField(help_text="CSV or XLSX, at most 16 MiB")
        mapping = serializers.CharField(
            required=False, allow_blank=True, help_text="JSON; left out: as last time, or guessed"
        )
        dry_run = StrictBoolean(default=False)
        only_good = StrictBoolean(default=False, help_text="Leave bad rows out instead of taking none")

    @extend_schema(
        operation_id="imports_create", request={"multipart/form-data": In}, responses={200: IMPORT, 202: IMPORT}
    )
    def post(self, request: Request) -> Response:
        """Import a register kept as a spreadsheet: all of it or nothing. A small file is answered at once (200); for a
        large one (202) `GET exceptions/import/{id}` shows how far it is. What a sheet calls approved waives nothing
        until it is ratified."""
        sent = upload(request, limits.MAX_BYTES)
        found = jobs.open_import(
            person=person_of(request),
            filename=sent.filename,
            data=sent.data,
            said=sent.said,
            dry_run=sent.flag("dry_run"),
            only_good=sent.flag("only_good"),
        )
        return answered(started(found))


class ImportDetail(ImportView):
    @extend_schema(operation_id="imports_retrieve", responses=IMPORT)
    def get(self, request: Request, import_id: str) -> Response:
        """How far an import is, and what came of it."""
        return Response(shown(jobs.find(import_id, person_of(request))))


class ImportConfirm(ImportView):
    @extend_schema_serializer(component_name="ImportConfirmIn")
    class In(StrictSerializer):
        only_good = StrictBoolean(default=False)

    @extend_schema(operation_id="imports_confirm", request=In, responses={200: IMPORT, 202: IMPORT})
    def post(self, request: Request, import_id: str) -> Response:
        """Import a file that a dry run looked at, without sending it again."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        person = person_of(request)
        found = jobs.find(import_id, person)
        jobs.confirm(found, person=person, only_good=asked.validated_data["only_good"])
        return answered(started(found))


class ImportRows(ImportView):
    @extend_schema(
        operation_id="imports_rows",
        parameters=[
            OpenApiParameter("fate", str, enum=FATES),
            OpenApiParameter("offset", int),
            OpenApiParameter("limit", int, description="At most 1000"),
        ],
        responses=ROWS,
    )
    def get(self, request: Request, import_id: str) -> Response:
        """What becomes of each row; bad ones with cell, value and reason."""
        found = jobs.find(import_id, person_of(request))
        rows, wanted = fates.rows_of(found.fates), request.query_params.get("fate")
        if wanted not in (None, *FATES):
            raise InvalidError(f"A fate is one of {', '.join(FATES)}.", code="filter_invalid", where="fate")
        kept = [row for row in rows if wanted in (None, row["fate"])]
        offset, limit = _number(request, "offset", 0, 10**6), _number(request, "limit", 100, 1000)
        return Response({"results": kept[offset : offset + limit], "count": len(kept)})


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 7 or int(text) > most:
        raise InvalidError(f"{name} is a number, 0 to {most}.", code="filter_invalid", where=name)
    return int(text)


class ImportBadRows(ImportView):
    @extend_schema(
        operation_id="imports_bad_rows",
        parameters=[OpenApiParameter("as", str, enum=["csv", "xlsx"])],
        responses={(200, "text/csv"): OpenApiTypes.STR, (200, MEDIA_TYPE): OpenApiTypes.BINARY},
    )
    def get(self, request: Request, import_id: str) -> HttpResponseBase:
        """The bad rows as a sheet to put right and import by itself; no cell runs in a spreadsheet."""
        return bad_rows(jobs.find(import_id, person_of(request)), request.query_params.get("as", "csv"))


def bad_rows(found: Import, wanted: str) -> HttpResponseBase:
    """As ``csv`` or ``xlsx``. Raises ``filter_invalid``."""
    if wanted not in {"csv", "xlsx"}:
        raise InvalidError("Bad rows come as csv or as xlsx.", code="filter_invalid", where="as")
    headers = {"Content-Disposition": f'attachment; filename="bad-rows-{found.pk}.{wanted}"'}
    if wanted == "xlsx":
        return HttpResponse(fates.bad_rows_xlsx(found.fates), content_type=MEDIA_TYPE, headers=headers)
    content = fates.bad_rows_csv(found.fates)
    return StreamingHttpResponse(content, content_type="text/csv; charset=utf-8", headers=headers)


class Ratifications(APIView):
    def get_permissions(self) -> list[Any]:
        return [opens_to(*INSIDE)()]

    @extend_schema_serializer(component_name="RatifyIn")
    class In(StrictSerializer):
        exceptions = serializers.ListField(
            child=serializers.CharField(max_length=16), min_length=1, max_length=ratification.MOST
        )
        reason = serializers.CharField(max_length=4000)

    @extend_schema(operation_id="exceptions_ratify", request=In, responses={201: RATIFIED})
    def post(self, request: Request) -> Response:
        """Ratify imported claims as one list: all of them or none, under the separation of any approval. One record
        signs the list's digest, each exception gets its approval."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        placed = ratification.ratify(
            actor=actor_of(request), idempotency=idempotency_of(request), **asked.validated_data
        )
        rows = placed.body["exceptions"]
        return answer(placed, digest=placed.body["digest"], exceptions=[row["exception"] for row in rows])
