"""The risk register over HTTP."""

from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from config.api.pagination import CursorPagination
from config.api.strict import StrictBoolean, StrictSerializer
from config.errors import InvalidError, MissingError
from evidence.api.actors import actor_of, idempotency_of
from evidence.api.receipts import answer
from evidence.ledger import Placed
from evidence.people import find_system, find_user, visible_systems
from exceptions import risks
from exceptions.api import schemas
from exceptions.api.exceptions import ReadersAndPeople, principal_of
from exceptions.api.output import risk_out, risks_out
from exceptions.models import Risk
from exceptions.models.risks import RiskQuerySet


def seen_by(request: Request) -> RiskQuerySet:
    """What the principal may see."""
    return Risk.objects.in_systems(visible_systems(principal_of(request)))


class Risks(ReadersAndPeople):
    @extend_schema_serializer(component_name="RiskIn")
    class In(StrictSerializer):
        title = serializers.CharField(max_length=200)
        description = serializers.CharField(max_length=8000, default="", allow_blank=True)
        likelihood = serializers.IntegerField(min_value=1, max_value=5)
        impact = serializers.IntegerField(min_value=1, max_value=5)
        residual_likelihood = serializers.IntegerField(min_value=1, max_value=5, allow_null=True, default=None)
        residual_impact = serializers.IntegerField(min_value=1, max_value=5, allow_null=True, default=None)
        mitigation = serializers.CharField(max_length=8000, default="", allow_blank=True)
        contingency = serializers.CharField(max_length=8000, default="", allow_blank=True)
        status = serializers.ChoiceField(["open", "mitigating", "accepted"], default="open")
        owner = serializers.CharField(max_length=254)
        systems = serializers.ListField(child=serializers.CharField(max_length=60), default=list, max_length=200)

    @extend_schema(
        operation_id="risks_list",
        parameters=[
            OpenApiParameter("status", str, enum=[name for name, _ in Risk.STATUSES]),
            OpenApiParameter("system", str, description="A system's name"),
            OpenApiParameter("owner", str, description="A mail address"),
        ],
        responses=schemas.RiskOut(many=True),
    )
    def get(self, request: Request) -> Response:
        """Risks, newest first."""
        found = _filtered(seen_by(request), request)
        pages = CursorPagination()
        pages.ordering = "-added_index"
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response(risks_out(page))

    @extend_schema(operation_id="risks_add", request=In, responses={201: schemas.RISK_WRITTEN})
    def post(self, request: Request) -> Response:
        """Add a risk: a `risk.added` record. Without systems it concerns the whole company."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        placed = risks.add_risk(
            actor=actor_of(request),
            entry=risks.RiskEntry(**asked.validated_data),
            idempotency=idempotency_of(request),
        )
        return _written(placed)


class RiskDetail(ReadersAndPeople):
    @extend_schema_serializer(component_name="RiskChangeIn")
    class In(StrictSerializer):
        reason = serializers.CharField(max_length=4000)
        changes = serializers.DictField(required=False)
        close = StrictBoolean(default=False)

    @extend_schema(operation_id="risks_retrieve", responses=schemas.RiskDetailOut)
    def get(self, request: Request, number: str) -> Response:
        """One risk with its changes."""
        found = seen_by(request).filter(pk=number).first()
        if found is None:
            raise MissingError(f"There is no risk {number!r}.", code="risk_unknown")
        return Response(risk_out(found))

    @extend_schema(operation_id="risks_change", request=In, responses={201: schemas.RISK_WRITTEN})
    def post(self, request: Request, number: str) -> Response:
        """Change members of a risk, or close it; each is a record with its reason."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        common = {"risk": number, "reason": given["reason"], "idempotency": idempotency_of(request)}
        if given["close"]:
            return _written(risks.close_risk(actor=actor_of(request), **common))
        return _written(risks.change_risk(actor=actor_of(request), changes=given.get("changes", {}), **common))


def _written(placed: Placed) -> Response:
    return answer(placed, risk=risk_out(Risk.objects.get(pk=placed.body["risk"])))


def _filtered(found: RiskQuerySet, request: Request) -> RiskQuerySet:
    asked = request.query_params
    if (status := asked.get("status")) is not None:
        if status not in dict(Risk.STATUSES):
            raise InvalidError(f"There is no status {status!r}.", code="filter_invalid", where="status")
        found = found.filter(status=status)
    if (name := asked.get("system")) is not None:
        found = found.filter(systems__contains=[find_system(name, where="system").pk])
    if (email := asked.get("owner")) is not None:
        found = found.filter(owner=find_user(email, where="owner").uid)
    return found
