"""Legal holds: list, place, release."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from compliance import holds
from config.api.pagination import CursorPagination
from config.api.strict import StrictSerializer
from config.errors import InvalidError, MissingError
from evidence.api.actors import actor_of, idempotency_of, person_of
from evidence.api.permissions import opens_to
from evidence.api.receipts import answer, written
from evidence.models import Hold, Record
from evidence.people import display_names, visible_systems

HOLD: dict[str, serializers.Field[Any, Any, Any, Any]] = {
    "id": serializers.CharField(),
    "reason": serializers.CharField(),
    "record": serializers.IntegerField(allow_null=True),
    "release": serializers.CharField(allow_null=True),
    "system": serializers.CharField(allow_null=True),
    "standing": serializers.BooleanField(),
    "placed_by": serializers.IntegerField(),
    "placed_at": serializers.DateTimeField(),
    "placed_by_person": serializers.CharField(),
    "released_by": serializers.IntegerField(allow_null=True),
    "records": serializers.IntegerField(),
}
HoldOut = inline_serializer("Hold", HOLD)


class HoldIn(StrictSerializer):
    reason = serializers.CharField(max_length=2000)
    record = serializers.IntegerField(required=False, min_value=0)
    release = serializers.CharField(required=False, max_length=200)
    system = serializers.CharField(required=False, max_length=60, help_text="Name of the system")


class ReleaseIn(StrictSerializer):
    reason = serializers.CharField(max_length=2000)


class HoldList(APIView):
    permission_classes = [opens_to(*holds.ROLES)]

    @extend_schema(operation_id="holds_list", responses=HoldOut)
    def get(self, request: Request) -> Response:
        """Legal holds, newest first; `standing=true|false` filters."""
        found = holds.in_systems(visible_systems(person_of(request)))
        standing = request.query_params.get("standing")
        if standing is not None and standing not in {"true", "false"}:
            raise InvalidError("standing is true or false.", code="filter_invalid", where="standing")
        if standing is not None:
            found = found.filter(released_by__isnull=standing == "true")
        pages = CursorPagination()
        pages.ordering = "-placed_by"
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response(_shown(page))

    @extend_schema(
        operation_id="holds_place",
        request=HoldIn,
        responses={201: written("HoldPlaced", hold=HoldOut)},
    )
    def post(self, request: Request) -> Response:
        """Keep a record, everything of a release, or everything of a system, until the hold is released."""
        data = HoldIn(data=request.data)
        data.is_valid(raise_exception=True)
        target = {name: data.validated_data.get(name) for name in ("record", "release", "system")}
        placed = holds.place_hold(
            actor=actor_of(request),
            reason=data.validated_data["reason"],
            target=holds.Target(**target),
            visible=visible_systems(person_of(request)),
            idempotency=idempotency_of(request),
        )
        return answer(placed, hold=_shown([_find(request, placed.body["hold"])])[0])


class HoldRelease(APIView):
    permission_classes = [opens_to(*holds.ROLES)]

    @extend_schema(
        operation_id="holds_release",
        request=ReleaseIn,
        responses={201: written("HoldReleased", hold=HoldOut)},
    )
    def post(self, request: Request, hold_id: str) -> Response:
        """End a hold: what it kept follows its retention again."""
        data = ReleaseIn(data=request.data)
        data.is_valid(raise_exception=True)
        hold = _find(request, hold_id)
        placed = holds.release_hold(
            hold,
            actor=actor_of(request),
            reason=data.validated_data["reason"],
            idempotency=idempotency_of(request),
        )
        return answer(placed, hold=_shown([_find(request, hold_id)])[0])


def _find(request: Request, hold_id: str) -> Hold:
    """A hold on what who asks may see. Raises MissingError ``hold_unknown``."""
    hold = holds.in_systems(visible_systems(person_of(request))).filter(pk=hold_id).first()
    if hold is None:
        raise MissingError(f"There is no hold {hold_id!r}.", code="hold_unknown")
    return hold


def _shown(found: list[Hold]) -> list[dict[str, Any]]:
    placed = Record.objects.in_bulk([hold.placed_by for hold in found])
    names = display_names(record.principal for record in placed.values())
    systems = holds.system_names(found)
    counts = holds.record_counts(found)
    return [
        {
            "id": hold.pk,
            "reason": hold.reason,
            "record": hold.record,
            "release": hold.release,
            "system": systems.get(hold.system or ""),
            "standing": hold.released_by is None,
            "placed_by": hold.placed_by,
            "placed_at": placed[hold.placed_by].at,
            "placed_by_person": names[placed[hold.placed_by].principal],
            "released_by": hold.released_by,
            "records": counts.get(hold.pk, 0),
        }
        for hold in found
    ]
