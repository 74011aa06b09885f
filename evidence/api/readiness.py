"""What a release has and lacks: checklist, plan, deployments, difference; and the deployments of a period."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.api.times import parse_time
from config.errors import ConflictError, MissingError
from evidence import deliveries, manifests, placing
from evidence.api.actors import principal_of
from evidence.api.permissions import PipelineOrPeople
from evidence.inventory import Row
from evidence.models import Release, System
from evidence.people import Principal, display_names, visible_systems
from evidence.readiness import Readiness, checklist_state, readiness

OUTCOMES = ["succeeded", "failed", "unfinished"]
AT = OpenApiParameter("at", datetime, description="As of this moment (RFC 3339 with offset); default: now")
PERIOD = [
    OpenApiParameter("from", datetime, description="Default: 90 days before `to`"),
    OpenApiParameter("to", datetime, description="Default: now"),
    OpenApiParameter("system", str, description="By name; default: all that you see, sandboxes left out"),
]


class LineOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(["present", "late", "backfilled", "failed", "missing", "due", "waiting"])
    words = serializers.CharField(help_text="late by 2 h 5 min")
    due = serializers.DateTimeField(allow_null=True)
    happened = serializers.DateTimeField(allow_null=True)
    received = serializers.DateTimeField(allow_null=True)
    by_seconds = serializers.SerializerMethodField()
    recorded_later_seconds = serializers.SerializerMethodField()
    records = serializers.ListField(child=serializers.IntegerField())

    def get_by_seconds(self, line: Any) -> int:
        return int(line.by.total_seconds())

    def get_recorded_later_seconds(self, line: Any) -> int:
        return int(line.lag.total_seconds())


class StepOut(serializers.Serializer[Any]):
    step = serializers.CharField()
    owner = serializers.CharField()
    planned_from = serializers.DateTimeField(allow_null=True)
    planned_to = serializers.DateTimeField(allow_null=True)
    started = serializers.DateTimeField(allow_null=True)
    finished = serializers.DateTimeField(allow_null=True)
    state = serializers.ChoiceField(["planned", "running", "done", "missing"])
    late_seconds = serializers.SerializerMethodField()
    records = serializers.ListField(child=serializers.IntegerField())

    def get_late_seconds(self, step: Any) -> int:
        return int(step.late.total_seconds())


class GapOut(serializers.Serializer[Any]):
    start = serializers.DateTimeField()
    end = serializers.DateTimeField()


class IncidentOut(serializers.Serializer[Any]):
    incident = serializers.CharField()
    title = serializers.CharField()
    severity = serializers.IntegerField()
    state = serializers.CharField()
    opened = serializers.DateTimeField()
    resolved = serializers.DateTimeField(allow_null=True)
    updates = serializers.ListField(child=serializers.DateTimeField())
    gaps = GapOut(many=True)
    next_due = serializers.DateTimeField(allow_null=True)
    records = serializers.ListField(child=serializers.IntegerField())


class ReactionOut(serializers.Serializer[Any]):
    kind = serializers.CharField()
    severity = serializers.IntegerField()
    trigger = serializers.CharField()
    owner = serializers.CharField()
    restored_tag = serializers.CharField()
    at = serializers.DateTimeField()
    rule = serializers.CharField()
    findings = serializers.ListField(child=serializers.CharField())
    flags_restored = serializers.BooleanField(allow_null=True)
    root_cause = serializers.IntegerField(allow_null=True)
    index = serializers.IntegerField()


class PlanOut(serializers.Serializer[Any]):
    """Planned against actual."""

    at = serializers.DateTimeField()
    expected = LineOut(many=True, source="lines")
    cutover = StepOut(many=True)
    incidents = IncidentOut(many=True)
    rollbacks = ReactionOut(many=True, source="reactions")
    lacking = serializers.ListField(child=serializers.CharField())


class ChecklistItemOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    state = serializers.ChoiceField(["done", "excused", "open"])
    evidence = serializers.CharField(allow_blank=True)
    reason = serializers.CharField(allow_blank=True)
    note = serializers.CharField(allow_blank=True)
    record = serializers.IntegerField(allow_null=True)
    by = serializers.CharField(allow_blank=True)
    at = serializers.DateTimeField(allow_null=True)


class ChecklistSectionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    items = ChecklistItemOut(many=True)


class ChecklistOut(serializers.Serializer[Any]):
    at = serializers.DateTimeField()
    open = serializers.IntegerField()
    sections = ChecklistSectionOut(many=True)


class ChangedOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    what = serializers.ChoiceField(["added", "removed", "changed"])
    before = serializers.CharField(allow_blank=True)
    after = serializers.CharField(allow_blank=True)


class ManifestDifferenceOut(serializers.Serializer[Any]):
    since = serializers.CharField(allow_null=True, help_text="The release it is compared with")
    commit_before = serializers.CharField(allow_blank=True)
    commit = serializers.CharField()
    artifacts = ChangedOut(many=True)
    settings = ChangedOut(many=True)
    unchanged_artifacts = serializers.IntegerField()
    pull_requests = serializers.ListField(child=serializers.DictField())


class DeploymentOut(serializers.Serializer[Any]):
    release = serializers.CharField()
    environment = serializers.CharField()
    index = serializers.IntegerField()
    manifest_digest = serializers.CharField(source="digest", allow_null=True)
    started = serializers.SerializerMethodField()
    finished = serializers.SerializerMethodField()
    outcome = serializers.ChoiceField(OUTCOMES)
    backfilled = serializers.BooleanField(source="is_backfilled")

    def get_started(self, deployment: Any) -> datetime | None:
        return deployment.started.occurred if deployment.started else None

    def get_finished(self, deployment: Any) -> datetime | None:
        return deployment.finished.occurred if deployment.finished else None


class RetrospectiveOut(serializers.Serializer[Any]):
    role = serializers.CharField()
    due = serializers.DateTimeField()
    state = serializers.ChoiceField(["due", "given", "late", "overdue", "rejected"])
    words = serializers.CharField()
    record = serializers.SerializerMethodField()

    def get_record(self, retrospective: Any) -> int | None:
        return retrospective.approval.index if retrospective.approval else None


class FindingOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    detail = serializers.CharField()
    records = serializers.ListField(child=serializers.IntegerField())


class ReleaseDeploymentsOut(serializers.Serializer[Any]):
    deployments = DeploymentOut(many=True)
    differences = FindingOut(many=True, help_text="Why the build would not be the one that was tested")
    failures = FindingOut(many=True, help_text="What was wrong with deployments to production")
    retrospectives = serializers.SerializerMethodField()

    def get_retrospectives(self, state: Readiness) -> list[dict[str, Any]]:
        return [{"deployment": run.index, **RetrospectiveOut(each).data} for run, each in state.retrospectives]


class MemberOut(DeploymentOut):
    tag = serializers.CharField()
    system = serializers.CharField()
    type = serializers.CharField()
    ticket_id = serializers.CharField()
    ticket_url = serializers.CharField()
    emergency = serializers.BooleanField()
    rolled_back = serializers.BooleanField()
    retrospectives = RetrospectiveOut(many=True)
    failures = FindingOut(many=True)

    def to_representation(self, member: Any) -> dict[str, Any]:
        own = ("tag", "system", "type", "ticket_id", "ticket_url", "emergency", "rolled_back")
        return {
            **DeploymentOut(member.deployment).data,
            **{name: getattr(member, name) for name in own},
            "retrospectives": RetrospectiveOut(member.retrospectives, many=True).data,
            "failures": FindingOut(member.failures, many=True).data,
        }


class ListedOut(serializers.Serializer[Row]):
    source = serializers.CharField()  # type: ignore[assignment]  # a member of the row, not Field.source
    id = serializers.CharField()
    at = serializers.DateTimeField()
    release = serializers.CharField(allow_blank=True)
    environment = serializers.CharField()
    record = serializers.IntegerField()


class CountsOut(serializers.Serializer[Any]):
    deployments = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    unfinished = serializers.IntegerField()
    rolled_back = serializers.IntegerField()
    backfilled = serializers.IntegerField()
    emergencies = serializers.IntegerField()


class ReconciliationOut(serializers.Serializer[Any]):
    sources = serializers.ListField(child=serializers.CharField())
    matched = serializers.IntegerField()
    unrecorded = ListedOut(many=True)
    unlisted = DeploymentOut(many=True)


class DeliveriesOut(serializers.Serializer[Any]):
    """`success_percent` is succeeded of succeeded and failed: the population stands beside it."""

    start = serializers.DateTimeField()
    end = serializers.DateTimeField()
    success_percent = serializers.FloatField(allow_null=True)
    counts = CountsOut()
    population = MemberOut(many=True)
    emergencies = MemberOut(many=True)
    reconciliation = ReconciliationOut()


# -- views -------------------------------------------------------------------------------------------------------------


def _visible(request: Request, release_id: str) -> Release:
    return placing.find_release(release_id, visible_systems(principal_of(request)))


def _at(request: Request) -> datetime | None:
    text = request.query_params.get("at")
    return parse_time(text, "at") if text is not None else None


class ReleaseChecklist(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_checklist", parameters=[AT], responses=ChecklistOut)
    def get(self, request: Request, release_id: str) -> Response:
        """The readiness checklist (R1.2): every item with its evidence or reason; open ones keep the gate red."""
        state = checklist_state(_visible(request, release_id), _at(request))
        names = display_names(item.by for item in state.items if item.by)
        found: dict[str, Any] = {"at": state.at, "open": len(state.open), "sections": state.sections}
        data = ChecklistOut(found).data
        for item in (item for section in data["sections"] for item in section["items"]):
            item["by"] = names.get(item["by"], "")
        return Response(data)


class ReleasePlan(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_plan", parameters=[AT], responses=PlanOut)
    def get(self, request: Request, release_id: str) -> Response:
        """Planned against actual (R1.9): what is present, late, missing or backfilled, and by how much."""
        return Response(PlanOut(readiness(_visible(request, release_id), _at(request))).data)


class ReleaseDeployments(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_deployments", parameters=[AT], responses=ReleaseDeploymentsOut)
    def get(self, request: Request, release_id: str) -> Response:
        """What ran where, whether it was the build that was tested and approved, and what is owed for it (R1.6)."""
        return Response(ReleaseDeploymentsOut(readiness(_visible(request, release_id), _at(request))).data)


class ReleaseDifference(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="releases_difference", responses=ManifestDifferenceOut)
    def get(self, request: Request, release_id: str) -> Response:
        """What the manifest changes against the system's last release in production."""
        found = manifests.difference(_visible(request, release_id))
        if found is None:
            raise ConflictError("The release has no deploy manifest to compare.", code="manifest_missing")
        return Response(ManifestDifferenceOut(found).data)


class DeploymentList(APIView):
    permission_classes = [PipelineOrPeople]

    @extend_schema(operation_id="deployments", parameters=PERIOD, responses=DeliveriesOut)
    def get(self, request: Request) -> Response:
        """Production deployments of a period: success rate with its population (R2.1), emergencies, reconciliation."""
        query = request.query_params
        end = parse_time(query["to"], "to") if "to" in query else timezone.now()
        start = parse_time(query["from"], "from") if "from" in query else end - timedelta(days=90)
        systems = systems_of(principal_of(request), query.get("system"))
        found = deliveries.deliveries(start=start, end=end, systems=systems, now=datetime.now(UTC))
        return Response(DeliveriesOut(_answer(found)).data)


def systems_of(principal: Principal, name: str | None) -> list[str]:
    """Opaque ids of the named system, or of all that somebody sees; sandboxes only by name. ``system_unknown``."""
    allowed = visible_systems(principal)
    found = System.objects.all() if allowed is None else System.objects.filter(pk__in=allowed)
    if name is None:
        return list(found.filter(sandbox=False).values_list("pk", flat=True))
    system = found.filter(name=name).first()
    if system is None:
        raise MissingError(f"There is no system {name!r}.", code="system_unknown", where="system")
    return [system.pk]


def _answer(found: deliveries.Deliveries) -> dict[str, Any]:
    parts = ("succeeded", "failed", "unfinished", "rolled_back", "backfilled", "emergencies")
    counts: dict[str, Iterable[Any]] = {name: getattr(found, name) for name in parts}
    both = found.reconciliation
    return {
        "start": found.start,
        "end": found.end,
        "success_percent": found.rate,
        "counts": {"deployments": len(found.members), **{name: len(tuple(rows)) for name, rows in counts.items()}},
        "population": found.members,
        "emergencies": found.emergencies,
        "reconciliation": {
            "sources": both.sources,
            "matched": len(both.matched),
            "unrecorded": both.unrecorded,
            "unlisted": both.unlisted,
        },
    }
