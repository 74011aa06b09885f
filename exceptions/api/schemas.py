"""Shapes for the OpenAPI pages; answers themselves are written by `output`."""

from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers

from exceptions.models.risks import IMPORT_STATES
from exceptions.risk_policy import LEVELS
from exceptions.risks import STATES_OF_ITEMS


class PersonOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()


class ExceptionApprovalOut(serializers.Serializer[Any]):
    person = PersonOut()
    role = serializers.CharField()
    at = serializers.DateTimeField()
    index = serializers.IntegerField()
    renewal = serializers.IntegerField(allow_null=True)
    terms = serializers.CharField(help_text="Digest of the terms that were approved; empty in records of old versions")


class RenewalOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    state = serializers.CharField()
    previous_expires_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    reason = serializers.CharField()
    requested_by = PersonOut()
    requested_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)


class ChangeOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    kind = serializers.CharField()
    at = serializers.DateTimeField()
    by = PersonOut()
    reason = serializers.CharField()


class ExceptionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    title = serializers.CharField()
    justification = serializers.CharField()
    severity = serializers.CharField()
    state = serializers.CharField()
    expiring = serializers.BooleanField()
    days_left = serializers.IntegerField()
    systems = serializers.ListField(child=serializers.CharField())
    requirements = serializers.ListField(child=serializers.CharField())
    releases = serializers.ListField(child=serializers.CharField(), help_text="None: every release of the systems")
    risk = serializers.CharField(allow_null=True)
    compensating_controls = serializers.ListField(child=serializers.DictField())
    requester = PersonOut()
    owner = PersonOut()
    approvals = ExceptionApprovalOut(many=True)
    approvals_needed = serializers.IntegerField()
    needs_executive = serializers.CharField(
        allow_null=True,
        help_text="Why an executive has to be among the approvers of what waits; null where none has to be any more",
    )
    requested_at = serializers.DateTimeField()
    approved_at = serializers.DateTimeField(allow_null=True)
    effective_from = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    original_expires_at = serializers.DateTimeField()
    renewal_pending = serializers.BooleanField()
    renewals = RenewalOut(many=True)
    closed_at = serializers.DateTimeField(allow_null=True)
    superseded_by = serializers.CharField(allow_null=True)
    terms = serializers.CharField(help_text="Digest of its terms as they are now; approvals carry the one they froze")
    reference = serializers.CharField(help_text="What an imported sheet called it")
    claim = serializers.DictField(allow_null=True, help_text="What an imported sheet says of it; it waives nothing")
    index = serializers.IntegerField()


class ExceptionDetailOut(ExceptionOut):
    transitions = ChangeOut(many=True)
    moves = serializers.ListField(child=serializers.CharField(), help_text="Transitions that the caller may make now")


class AwaitingOut(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    renewals = serializers.IntegerField()
    oldest_since = serializers.DateTimeField(allow_null=True)
    oldest_days = serializers.FloatField(allow_null=True)


class OpenBySystemOut(serializers.Serializer[Any]):
    system = serializers.CharField()
    open = serializers.IntegerField()


class OpenByOwnerOut(serializers.Serializer[Any]):
    owner = PersonOut()
    open = serializers.IntegerField()


class OpenByAgeOut(serializers.Serializer[Any]):
    up_to_days = serializers.IntegerField(allow_null=True)
    open = serializers.IntegerField()


class ExceptionMetricsOut(serializers.Serializer[Any]):
    open = serializers.IntegerField()
    active = serializers.IntegerField()
    overdue = serializers.IntegerField()
    expiring_in_days = serializers.DictField(child=serializers.IntegerField())
    expired_without_decision = serializers.IntegerField()
    renewed_more_than_once = serializers.IntegerField()
    awaiting_decision = AwaitingOut()
    average_days_to_decision = serializers.FloatField(allow_null=True)
    self_approval_attempts = serializers.IntegerField()
    by_severity = serializers.DictField(child=serializers.IntegerField())
    by_system = OpenBySystemOut(many=True)
    by_owner = OpenByOwnerOut(many=True)
    by_age = OpenByAgeOut(many=True)


class ActionItemOut(serializers.Serializer[Any]):
    title = serializers.CharField()
    owner = PersonOut()
    state = serializers.ChoiceField(STATES_OF_ITEMS)
    due = serializers.DateField(allow_null=True)


class RiskOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    reference = serializers.CharField(help_text="What another tool calls it")
    title = serializers.CharField()
    description = serializers.CharField()
    cause = serializers.CharField()
    consequence = serializers.CharField(help_text="The impact in words")
    likelihood = serializers.IntegerField()
    impact = serializers.IntegerField()
    rating = serializers.IntegerField()
    level = serializers.ChoiceField(LEVELS)
    residual_likelihood = serializers.IntegerField(allow_null=True)
    residual_impact = serializers.IntegerField(allow_null=True)
    residual_rating = serializers.IntegerField(allow_null=True)
    residual_level = serializers.ChoiceField(LEVELS, allow_null=True)
    mitigation = serializers.CharField()
    contingency = serializers.CharField()
    status = serializers.CharField()
    systems = serializers.ListField(child=serializers.CharField())
    owner = PersonOut()
    action_items = ActionItemOut(many=True)
    review_by = serializers.DateField(allow_null=True)
    review_overdue = serializers.BooleanField()
    reviewed_at = serializers.DateTimeField(allow_null=True)
    reviewed_by = PersonOut(allow_null=True)
    added_by = PersonOut()
    added_at = serializers.DateTimeField()
    closed_at = serializers.DateTimeField(allow_null=True)
    index = serializers.IntegerField()


class RiskLinksOut(serializers.Serializer[Any]):
    exceptions = serializers.ListField(child=serializers.CharField(), help_text="Those that name the risk among them")
    incidents = serializers.ListField(child=serializers.CharField())
    controls = serializers.ListField(child=serializers.CharField())


class RiskDetailOut(RiskOut):
    changes = ChangeOut(many=True)
    exceptions = serializers.ListField(child=serializers.CharField())
    links = RiskLinksOut()
    moves = serializers.ListField(child=serializers.CharField(), help_text="What the caller may do now")


class RiskStepOut(serializers.Serializer[Any]):
    value = serializers.IntegerField()
    word = serializers.CharField()
    means = serializers.CharField()


class RiskLevelOut(serializers.Serializer[Any]):
    level = serializers.ChoiceField(LEVELS)
    from_rating = serializers.IntegerField()
    review_within_days = serializers.IntegerField()


class RiskScaleOut(serializers.Serializer[Any]):
    likelihood = RiskStepOut(many=True)
    impact = RiskStepOut(many=True)
    levels = RiskLevelOut(many=True)


class RiskFileOut(serializers.Serializer[Any]):
    """The register as a JSON file (docs/risks.md)."""

    format = serializers.CharField(help_text="prooftrail-risks")
    version = serializers.IntegerField()
    exported_at = serializers.DateTimeField()
    risks = serializers.ListField(child=serializers.DictField(), help_text="Each with the columns of the CSV by name")


class RiskImportOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.ChoiceField(IMPORT_STATES)
    filename = serializers.CharField()
    sha256 = serializers.CharField()
    created_at = serializers.DateTimeField()
    counts = serializers.DictField(child=serializers.IntegerField())
    columns = serializers.DictField(child=serializers.CharField(), help_text="Field, and what the file calls it")
    unused = serializers.ListField(child=serializers.CharField())
    notes = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.DictField(), help_text="What becomes of each; bad ones with reasons")
    index = serializers.IntegerField(allow_null=True, help_text="Of the record that shows all of it")


EXCEPTION_WRITTEN = inline_serializer(
    "ExceptionWritten", {"exception": ExceptionDetailOut(), "receipt": serializers.DictField()}
)
RISK_WRITTEN = inline_serializer("RiskWritten", {"risk": RiskDetailOut(), "receipt": serializers.DictField()})
