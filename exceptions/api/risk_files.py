"""The risk register as a file over HTTP: out for other tools, and in again."""

from typing import Any

from django.http import HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.strict import StrictBoolean, StrictSerializer
from config.errors import InvalidError
from evidence.api.actors import person_of
from evidence.api.permissions import opens_to
from evidence.people import Principal
from evidence.workbooks import MEDIA_TYPE
from exceptions.api import schemas
from exceptions.api.exceptions import ReadersAndPeople, principal_of
from exceptions.api.risks import FILTERS, filtered, seen_by
from exceptions.api.uploads import upload
from exceptions.exchange import bringing, reading, writing
from exceptions.models import RiskImport
from exceptions.models.risks import RiskQuerySet


class _OwnFormats(DefaultContentNegotiation):
    """`format` names a file's format here, not a renderer: problems are JSON all the same."""

    def select_renderer(self, request: Request, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


class RiskExport(ReadersAndPeople):
    content_negotiation_class = _OwnFormats

    @extend_schema(
        operation_id="risks_export",
        parameters=[
            OpenApiParameter("format", str, enum=list(writing.FORMATS), description="csv unless said otherwise"),
            *FILTERS,
        ],
        responses={
            (200, "text/csv"): OpenApiTypes.STR,
            (200, "application/json"): schemas.RiskFileOut,
            (200, MEDIA_TYPE): OpenApiTypes.BINARY,
        },
    )
    def get(self, request: Request) -> HttpResponse:
        """The register as a file. What it says can be imported again, here and elsewhere."""
        name = request.query_params.get("format", "csv")
        return exported(filtered(seen_by(request), request.query_params), principal_of(request), name)


def exported(found: RiskQuerySet, principal: Principal, name: str) -> HttpResponse:
    """A download. Raises InvalidError ``filter_invalid``."""
    if name not in writing.FORMATS:
        raise InvalidError(f"A format is one of {', '.join(writing.FORMATS)}.", code="filter_invalid", where="format")
    now = timezone.now()
    return HttpResponse(
        writing.export(found, principal, name, now),
        content_type=writing.FORMATS[name].content_type,
        headers={
            "Content-Disposition": f'attachment; filename="{writing.filename(name, now)}"',
            "X-Content-Type-Options": "nosniff",
        },
    )


def shown(found: RiskImport) -> dict[str, Any]:
    plain = ("id", "state", "filename", "sha256", "created_at")
    told: dict[str, Any] = {name: getattr(found, name) for name in plain} | found.outcome
    return told | {"index": found.record_index}


class RiskImportView(APIView):
    def get_permissions(self) -> list[Any]:
        return [opens_to(*bringing.ROLES)()]


class RiskImports(RiskImportView):
    parser_classes = [MultiPartParser]

    @extend_schema_serializer(component_name="RiskImportIn")
    class In(StrictSerializer):
        file = serializers.FileField(help_text="CSV, XLSX or JSON, at most 8 MiB and 5000 risks")
        mapping = serializers.CharField(
            required=False, allow_blank=True, help_text="JSON: columns, values, defaults, sheets, dates"
        )
        dry_run = StrictBoolean(default=False)

    @extend_schema(
        operation_id="risks_import", request={"multipart/form-data": In}, responses={200: schemas.RiskImportOut}
    )
    def post(self, request: Request) -> Response:
        """Bring a register in, all of it or nothing: new risks are added, cells that differ change the risk of the same
        number or reference, and a file that says what the register says records nothing."""
        sent, person = upload(request, reading.MAX_BYTES), person_of(request)
        dry_run = sent.flag("dry_run")
        found = bringing.open_import(person=person, filename=sent.filename, data=sent.data, said=sent.said)
        if not dry_run and found.state == RiskImport.CHECKED:
            bringing.record(found, person=person)
        return Response(shown(found))


class RiskImportDetail(RiskImportView):
    @extend_schema(operation_id="risks_import_retrieve", responses=schemas.RiskImportOut)
    def get(self, request: Request, import_id: str) -> Response:
        """What became of a file."""
        return Response(shown(bringing.find(import_id, person_of(request))))


class RiskImportConfirm(RiskImportView):
    @extend_schema(operation_id="risks_import_confirm", request=None, responses={200: schemas.RiskImportOut})
    def post(self, request: Request, import_id: str) -> Response:
        """Record what a dry run showed, without sending the file again."""
        person = person_of(request)
        found = bringing.find(import_id, person)
        bringing.record(found, person=person)
        return Response(shown(found))
