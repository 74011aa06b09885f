"""The gate: may this release go, and why not? Asked at any moment, and recorded when it counts."""

from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.strict import refuse_unknown
from config.api.times import parse_time
from config.errors import InvalidError
from evidence import placing
from evidence.api.actors import actor_of, idempotency_of, principal_of
from evidence.api.permissions import PipelineOrPeople
from evidence.api.receipts import answer, written
from evidence.gate import ask, decide
from evidence.gate.findings import STATES
from evidence.gate.policy import ENVIRONMENTS
from evidence.models import Release
from evidence.people import display_names, visible_systems

OUTCOMES = ["green", "red"]


class WaiverOut(serializers.Serializer[Any]):
    exception = serializers.CharField()
    title = serializers.CharField()
    until = serializers.DateTimeField()
    record = serializers.IntegerField()


class RequirementOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    title = serializers.CharField()
    rule = serializers.CharField()
    parameters = serializers.JSONField()
    state = serializers.ChoiceField(STATES)
    finding = serializers.ChoiceField(STATES, help_text="What the rule found; a waiver does not change it")
    detail = serializers.CharField()
    facts = serializers.JSONField()
    happened_at = serializers.DateTimeField(allow_null=True)
    due_at = serializers.DateTimeField(allow_null=True)
    records = serializers.ListField(child=serializers.IntegerField())
    waiver = WaiverOut(allow_null=True)


class _AnswerOut(serializers.Serializer[Any]):
    release = serializers.CharField()
    environment = serializers.ChoiceField(ENVIRONMENTS)
    outcome = serializers.ChoiceField(OUTCOMES)
    passed = serializers.BooleanField()
    as_of = serializers.DateTimeField()
    size = serializers.IntegerField(help_text="So many records of the ledger were looked at")
    policy = inline_serializer(
        "PolicyInForce", {"revision": serializers.CharField(), "record": serializers.IntegerField()}
    )
    manifest_digest = serializers.CharField(allow_null=True)
    requirements = RequirementOut(many=True)


class GateOut(_AnswerOut):
    people = serializers.DictField(child=serializers.CharField(), help_text="Names of the ids under `facts.by`")


class GateDecisionOut(_AnswerOut):
    index = serializers.IntegerField(help_text="Of the record that holds it")


class ReleaseGate(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(
        operation_id="releases_gate",
        parameters=[
            OpenApiParameter("environment", OpenApiTypes.STR, required=True, enum=ENVIRONMENTS),
            OpenApiParameter("as_of", OpenApiTypes.DATETIME, description="A past moment, with offset; default: now"),
            OpenApiParameter(
                "size", OpenApiTypes.INT, description="Only the first so many records, as a decision says"
            ),
        ],
        responses=GateOut,
    )
    def get(self, request: Request, release_id: str) -> Response:
        """The answer now, or as it was at a past moment with the records and the policy of then."""
        given = request.query_params
        found = ask(
            release=_visible(request, release_id),
            environment=given.get("environment", ""),
            as_of=parse_time(given["as_of"], "as_of") if "as_of" in given else None,
            size=_size(given["size"]) if "size" in given else None,
        )
        names = display_names(found.people) if found.people else {}
        return Response(found.to_json() | {"people": {uid: names[uid] for uid in sorted(found.people)}})

    @extend_schema(
        operation_id="releases_gate_decide",
        request=inline_serializer("DecideGate", {"environment": serializers.ChoiceField(ENVIRONMENTS)}),
        responses={201: written("GateDecided", decision=GateDecisionOut())},
    )
    def post(self, request: Request, release_id: str) -> Response:
        """Decide: the answer under the ledger's lock, recorded with what it looked at (`gate.decision`)."""
        data = request.data if isinstance(request.data, dict) else {}
        refuse_unknown(data, ["environment"])  # no `as_of`: a decision is about now
        placed = decide(
            release=_visible(request, release_id),
            environment=data.get("environment", ""),
            actor=actor_of(request),
            idempotency=idempotency_of(request),
        )
        return answer(placed, decision=placed.body | {"index": placed.index})


def _visible(request: Request, release_id: str) -> Release:
    return placing.find_release(release_id, visible_systems(principal_of(request)))


def _size(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise InvalidError("size is a number of records.", code="size_unknown", where="size")
    return int(text)
