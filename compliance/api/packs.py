"""Evidence packs over HTTP: ask, look, download."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from compliance.models import Pack
from compliance.packs import requests
from compliance.packs.requests import parse_boundary
from compliance.packs.tasks import build_pack
from config.api.pagination import CursorPagination
from config.api.strict import StrictSerializer
from config.errors import MissingError
from evidence.api.actors import actor_of, idempotency_of, principal_of
from evidence.api.permissions import opens_to
from evidence.api.receipts import answer, written
from evidence.models import System
from evidence.people import visible_systems

PackOut = inline_serializer(
    "Pack",
    {
        "id": serializers.CharField(),
        "state": serializers.ChoiceField(["requested", "building", "ready", "failed"]),
        "progress": serializers.IntegerField(help_text="Per cent"),
        "stage": serializers.CharField(),
        "from": serializers.DateTimeField(),
        "to": serializers.DateTimeField(help_text="Not included"),
        "systems": serializers.ListField(child=serializers.CharField()),
        "requested_at": serializers.DateTimeField(),
        "checkpoint_size": serializers.IntegerField(allow_null=True),
        "s3_key": serializers.CharField(allow_null=True),
        "version_id": serializers.CharField(allow_null=True),
        "sha256": serializers.CharField(allow_null=True),
        "size": serializers.IntegerField(allow_null=True),
        "locked_until": serializers.DateTimeField(allow_null=True),
        "error": serializers.CharField(allow_null=True),
    },
)
PackWritten = written("PackWritten", pack=PackOut)


def shown(packs: list[Pack]) -> list[dict[str, Any]]:
    """Packs as JSON; one query for the names of their systems."""
    ids = {system for pack in packs for system in pack.systems}
    names = dict(System.objects.filter(id__in=ids).values_list("id", "name"))
    return [pack.as_json(now=timezone.now(), names=names) for pack in packs]


def find(request: Request, pack_id: str) -> Pack:
    """A pack that the principal may see. Raises MissingError ``pack_unknown``."""
    found = (
        Pack.objects.in_systems(visible_systems(principal_of(request)))
        .select_related("build")
        .filter(pk=pack_id)
        .first()
    )
    if found is None:
        raise MissingError(f"There is no pack {pack_id!r}.", code="pack_unknown")
    return found


class PackList(APIView):
    permission_classes = [opens_to(*requests.ROLES)]

    @extend_schema_serializer(component_name="PackIn")
    class In(StrictSerializer):
        systems = serializers.ListField(child=serializers.CharField(max_length=60), default=list, max_length=1000)

        def get_fields(self) -> dict[str, Any]:
            """``from`` is a word of Python, so it cannot be an attribute."""
            names = {"from": "A time with offset, or a date", "to": "Not included; a date is, to its end"}
            texts = {name: serializers.CharField(max_length=40, help_text=text) for name, text in names.items()}
            return {**texts, **super().get_fields()}

    @extend_schema(operation_id="packs_list", responses=PackOut)
    def get(self, request: Request) -> Response:
        """Packs, newest first."""
        found = Pack.objects.in_systems(visible_systems(principal_of(request))).select_related("build")
        pages = CursorPagination()
        pages.ordering = "-requested_index"
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response(shown(page))

    @extend_schema(operation_id="packs_request", request=In, responses={202: PackWritten})
    def post(self, request: Request) -> Response:
        """Ask for the evidence of a period. The worker builds it; `GET` shows how far it is."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        placed = requests.request_pack(
            actor=actor_of(request),
            person=principal_of(request),
            start=parse_boundary(given["from"], "$.from"),
            end=parse_boundary(given["to"], "$.to", last=True),
            systems=given["systems"],
            idempotency=idempotency_of(request),
        )
        pack_id = placed.body["pack"]
        transaction.on_commit(lambda: build_pack.delay(pack_id), robust=True)
        return answer(placed, status=200 if placed.replayed else 202, pack=shown([find(request, pack_id)])[0])


class PackDetail(APIView):
    permission_classes = [opens_to(*requests.ROLES)]

    @extend_schema(operation_id="packs_retrieve", responses=PackOut)
    def get(self, request: Request, pack_id: str) -> Response:
        """One pack; `state` is requested, building, ready or failed."""
        return Response(shown([find(request, pack_id)])[0])


class PackRetry(APIView):
    permission_classes = [opens_to(*requests.ROLES)]

    @extend_schema(operation_id="packs_retry", request=None, responses={202: PackWritten})
    def post(self, request: Request, pack_id: str) -> Response:
        """Have a pack that failed built again."""
        placed = requests.retry_pack(
            find(request, pack_id), actor=actor_of(request), idempotency=idempotency_of(request)
        )
        transaction.on_commit(lambda: build_pack.delay(pack_id), robust=True)
        return answer(placed, status=200 if placed.replayed else 202, pack=shown([find(request, pack_id)])[0])


class PackDownload(APIView):
    permission_classes = [opens_to(*requests.ROLES)]

    @extend_schema(
        operation_id="packs_download",
        request=None,
        responses=inline_serializer(
            "PackLink",
            {
                "url": serializers.CharField(),
                "expires_at": serializers.DateTimeField(),
                "sha256": serializers.CharField(),
                "size": serializers.IntegerField(),
            },
        ),
    )
    def post(self, request: Request, pack_id: str) -> Response:
        """A link to the pack that works for five minutes. Who asked for it is recorded first."""
        pack = find(request, pack_id)
        link = requests.download(pack, actor=actor_of(request), person=principal_of(request))
        return Response({"url": link.url, "expires_at": link.expires_at, "sha256": pack.sha256, "size": pack.size})
