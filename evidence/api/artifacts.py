"""Artifacts: announce, upload by presigned PUT, confirm."""

from typing import Any

from django.conf import settings
from django.db import transaction
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.fields import Text
from config.api.strict import StrictSerializer
from config.errors import InvalidError
from evidence import artifacts, uploads
from evidence.api.actors import principal_of
from evidence.api.dryrun import MEANINGS, dry_run
from evidence.api.permissions import PipelineOrPeople, Writes
from evidence.models import Artifact, System
from evidence.people import find_system, visible_systems
from evidence.tasks import check_artifact


class ArtifactOut(serializers.Serializer[Artifact]):
    sha256 = serializers.CharField()
    size = serializers.IntegerField()
    name = serializers.CharField()
    media_type = serializers.CharField()
    system = serializers.CharField(source="system.name")
    state = serializers.CharField()
    refusal = serializers.CharField()
    retain_until = serializers.DateTimeField()
    locked_until = serializers.DateTimeField(allow_null=True)
    kind = serializers.CharField(help_text="Kind of the record that will name it")
    checked = serializers.IntegerField(help_text="Bytes that were read, while its state is `checking`")
    waived_by = serializers.CharField(help_text="Exceptions under which secrets in it were let through")
    version_id = serializers.CharField()
    key = serializers.CharField()


def _system(request: Request, name: str | None) -> System:
    allowed = visible_systems(principal_of(request))
    if name is None:
        if allowed is not None and len(allowed) == 1:
            return System.objects.get(pk=allowed[0])
        raise InvalidError("Name the system.", code="system_required", where="$.system")
    system = find_system(name)
    if allowed is not None and system.pk not in allowed:
        return find_system("")  # the same answer as for one that does not exist
    return system


class ArtifactList(APIView):
    permission_classes = [PipelineOrPeople, Writes]

    @extend_schema_serializer(component_name="ArtifactIn")
    class Input(StrictSerializer):
        sha256 = serializers.RegexField(r"^[0-9a-f]{64}$")
        size = serializers.IntegerField(min_value=0)
        name = Text(r"^[^\x00-\x1f]{1,255}$")
        system = serializers.CharField(required=False)
        media_type = serializers.RegexField(
            r"^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$", default="application/octet-stream"
        )
        kind = serializers.CharField(default="deploy.manifest", help_text="Kind of the record that will name it")
        part_sha256 = serializers.ListField(
            child=serializers.RegexField(r"^[0-9a-f]{64}$"),
            default=list,
            max_length=10_000,
            help_text="Over 64 MiB: SHA-256 of each 32 MiB of the file, to upload it in parts and resume",
        )

    @extend_schema(
        operation_id="artifacts_announce",
        parameters=[OpenApiParameter("dry_run", OpenApiTypes.STR, enum=list(MEANINGS), description="1: only check it")],
        request=Input,
        responses={
            201: inline_serializer(
                "ArtifactAnnounced", {"artifact": ArtifactOut(), "upload": serializers.DictField(allow_null=True)}
            )
        },
    )
    def post(self, request: Request) -> Response:
        """Announce a file; PUT its bytes to `upload.url` with exactly `upload.headers`, then confirm.

        `upload` is null where this system holds the confirmed file already. In parts (`part_sha256`), PUT each of
        `upload.parts`, its `size` bytes from `offset` on, and announce again with the same digests until none is left:
        that is also how an interrupted upload goes on. With `?dry_run=1` it is only checked.
        """
        data = self.Input(data=request.data)
        data.is_valid(raise_exception=True)
        values = data.validated_data
        if dry_run(request._request):
            return self._rehearse(request, values)
        artifact = uploads.announce(
            principal=principal_of(request),
            system=_system(request, values.get("system")),
            sha256=values["sha256"],
            size=values["size"],
            name=values["name"],
            media_type=values["media_type"],
            kind=artifacts.kind_for_upload(values["kind"]),
            limit=settings.MAX_ARTIFACT_BYTES,
            part_sha256=values["part_sha256"],
        )
        return Response({"artifact": ArtifactOut(artifact).data, "upload": uploads.offer(artifact)}, status=201)

    def _rehearse(self, request: Request, values: dict[str, Any]) -> Response:
        """Whether the file would be taken, and whether it is there already."""
        system, kind = _system(request, values.get("system")), artifacts.kind_for_upload(values["kind"])
        limit = settings.MAX_ARTIFACT_BYTES
        uploads.check_announcement(size=values["size"], limit=limit, part_sha256=values["part_sha256"])
        known = Artifact.objects.filter(system=system, sha256=values["sha256"], state=Artifact.CONFIRMED).exists()
        return Response({"dry_run": True, "kind": kind.name, "system": system.name, "confirmed": known})


class ArtifactDetail(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="artifacts_retrieve", responses=ArtifactOut)
    def get(self, request: Request, sha256: str) -> Response:
        """One artifact and its state; `system` as query parameter where you see several."""
        artifact = artifacts.find(_system(request, request.query_params.get("system")), sha256)
        return Response({"artifact": ArtifactOut(artifact).data})


class ArtifactConfirm(APIView):
    permission_classes = [PipelineOrPeople, Writes]

    @extend_schema_serializer(component_name="ArtifactConfirmIn")
    class Input(StrictSerializer):
        system = serializers.CharField(required=False)

    @extend_schema(
        operation_id="artifacts_confirm",
        request=Input,
        responses={200: ArtifactOut, 202: ArtifactOut},
    )
    def post(self, request: Request, sha256: str) -> Response:
        """Check the uploaded bytes and put them under lock: 200, or 202 while the worker reads a large file."""
        data = self.Input(data=request.data or {})
        data.is_valid(raise_exception=True)
        name = data.validated_data.get("system")
        artifact = artifacts.begin_check(artifacts.find(_system(request, name), sha256))
        if artifact.state == Artifact.CHECKING:
            transaction.on_commit(lambda: check_artifact.delay(artifact.pk), robust=True)
        status = 200 if artifact.state == Artifact.CONFIRMED else 202
        return Response({"artifact": ArtifactOut(artifact).data}, status=status)
