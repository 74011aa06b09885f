"""The register of exceptions over HTTP: list, request, look, move on."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import Prefetch
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_serializer
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.pagination import CursorPagination
from config.api.strict import StrictSerializer
from config.errors import ForbiddenError, InvalidError, MissingError
from evidence.api.actors import actor_of, idempotency_of
from evidence.api.permissions import INSIDE, PipelineOrPeople, opens_to
from evidence.api.receipts import answer
from evidence.ledger import Placed
from evidence.models import Pipeline, User
from evidence.people import Principal, find_system, find_user
from exceptions import lifecycle, metrics, rules
from exceptions.api import schemas
from exceptions.api.output import exception_out, exceptions_out
from exceptions.dates import parse_expiry, parse_start
from exceptions.models import SecurityException, Transition
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.terms import CHASED, GROUPS, SEVERITIES, STATES, standing


def seen_by(request: Request) -> ExceptionQuerySet:
    """What the principal may see."""
    return SecurityException.objects.seen_by(principal_of(request))


def principal_of(request: Request) -> Principal:
    """Who asks; authentication and permissions let nobody else in."""
    if not isinstance(request.user, User | Pipeline):
        raise ForbiddenError("Sign in first.", code="not_authenticated")
    return request.user


class ReadersAndPeople(APIView):
    """Everybody inside and pipelines read; only people write (and `lifecycle` says who exactly)."""

    def get_permissions(self) -> list[Any]:
        wanted: type[BasePermission] = PipelineOrPeople if self.request.method == "GET" else opens_to(*INSIDE)
        return [wanted()]


class Exceptions(ReadersAndPeople):
    @extend_schema_serializer(component_name="ExceptionIn")
    class In(StrictSerializer):
        class Control(StrictSerializer):
            title = serializers.CharField(max_length=500)
            evidence = serializers.CharField(max_length=500, required=False)

        title = serializers.CharField(max_length=200)
        justification = serializers.CharField(max_length=8000)
        severity = serializers.CharField(max_length=20)
        systems = serializers.ListField(child=serializers.CharField(max_length=60), min_length=1, max_length=200)
        requirements = serializers.ListField(child=serializers.CharField(max_length=80), default=list, max_length=100)
        releases = serializers.ListField(
            child=serializers.CharField(max_length=200),
            default=list,
            max_length=50,
            help_text="SYSTEM:TAG, opened or not yet; none means every release of the systems",
        )
        risk = serializers.CharField(max_length=16, required=False, allow_null=True)
        compensating_controls = Control(many=True, default=list)
        owner = serializers.CharField(max_length=254)
        effective_from = serializers.CharField(max_length=40, required=False, allow_null=True)
        expires_at = serializers.CharField(max_length=40)

    @extend_schema(
        operation_id="exceptions_list",
        parameters=[
            OpenApiParameter("state", str, enum=[*STATES, *GROUPS]),
            OpenApiParameter("severity", str, enum=[name for name, _ in SEVERITIES]),
            OpenApiParameter("system", str, description="A system's name"),
            OpenApiParameter("owner", str, description="A mail address"),
            OpenApiParameter("due_within", int, description="Days; overdue ones are among them"),
            OpenApiParameter("as_of", str, description="A date (its end) or a time with offset"),
            OpenApiParameter(
                "open_on", str, description="A date: open when that day ended (UTC), expired ones included"
            ),
            OpenApiParameter(
                "open_between", str, description="Two dates, 2024-01-01/2024-03-31: open at any time then"
            ),
        ],
        responses=schemas.ExceptionOut(many=True),
    )
    def get(self, request: Request) -> Response:
        """Exceptions, newest first. With `as_of` or `open_on`, state and dates are as the records said then.

        `open_between` has exceptions that were open at any time from the first day to the last, as they are now.
        """
        now, as_of = timezone.now(), _as_of(request)
        found = _filtered(seen_by(request), request, now, as_of).prefetch_related("approvals", "renewals")
        if as_of:
            then = Prefetch("transitions", queryset=Transition.objects.filter(standing(as_of)), to_attr="then")
            found = found.filter(standing(as_of, "transitions__")).prefetch_related(then)
        pages = CursorPagination()
        pages.ordering = "-requested_index"
        page = pages.paginate_queryset(found, request, view=self) or []
        return pages.get_paginated_response(exceptions_out(page, now=now, as_of=as_of))

    @extend_schema(operation_id="exceptions_request", request=In, responses={201: schemas.EXCEPTION_WRITTEN})
    def post(self, request: Request) -> Response:
        """Request an exception: an `exception.requested` record. It waives nothing until it is approved."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        given = dict(asked.validated_data)
        start = given.pop("effective_from", None)
        application = lifecycle.Application(
            **given | {"expires_at": parse_expiry(given["expires_at"])},
            effective_from=parse_start(start) if start else None,
        )
        placed = lifecycle.request_exception(
            actor=actor_of(request), application=application, idempotency=idempotency_of(request)
        )
        return _written(placed, request)


class ExceptionMetrics(ReadersAndPeople):
    @extend_schema(operation_id="exceptions_metrics", responses=schemas.ExceptionMetricsOut)
    def get(self, request: Request) -> Response:
        """The register in figures, as it is now, of what the caller sees."""
        return Response(metrics.metrics(seen_by(request), now=timezone.now()))


class ExceptionDetail(ReadersAndPeople):
    @extend_schema(operation_id="exceptions_retrieve", responses=schemas.ExceptionDetailOut)
    def get(self, request: Request, number: str) -> Response:
        """One exception with its approvals, renewals and timeline, and the moves that the caller may make now."""
        return Response(_detail(_find(request, number), request))


class ExceptionTransitions(ReadersAndPeople):
    @extend_schema_serializer(component_name="TransitionIn")
    class In(StrictSerializer):
        to = serializers.CharField(max_length=40)
        reason = serializers.CharField(max_length=4000, default="", allow_blank=True)
        expires_at = serializers.CharField(max_length=40, required=False, help_text="For renewal_requested")
        changes = serializers.DictField(required=False, help_text="For amended")
        terms = serializers.CharField(
            max_length=80,
            required=False,
            help_text="For approved and renewed: the digest of the terms that were looked at; others are refused",
        )
        evidence = serializers.ListField(
            child=serializers.IntegerField(min_value=0),
            required=False,
            max_length=20,
            help_text="For remediated: indexes of the records that show it",
        )
        by = serializers.CharField(max_length=16, required=False, help_text="For superseded: what takes its place")

    #: What each transition does, and the members that it takes besides the reason.
    MOVES: ClassVar[dict[str, tuple[Callable[..., Placed], tuple[str, ...]]]] = {
        "approved": (lifecycle.approve, ("terms",)),
        "rejected": (lifecycle.reject, ()),
        "withdrawn": (lifecycle.withdraw, ()),
        "renewal_requested": (lifecycle.request_renewal, ("expires_at",)),
        "renewed": (lifecycle.approve_renewal, ("terms",)),
        "renewal_refused": (lifecycle.refuse_renewal, ()),
        "revoked": (lifecycle.revoke, ()),
        "remediated": (lifecycle.remediate, ("evidence",)),
        "superseded": (lifecycle.supersede, ("by",)),
        "amended": (lifecycle.amend, ("changes",)),
    }
    #: Without these there is nothing to do.
    NEEDED: ClassVar[dict[str, Any]] = {"expires_at": "", "changes": {}, "by": ""}

    @extend_schema(operation_id="exceptions_transition", request=In, responses={201: schemas.EXCEPTION_WRITTEN})
    def post(self, request: Request, number: str) -> Response:
        """Move an exception on: approved, rejected, withdrawn, renewal_requested, renewed, renewal_refused, revoked,
        remediated, superseded, amended. Each is a record with its reason."""
        asked = self.In(data=request.data)
        asked.is_valid(raise_exception=True)
        given = asked.validated_data
        common = {
            "actor": actor_of(request),
            "exception": number,
            "reason": given["reason"],
            "idempotency": idempotency_of(request),
        }
        return _written(self._move(given, common), request)

    def _move(self, given: dict[str, Any], common: dict[str, Any]) -> Placed:
        if given["to"] not in self.MOVES:
            raise InvalidError(
                f"There is no transition {given['to']!r}: {', '.join(self.MOVES)}.",
                code="transition_unknown",
                where="$.to",
            )
        move, members = self.MOVES[given["to"]]
        for name in given.keys() - {"to", "reason", *members}:
            raise InvalidError(f"{given['to']} takes no {name}.", code="body_invalid", where=f"$.{name}")
        said = {name: given.get(name, self.NEEDED.get(name)) for name in members}
        return move(**{name: _parsed(name, value) for name, value in said.items() if value is not None}, **common)


def _parsed(name: str, value: Any) -> Any:
    if name == "expires_at":
        return parse_expiry(value)
    return _changes(value) if name == "changes" else value


_MEMBERS = frozenset(Exceptions.In().fields)


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """The members of an amendment, checked as those of a request; `lifecycle` says which may change."""
    asked = Exceptions.In(data={name: value for name, value in given.items() if name in _MEMBERS}, partial=True)
    asked.is_valid(raise_exception=True)
    return given | {name: value for name, value in asked.validated_data.items() if name in given}


def _find(request: Request, number: str) -> SecurityException:
    found = seen_by(request).prefetch_related("approvals", "renewals").filter(pk=number).first()
    if found is None:
        raise MissingError(f"There is no exception {number!r}.", code="exception_unknown")
    return found


def _written(placed: Placed, request: Request) -> Response:
    """Also of what was recorded before, with the eyes of now: who has lost its systems gets no receipt again."""
    return answer(placed, exception=_detail(_find(request, placed.body["exception"]), request))


def _detail(found: SecurityException, request: Request) -> dict[str, Any]:
    now = timezone.now()
    moves = rules.moves(found, request.user, now) if isinstance(request.user, User) else []
    return exception_out(found, now=now) | {"moves": moves}


def _as_of(request: Request) -> datetime | None:
    asked = [name for name in ("as_of", "open_on") if name in request.query_params]
    if len(asked) > 1:
        raise InvalidError("Ask with as_of or with open_on.", code="filter_invalid", where="open_on")
    return parse_expiry(request.query_params[asked[0]], asked[0]) if asked else None


def _between(text: str) -> tuple[datetime, datetime]:
    """The moments that bound two days and what lies between them."""
    first, slash, last = text.partition("/")
    start, end = parse_start(first, "open_between"), parse_expiry(last, "open_between") if slash else None
    if end is None or start >= end:
        raise InvalidError(
            "open_between is two dates, the earlier one first: 2024-01-01/2024-03-31.",
            code="filter_invalid",
            where="open_between",
        )
    return start, end


def _filtered(found: ExceptionQuerySet, request: Request, now: datetime, as_of: datetime | None) -> ExceptionQuerySet:
    asked = request.query_params
    if "open_on" in asked and as_of is not None:
        found = found.open_at(as_of)
    if (between := asked.get("open_between")) is not None:
        found = found.open_during(*_between(between))
    if (state := asked.get("state")) is not None:
        found = found.was_in_state(state, as_of) if as_of else found.in_state(state, now)
    if (severity := asked.get("severity")) is not None:
        found = found.filter(severity=_severity(severity))
    if (name := asked.get("system")) is not None:
        found = found.filter(systems__contains=[find_system(name, where="system").pk])
    if (email := asked.get("owner")) is not None:
        found = found.filter(owner=find_user(email, where="owner").uid)
    if (days := asked.get("due_within")) is not None:
        found = found.filter(decision__in=CHASED, expires_at__lte=(as_of or now) + timedelta(days=_days(days)))
    return found


def _severity(text: str) -> str:
    if text not in dict(SEVERITIES):
        raise InvalidError(f"There is no severity {text!r}.", code="severity_unknown", where="severity")
    return text


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 3660:
        raise InvalidError("due_within is a number of days, 0 to 3660.", code="filter_invalid", where="due_within")
    return int(text)
