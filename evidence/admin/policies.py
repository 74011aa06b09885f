"""Trust policies: whose CI jobs get an access token by themselves."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from evidence.admin.forms import actor
from evidence.admin.pipelines import postable
from evidence.admin_base import RoleAdmin, display
from evidence.models import System, TrustPolicy
from evidence.models.people import Limits
from evidence.oidc.policies import save_policy, shared_issuers

_EXAMPLE = "repository = acme/web\nref = refs/heads/main\nref = refs/tags/v*"


class ClaimsField(forms.CharField):
    """Lines of ``claim = pattern``; the same claim again is an alternative."""

    def __init__(self) -> None:
        super().__init__(
            label="Claims",
            widget=UnfoldAdminTextareaWidget({"rows": 5, "placeholder": _EXAMPLE, "class": "pt-mono"}),
            help_text="A line for each: claim = pattern. * stands for anything but /, ** for anything; the same claim "
            "again is an alternative. A job needs all claims.",
        )

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return "\n".join(f"{claim} = {pattern}" for claim, wanted in value.items() for pattern in wanted)

    def to_python(self, value: Any) -> Any:
        found: dict[str, list[str]] = {}
        for line in (super().to_python(value) or "").splitlines():
            if not line.strip():
                continue
            claim, equals, pattern = line.partition("=")
            if not equals:
                raise forms.ValidationError(f"“{line.strip()[:100]}” is not “claim = pattern”.")
            found.setdefault(claim.strip(), []).append(pattern.strip())
        return found


class PolicyForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    claims = ClaimsField()
    systems = forms.MultipleChoiceField(
        choices=lambda: System.objects.values_list("pk", "name"),
        label="Only for",
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked means all of the pipeline's systems.",
    )
    kinds = forms.MultipleChoiceField(
        choices=postable,
        label="May post only",
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked means everything that the pipeline may post.",
    )

    class Meta:
        model = TrustPolicy
        fields = ("name", "pipeline", "issuer", "audience", "claims", "systems", "kinds", "is_active")
        labels = {"is_active": "Active"}
        help_texts = {
            "name": "Short, as in acme-web.",
            "pipeline": "Jobs that fit post as this pipeline.",
            "issuer": "The https URL that id-tokens name as iss; of GitLab.com https://gitlab.com.",
            "audience": "What their id-tokens are made for: nothing beside it is taken.",
            "is_active": "Untick to end it. Access tokens that it stood behind end with every change.",
        }
        widgets = {
            "issuer": UnfoldAdminTextInputWidget(),
            "audience": UnfoldAdminTextInputWidget(),
        }


@admin.register(TrustPolicy)
class TrustPolicyAdmin(RoleAdmin):
    add_roles = change_roles = ("admin",)
    form = PolicyForm
    list_display = ("name", "pipeline", "issuer", "of_claims", "active")
    list_filter = ("is_active",)
    search_fields = ("name", "issuer", "pipeline__name")
    fieldsets = (
        (None, {"fields": ("name", "pipeline", "issuer", "audience", "claims")}),
        ("What is left to them", {"fields": ("systems", "kinds", "is_active")}),
    )
    add_fieldsets = (
        (None, {"fields": ("name", "pipeline", "issuer", "audience", "claims")}),
        ("What is left to them", {"fields": ("systems", "kinds")}),
    )
    empty_title = "No CI system is trusted yet"
    add_label = "Trust a CI system"
    empty_text = "With a trust policy jobs sign in with their id-token: no secret is stored with the CI system."

    def get_queryset(self, request: HttpRequest) -> QuerySet[TrustPolicy]:
        found: QuerySet[TrustPolicy] = super().get_queryset(request)
        return found.select_related("pipeline")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        given: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"issuer": shared_issuers()[0].issuer, "audience": settings.PROOFTRAIL_URL} | given

    @display("Claims")
    def of_claims(self, policy: TrustPolicy) -> str:
        return ", ".join(f"{claim}: {' or '.join(wanted)}" for claim, wanted in policy.claims.items())

    @display("Trust", label={"active": "success", "ended": "danger"})
    def active(self, policy: TrustPolicy) -> str:
        return "active" if policy.is_active else "ended"

    def save_model(self, request: HttpRequest, obj: TrustPolicy, form: Any, change: bool) -> None:
        data = form.cleaned_data
        saved = save_policy(
            actor=actor(request),
            **{name: data[name] for name in ("name", "pipeline", "issuer", "audience", "claims")},
            limits=Limits(frozenset(data["systems"]), frozenset(data["kinds"])),
            active=data.get("is_active", True),
            policy=obj if change else None,
        )
        obj.pk, obj.changed_by = saved.pk, saved.changed_by
