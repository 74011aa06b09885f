"""Releases: open, list, look, timeline, approve."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_serializer, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.pagination import CursorPagination
from config.api.strict import StrictSerializer
from config.errors import InvalidError
from evidence import placing, records
from evidence.api.actors import actor_of, idempotency_of, person_of, principal_of
from evidence.api.permissions import INSIDE, PipelineOrPeople, opens_to
from evidence.api.readiness import PlanOut
from evidence.api.receipts import answer, written
from evidence.api.records import row
from evidence.models import Approval, Record, Release
from evidence.people import display_names, visible_systems
from evidence.readiness import readiness
from evidence.releases import approve, current_approvals, given_afterwards
from evidence.tlog.leaf import format_time

_STATES = ("open", "closed", "cancelled")


class ApprovalOut(serializers.Serializer[Approval]):
    index = serializers.IntegerField()
    role = serializers.CharField()
    decision = serializers.CharField()
    person = serializers.CharField()
    comment = serializers.CharField()
    manifest_digest = serializers.CharField()
    stale = serializers.BooleanField(source="is_stale")
    retrospective = serializers.BooleanField(
        default=False, help_text="Owed by an emergency deploy of this manifest, and given after it"
    )
    at = serializers.DateTimeField()


class ReleaseOut(serializers.Serializer[Release]):
    id = serializers.CharField()
    system = serializers.CharField(source="system.name")
    tag = serializers.CharField()
    type = serializers.CharField()
    state = serializers.CharField()
    ticket_id = serializers.CharField()
    ticket_url = serializers.CharField()
    dashboards = serializers.JSONField()
    captain = serializers.CharField()
    commander = serializers.CharField()
    surfaces = serializers.ListField(child=serializers.CharField())
    window = serializers.SerializerMethodField()
    opened_by = serializers.IntegerField()
    opened_at = serializers.DateTimeField()
    ended_by = serializers.IntegerField(allow_null=True)
    manifest_index = serializers.IntegerField(allow_null=True)
    manifest_digest = serializers.CharField(allow_null=True)

    def get_window(self, release: Release) -> dict[str, str] | None:
        if release.window_from is None or release.window_to is None:
            return None
        return {"from": format_time(release.window_from), "to": format_time(release.window_to)}


def _visible(request: Request, release_id: str) -> Release:
    return placing.find_release(release_id, visible_systems(principal_of(request)))


class ReleaseList(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_list", responses=ReleaseOut(many=True))
    def get(self, request: Request) -> Response:
        """Releases, newest first; filters `system`, `state`, `tag`."""
        state = request.query_params.get("state")
        if state is not None and state not in _STATES:
            raise InvalidError(
                f"There is no state {state!r}: {', '.join(_STATES)}.", code="filter_invalid", where="state"
            )
        found = Release.objects.in_systems(visible_systems(principal_of(request))).select_related("system")
        for name, lookup in {"system": "system__name", "state": "state", "tag": "tag"}.items():
            if (value := request.query_params.get(name)) is not None:
                found = found.filter(**{lookup: value})
        pages = CursorPagination()
        pages.ordering = "-opened_by"
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response([ReleaseOut(release).data for release in page])

    @extend_schema(
        operation_id="releases_open",
        request=inline_serializer(
            "OpenRelease",
            {
                "system": serializers.CharField(),
                "tag": serializers.CharField(),
                "type": serializers.ChoiceField(["regular", "hotfix"]),
                "ticket_id": serializers.CharField(),
                "ticket_url": serializers.URLField(),
                "captain": serializers.CharField(),
                "commander": serializers.CharField(required=False),
                "dashboards": serializers.ListField(required=False),
                "surfaces": serializers.ListField(child=serializers.CharField(), required=False),
                "window": serializers.DictField(required=False),
            },
        ),
        responses={201: written("ReleaseOpened", release=ReleaseOut())},
    )
    def post(self, request: Request) -> Response:
        """Open a release (R1.1, R1.11): a `release.opened` record."""
        placed = records.append_plain(
            {"kind": "release.opened", "body": request.data},
            principal=principal_of(request),
            actor=actor_of(request),
            idempotency=idempotency_of(request),
        )
        release = Release.objects.select_related("system").get(opened_by=placed.index)
        return answer(placed, release=ReleaseOut(release).data)


class ReleaseDetail(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_retrieve", responses=ReleaseOut)
    def get(self, request: Request, release_id: str) -> Response:
        """One release with its approvals."""
        release = _visible(request, release_id)
        approvals = list(release.approvals.all())
        return Response(ReleaseOut(release).data | {"approvals": _approvals(release, approvals)})


def _approvals(release: Release, approvals: list[Approval]) -> list[Mapping[str, Any]]:
    names = display_names(approval.person for approval in approvals)
    standing = {approval.index for approval in current_approvals(approvals, release.manifest_digest)}
    late = given_afterwards(release)
    for approval in approvals:
        approval.release = release
    return [_approval(approval, names, late) | {"counts": approval.index in standing} for approval in approvals]


def _approval(approval: Approval, names: Mapping[str, str], late: frozenset[int]) -> dict[str, Any]:
    known = {"person": names[approval.person], "retrospective": approval.index in late}
    return {**ApprovalOut(approval).data, **known}


class ReleaseTimeline(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_timeline", responses={200: OpenApiTypes.OBJECT})
    def get(self, request: Request, release_id: str) -> Response:
        """Everything recorded about a release, in the order of receipt; the first page with planned against actual."""
        release = _visible(request, release_id)
        found = Record.objects.in_systems(visible_systems(principal_of(request))).filter(release=release.pk)
        pages = CursorPagination()
        pages.ordering = "index"
        page = pages.paginate_queryset(found, request, view=self) or []
        names = display_names(record.principal for record in page)
        state = readiness(release) if "cursor" not in request.query_params else None
        late: frozenset[int] = state.given_afterwards if state is not None else frozenset()
        if state is None and any(record.kind == "approval" for record in page):
            late = given_afterwards(release)
        found_page = pages.get_paginated_response([_step(record, names, late) for record in page])
        if state is not None:
            found_page.data["planned"] = PlanOut(state).data
        return found_page


def _step(record: Record, names: dict[str, str], late: frozenset[int]) -> dict[str, Any]:
    more = {"retrospective": record.index in late} if record.kind == "approval" else {}
    return row(record, names) | more


class ReleaseApprovals(APIView):
    permission_classes = [opens_to(*INSIDE)]

    @extend_schema_serializer(component_name="ApprovalIn")
    class Input(StrictSerializer):
        role = serializers.RegexField(r"^[a-z][a-z0-9-]{0,39}$")
        decision = serializers.ChoiceField(["approved", "rejected", "withdrawn"], default="approved")
        manifest_digest = serializers.RegexField(r"^sha256:[0-9a-f]{64}$")
        comment = serializers.CharField(max_length=2000, allow_blank=True, default="")

    @extend_schema(
        operation_id="releases_approve",
        request=Input,
        responses={201: written("Approved", approval=ApprovalOut())},
    )
    def post(self, request: Request, release_id: str) -> Response:
        """Sign off, reject or withdraw, for the manifest's digest that was read (R1.5).

        That is the newest manifest, or one that an emergency deploy took to production without this role's approval.
        """
        release = _visible(request, release_id)
        data = self.Input(data=request.data)
        data.is_valid(raise_exception=True)
        placed = approve(
            release=release,
            person=person_of(request),
            actor=actor_of(request),
            idempotency=idempotency_of(request),
            **data.validated_data,
        )
        approval = Approval.objects.select_related("release").get(pk=placed.index)
        names = {approval.person: person_of(request).name}
        return answer(placed, approval=_approval(approval, names, given_afterwards(release)))
