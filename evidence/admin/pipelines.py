"""Pipelines with their tokens and keys: what is secret is shown once, and ended with a reason."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
)

from evidence import kinds
from evidence.admin import snippets
from evidence.admin.forms import LedgerForm, ReasonForm, actor, form_page, page, text_input, written
from evidence.admin_base import RoleAdmin, display
from evidence.models import Pipeline, PipelineKey, Record, System, Token
from evidence.models.people import Limits
from evidence.people import (
    NewToken,
    add_key,
    change_pipeline,
    create_pipeline,
    issue_token,
    revoke_key,
    revoke_token,
)
from evidence.tlog.dsse import MAX_SIGNATURES

DAYS = [(30, "30 days"), (90, "90 days"), (365, "1 year")]
PEM = "-----BEGIN PUBLIC KEY-----"


def postable() -> list[tuple[str, str]]:
    found = kinds.load().by_name.values()
    return [(kind.name, f"{kind.title} ({kind.name})") for kind in found if "pipeline" in kind.posted_by]


def _key_field(**more: Any) -> forms.CharField:
    return forms.CharField(
        widget=UnfoldAdminTextareaWidget({"rows": 4, "placeholder": PEM, "class": "pt-mono"}),
        help_text="PEM of a public key (Ed25519, ECDSA P-256 or P-384), as “prooftrail keygen” writes it. "
        "Its signatures count from now on.",
        **more,
    )


class PipelineForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    systems = forms.ModelMultipleChoiceField(
        System.objects.all(),
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Systems it may post evidence for.",
        error_messages={"required": "Choose at least one system; add it under Systems if there is none."},
    )
    kinds = forms.MultipleChoiceField(
        label="May post",
        choices=postable,
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked means everything that pipelines may post.",
    )
    public_key = _key_field(required=False, label="Public key")
    signatures_required = forms.IntegerField(
        label="Keys that sign each record",
        required=False,
        min_value=0,
        max_value=MAX_SIGNATURES,
        initial=0,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text="0: it may post unsigned, and the service signs for it. 1 or more: it posts envelopes that so many "
        "of its keys signed, and nothing else.",
    )

    class Meta:
        model = Pipeline
        fields = ("name", "systems", "kinds", "signatures_required", "is_active")
        labels = {"is_active": "Active"}
        help_texts = {
            "name": "Short, as in trading-ci.",
            "is_active": "Untick to end its access: its tokens stop working now.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """A pipeline's own kinds stay to be ticked though they are not declared (any more): left out of the form, the
        last of them would go on saving, and none ticked means everything."""
        super().__init__(*args, **kwargs)
        listed = postable()
        known = {name for name, _ in listed}
        own = [(name, f"{name} (not declared)") for name in self.instance.kinds or [] if name not in known]
        self.fields["kinds"].choices = [*listed, *own]  # type: ignore[attr-defined]  # the field above


class NewTokenForm(LedgerForm):
    label = forms.CharField(max_length=120, widget=text_input(placeholder="rotated in March"))
    days = forms.TypedChoiceField(
        label="Valid for", coerce=int, choices=DAYS, initial=365, widget=UnfoldAdminSelectWidget(choices=DAYS)
    )

    systems = forms.ModelMultipleChoiceField(
        System.objects.none(),
        required=False,
        label="Only for",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked means all of the pipeline's systems.",
    )
    kinds = forms.MultipleChoiceField(
        required=False,
        label="May post only",
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None ticked means everything that the pipeline may post.",
    )

    def __init__(self, pipeline: Pipeline, *args: Any) -> None:
        super().__init__(*args)
        systems, kinds = self.fields["systems"], self.fields["kinds"]
        if isinstance(systems, forms.ModelMultipleChoiceField) and isinstance(kinds, forms.MultipleChoiceField):
            systems.queryset = pipeline.systems.all()
            kinds.choices = [one for one in postable() if not pipeline.kinds or one[0] in pipeline.kinds]

    def limits(self) -> Limits:
        systems = frozenset(system.pk for system in self.cleaned_data["systems"])
        return Limits(systems, frozenset(self.cleaned_data["kinds"]))


class NewKeyForm(LedgerForm):
    public_key = _key_field()


@admin.register(Pipeline)
class PipelineAdmin(RoleAdmin):
    add_roles = change_roles = ("admin",)
    form = PipelineForm
    list_display = ("name", "of_systems", "of_kinds", "active")
    list_filter = ("is_active",)
    search_fields = ("name",)
    fieldsets = ((None, {"fields": ("systems", "kinds", "signatures_required", "is_active")}),)
    add_fieldsets = ((None, {"fields": ("name", "systems", "kinds", "public_key", "signatures_required")}),)
    change_form_outer_before_template = "evidence/pipeline_access.html"
    change_form_outer_after_template = "evidence/pipeline_snippets.html"
    empty_title = "No pipeline yet"
    add_label = "Add a pipeline"
    empty_text = "A pipeline is a machine that posts evidence. It gets a token and snippets to paste."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Pipeline]:
        found: QuerySet[Pipeline] = super().get_queryset(request)
        return found.prefetch_related("systems")

    @display("Systems")
    def of_systems(self, pipeline: Pipeline) -> str:
        return ", ".join(system.name for system in pipeline.systems.all())

    @display("May post")
    def of_kinds(self, pipeline: Pipeline) -> str:
        return ", ".join(pipeline.kinds) or "everything"

    @display("Access", label={"active": "success", "ended": "danger"})
    def active(self, pipeline: Pipeline) -> str:
        return "active" if pipeline.is_active else "ended"

    # -- add and change ----------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: Pipeline, form: Any, change: bool) -> None:
        """Written in `save_related`, with the systems, as one record."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        data = form.cleaned_data
        if change:
            before = Pipeline.objects.get(pk=form.instance.pk)
            change_pipeline(
                before,
                actor=actor(request),
                systems=list(data["systems"]),
                kinds=data["kinds"],
                is_active=data["is_active"],
                signatures_required=data["signatures_required"],
            )
            return
        pipeline, form.instance.new_token = create_pipeline(
            actor=actor(request),
            name=data["name"],
            systems=list(data["systems"]),
            kinds=data["kinds"],
            public_key=data["public_key"].encode() or None,
            signatures_required=data["signatures_required"] or 0,
        )
        form.instance.pk, form.instance.uid = pipeline.pk, pipeline.uid

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        """The ledger says what changed."""
        return []

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Shows the token in the very answer: it is kept nowhere."""
        return self._show_token(request, Pipeline.objects.get(pk=obj.pk), obj.new_token)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        pipeline = self.get_object(request, object_id)
        context: dict[str, Any] = {"now": timezone.now()}
        if isinstance(pipeline, Pipeline):
            context |= {
                "subtitle": pipeline.name,
                "pipeline": pipeline,
                "keys": pipeline.keys.order_by("-valid_from"),
                "tokens": pipeline.tokens.select_related("use").order_by("-created_at")[:100],
                "system_names": dict(System.objects.values_list("pk", "name")),
                "policies": pipeline.policies.all(),
                "snippets": snippets.for_pipeline(pipeline),
                "first": _first_record(pipeline),
            }
        response: HttpResponse = super().change_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    # -- tokens, keys, the first record ------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        pages = {
            "<int:pk>/first-record/": ("first", self.first_record),
            "<int:pk>/tokens/add/": ("token_add", self.token_add),
            "<int:pk>/tokens/<str:token_id>/revoke/": ("token_revoke", self.token_revoke),
            "<int:pk>/keys/add/": ("key_add", self.key_add),
            "<int:pk>/keys/<str:key_id>/revoke/": ("key_revoke", self.key_revoke),
        }
        own = [
            path(route, self.admin_site.admin_view(view), name=f"evidence_pipeline_{name}")
            for route, (name, view) in pages.items()
        ]
        return [*own, *super().get_urls()]

    def _pipeline(self, request: HttpRequest, pk: int) -> Pipeline:
        if not self.has_change_permission(request):
            raise PermissionDenied
        pipeline = Pipeline.objects.filter(pk=pk).first()
        if pipeline is None:
            raise Http404("there is no such pipeline")
        return pipeline

    def _show_token(self, request: HttpRequest, pipeline: Pipeline, new: NewToken) -> HttpResponse:
        return page(
            request,
            "evidence/pipeline_token.html",
            title="New token",
            crumbs=_crumbs(pipeline),
            pipeline=pipeline,
            new=new,
            snippets=snippets.for_pipeline(pipeline, new.text),
            first=_first_record(pipeline),
        )

    def first_record(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Whether something has arrived from it: what the page asks every two seconds until it has."""
        return JsonResponse(_first_record(self._pipeline(request, pk)) or {"index": None})

    def token_add(self, request: HttpRequest, pk: int) -> HttpResponse:
        pipeline = self._pipeline(request, pk)
        form = NewTokenForm(pipeline, request.POST or None)
        if request.method == "POST":
            new = written(
                form,
                lambda: issue_token(
                    pipeline,
                    actor=actor(request),
                    label=form.cleaned_data["label"],
                    days=form.cleaned_data["days"],
                    limits=form.limits(),
                    idempotency=form.idempotency(request),
                ),
            )
            if new is not None and Token.objects.filter(pk=new.token.pk).exists():
                return self._show_token(request, pipeline, new)
            if new is not None:
                messages.warning(request, "This form was sent already; its token was shown once.")
                return self._back(pipeline)
        return form_page(
            request,
            form,
            title="New token",
            lead=f"A further token for {pipeline.name}. It is shown once; the ones before go on working until ended.",
            submit="Issue the token",
            cancel=_url(pipeline),
            crumbs=_crumbs(pipeline),
        )

    def token_revoke(self, request: HttpRequest, pk: int, token_id: str) -> HttpResponse:
        pipeline = self._pipeline(request, pk)
        token = pipeline.tokens.filter(pk=token_id, revoked_at=None).first()
        if token is None:
            raise Http404("there is no such token")
        return self._end(
            request,
            pipeline,
            lambda reason: revoke_token(token, actor=actor(request), reason=reason),
            title="End a token",
            lead=f"{pipeline.name} can no longer post with the token “{token.label or token.pk}”, from now on.",
            submit="End this token",
        )

    def key_add(self, request: HttpRequest, pk: int) -> HttpResponse:
        pipeline = self._pipeline(request, pk)
        form = NewKeyForm(request.POST or None)
        if request.method == "POST" and written(form, lambda: _add_key(request, pipeline, form)) is not None:
            messages.success(request, "Signatures of this key count from now on.")
            return self._back(pipeline)
        return form_page(
            request,
            form,
            title="Add a key",
            lead=f"Records that {pipeline.name} signs with the private half are kept as sent, signature and all.",
            submit="Add the key",
            cancel=_url(pipeline),
            crumbs=_crumbs(pipeline),
        )

    def key_revoke(self, request: HttpRequest, pk: int, key_id: str) -> HttpResponse:
        pipeline = self._pipeline(request, pk)
        key = PipelineKey.objects.filter(pipeline=pipeline, key_id=key_id, valid_until=None).first()
        if key is None:
            raise Http404("there is no such key")
        return self._end(
            request,
            pipeline,
            lambda reason: revoke_key(key, actor=actor(request), reason=reason),
            title="End a key",
            lead=f"Signatures of key {key} no longer count from now on. What was accepted stays accepted.",
            submit="End this key",
        )

    def _end(self, request: HttpRequest, pipeline: Pipeline, write: Any, **texts: str) -> HttpResponse:
        form = ReasonForm(request.POST or None)
        if request.method == "POST" and written(form, lambda: [write(form.cleaned_data["reason"])]) is not None:
            messages.success(request, "Done: it no longer works.")
            return self._back(pipeline)
        return form_page(request, form, danger=True, cancel=_url(pipeline), crumbs=_crumbs(pipeline), **texts)

    def _back(self, pipeline: Pipeline) -> HttpResponse:
        return HttpResponseRedirect(_url(pipeline))


def _add_key(request: HttpRequest, pipeline: Pipeline, form: NewKeyForm) -> PipelineKey:
    return add_key(pipeline, actor=actor(request), public_key=form.cleaned_data["public_key"].encode())


def _url(pipeline: Pipeline) -> str:
    return reverse("admin:evidence_pipeline_change", args=[pipeline.pk])


def _crumbs(pipeline: Pipeline) -> list[tuple[str, str]]:
    return [(reverse("admin:evidence_pipeline_changelist"), "Pipelines"), (_url(pipeline), pipeline.name)]


def _first_record(pipeline: Pipeline) -> dict[str, Any] | None:
    # What it posts, not what signing in with an id-token writes for it.
    posted = Record.objects.filter(principal=pipeline.uid).exclude(kind__startswith="access.")
    record = posted.order_by("index").first()
    if record is None:
        return None
    known = kinds.load().by_name.get(record.kind)
    url = reverse("admin:evidence_record_change", args=[record.index])
    return {"index": record.index, "kind": known.title if known else record.kind, "url": url}
