"""The risk register over HTTP."""

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from django.utils import timezone
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
from exceptions import risk_policy, risks
from exceptions.api import schemas
from exceptions.api.exceptions import ReadersAndPeople, principal_of
from exceptions.api.output import risk_out, risks_out
from exceptions.models import Risk
from exceptions.models.risks import RiskQuerySet

#: What narrows a list, and an export.
FILTERS = [
    OpenApiParameter("status", str, enum=[name for name, _ in Risk.STATUSES]),
    OpenApiParameter("level", str, enum=list(risk_policy.LEVELS), description="After treatment where that is judged"),
    OpenApiParameter("review", str, enum=["due", "overdue"], description="Open ones whose review is due, or is past"),
    OpenApiParameter("system", str, description="A system's name"),
    OpenApiParameter("owner", str, description="A mail address"),
    OpenApiParameter("q", str, description="Words of number, reference, title or description"),
]


def seen_by(request: Request) -> RiskQuerySet:
    """What the principal may see."""
    return Risk.objects.in_systems(visible_systems(principal_of(request)))


@extend_schema_serializer(component_name="ActionItemIn")
class ActionItemIn(StrictSerializer):
    title = serializers.RegexField(r"^[^|\r\n]{1,200}$", help_text="Without | and line breaks")
    owner = serializers.CharField(max_length=254, help_text="A mail address")
    state = serializers.ChoiceField(risks.STATES_OF_ITEMS, default="open")
    due = serializers.DateField(required=False, allow_null=True)


@extend_schema_serializer(component_name="RiskLinksIn")
class LinksIn(StrictSerializer):
    exceptions = serializers.ListField(child=serializers.CharField(max_length=16), required=False, max_length=200)
    incidents = serializers.ListField(child=serializers.CharField(max_length=80), required=False, max_length=200)
    controls = serializers.ListField(child=serializers.CharField(max_length=60), required=False, max_length=100)


class Risks(ReadersAndPeople):
    @extend_schema_serializer(component_name="RiskIn")
    class In(StrictSerializer):
        title = serializers.CharField(max_length=200)
        description = serializers.CharField(max_length=8000, default="", allow_blank=True)
        cause = serializers.CharField(max_length=8000, default="", allow_blank=True)
        consequence = serializers.CharField(max_length=8000, default="", allow_blank=True)
        likelihood = serializers.IntegerField(min_value=1, max_value=5)
        impact = serializers.IntegerField(min_value=1, max_value=5)
        residual_likelihood = serializers.IntegerField(min_value=1, max_value=5, allow_null=True, default=None)
        residual_impact = serializers.IntegerField(min_value=1, max_value=5, allow_null=True, default=None)
        mitigation = serializers.CharField(max_length=8000, default="", allow_blank=True)
        contingency = serializers.CharField(max_length=8000, default="", allow_blank=True)
        status = serializers.ChoiceField(["open", "mitigating", "accepted"], default="open")
        owner = serializers.CharField(max_length=254)
        systems = serializers.ListField(child=serializers.CharField(max_length=60), default=list, max_length=200)
        reference = serializers.CharField(max_length=120, default="", allow_blank=True)
        review_by = serializers.DateField(required=False, allow_null=True, help_text="Left out: as the level asks for")
        links = LinksIn(required=False)
        action_items = serializers.ListField(child=ActionItemIn(), required=False, max_length=30)

    @extend_schema(operation_id="risks_list", parameters=FILTERS, responses=schemas.RiskOut(many=True))
    def get(self, request: Request) -> Response:
        """Risks, newest first."""
        found = filtered(seen_by(request), request.query_params)
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
        return _written(placed, request)


class RiskScale(ReadersAndPeople):
    @extend_schema(operation_id="risks_scale", responses=schemas.RiskScaleOut)
    def get(self, request: Request) -> Response:
        """What 1 to 5 mean, from which rating on a risk is called what, and how often it is reviewed."""
        scale = risk_policy.load()
        return Response(
            {name: [vars(step) for step in getattr(scale, name)] for name in ("likelihood", "impact")}
            | {
                "levels": [
                    {"level": level, "from_rating": least, "review_within_days": scale.review[level].days}
                    for least, level in scale.levels
                ]
            }
        )


class RiskDetail(ReadersAndPeople):
    @extend_schema_serializer(component_name="RiskChangeIn")
    class In(StrictSerializer):
        reason = serializers.CharField(max_length=4000)
        changes = serializers.DictField(required=False)
        close = StrictBoolean(default=False)

    @extend_schema(operation_id="risks_retrieve", responses=schemas.RiskDetailOut)
    def get(self, request: Request, number: str) -> Response:
        """One risk with its records, and what it points to."""
        found = seen_by(request).filter(pk=number).first()
        if found is None:
            raise MissingError(f"There is no risk {number!r}.", code="risk_unknown")
        return Response(risk_out(found, principal_of(request)))

    @extend_schema(operation_id="risks_change", request=In, responses={201: schemas.RISK_WRITTEN})
    def post(self, request: Request, number: str) -> Response:
        """Change members of a risk, or close it; each is a record with its reason."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        common = {"risk": number, "reason": given["reason"], "idempotency": idempotency_of(request)}
        if given["close"]:
            return _written(risks.close_risk(actor=actor_of(request), **common), request)
        changes = _changes(given.get("changes", {}))
        return _written(risks.change_risk(actor=actor_of(request), changes=changes, **common), request)


class RiskReviews(ReadersAndPeople):
    @extend_schema_serializer(component_name="RiskReviewIn")
    class In(StrictSerializer):
        reason = serializers.CharField(max_length=4000, help_text="What the review found")
        review_by = serializers.DateField(required=False, allow_null=True, help_text="Left out: as the level asks for")

    @extend_schema(operation_id="risks_review", request=In, responses={201: schemas.RISK_WRITTEN})
    def post(self, request: Request, number: str) -> Response:
        """Note that a risk was looked at again: a `risk.reviewed` record with the next review's date."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        placed = risks.review_risk(
            actor=actor_of(request), risk=number, idempotency=idempotency_of(request), **asked.validated_data
        )
        return _written(placed, request)


_MEMBERS = frozenset(Risks.In().fields)


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The members of a change, checked as those of an entry; `risks` says which may change."""
    asked = Risks.In(data={name: value for name, value in given.items() if name in _MEMBERS}, partial=True)
    asked.is_valid(raise_exception=True)
    return given | {name: value for name, value in asked.validated_data.items() if name in given}


def _written(placed: Placed, request: Request) -> Response:
    found = Risk.objects.get(pk=placed.body["risk"])
    return answer(placed, risk=risk_out(found, principal_of(request)))


def filtered(found: RiskQuerySet, asked: Mapping[str, str]) -> RiskQuerySet:
    """Those that fit FILTERS. Raises ``filter_invalid``, ``system_unknown``, ``person_unknown``."""
    today = timezone.now().date()
    if (status := asked.get("status")) is not None:
        if status not in dict(Risk.STATUSES):
            raise InvalidError(f"There is no status {status!r}.", code="filter_invalid", where="status")
        found = found.filter(status=status)
    if (level := asked.get("level")) is not None:
        found = found.at_level(level)
    if (review := asked.get("review")) is not None:
        if review not in {"due", "overdue"}:
            raise InvalidError("review is due or overdue.", code="filter_invalid", where="review")
        found = found.review_due(today) if review == "due" else found.review_overdue(today)
    if (name := asked.get("system")) is not None:
        found = found.filter(systems__contains=[find_system(name, where="system").pk])
    if (email := asked.get("owner")) is not None:
        found = found.filter(owner=find_user(email, where="owner").uid)
    for word in asked.get("q", "").split()[:10]:
        texts = ("id", "reference", "title", "description")
        fits = Q()
        for text in texts:
            fits |= Q(**{f"{text}__icontains": word})
        found = found.filter(fits)
    return found
