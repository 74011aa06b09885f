"""What people do on a release's page besides signing off: answer the checklist, run the cutover, tell, end it."""

from collections.abc import Callable, Mapping
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget

from evidence.admin.forms import LedgerForm, actor, form_page, person, text_input, written
from evidence.admin_base import has_role
from evidence.checklist import Item, Section, answer_body
from evidence.ledger import Placed
from evidence.models import Release
from evidence.readiness import checklist_state, readiness
from evidence.records import append_plain
from evidence.releases import ENDERS, end

#: Roles that work on a release; approvers answer checklists and confirm steps as well.
WORKERS = ("captain", "engineer", "approver", "liaison")


class ChecklistForm(LedgerForm):
    answer = forms.ChoiceField(
        choices=[("done", "Done"), ("excused", "Does not apply, or is not done, because …")],
        initial="done",
        widget=UnfoldAdminRadioSelectWidget,
    )
    evidence = forms.CharField(
        required=False,
        max_length=500,
        widget=text_input(placeholder="#42 or https://"),
        help_text="A record by its number, an address, or where it is kept.",
    )
    reason = forms.CharField(
        required=False,
        max_length=500,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Required where it is not done.",
    )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        done = data.get("answer") == "done"
        if done and not (data.get("evidence") or "").strip():
            self.add_error("evidence", "Say what shows that it is done.")
        if not done and not (data.get("reason") or "").strip():
            self.add_error("reason", "Say why.")
        return data


class CutoverForm(LedgerForm):
    note = forms.CharField(required=False, max_length=2000, widget=UnfoldAdminTextareaWidget({"rows": 3}))


class NoticeForm(LedgerForm):
    audience = forms.CharField(max_length=120, widget=text_input(list="audiences", placeholder="Customer Support"))
    channel = forms.CharField(max_length=120, widget=text_input(placeholder="#trading-support"))
    text = forms.CharField(required=False, max_length=4000, widget=UnfoldAdminTextareaWidget({"rows": 4}))


class EndForm(LedgerForm):
    reason = forms.CharField(
        max_length=2000, widget=UnfoldAdminTextareaWidget({"rows": 3}), help_text="It becomes part of the record."
    )


def may_work(request: HttpRequest, release: Release) -> bool:
    return release.state == "open" and has_role(request, WORKERS)


def may_end(request: HttpRequest, release: Release) -> bool:
    return release.state == "open" and has_role(request, ENDERS)


def require(request: HttpRequest, release: Release, roles: tuple[str, ...]) -> None:
    """Whoever may not do it goes no further. Whether the release is still open is, of a form that is sent, the ledger's
    to say: an impatient second click is answered as the first, also where that one ended it (R4.1)."""
    if not has_role(request, roles) or (request.method != "POST" and release.state != "open"):
        raise PermissionDenied


def record(request: HttpRequest, release: Release, form: LedgerForm, kind: str, body: Mapping[str, Any]) -> Placed:
    """A record of the person's own, by the same way as over the API."""
    return append_plain(
        {"kind": kind, "release": release.pk, "body": dict(body)},
        principal=person(request),
        actor=actor(request),
        idempotency=form.idempotency(request),
    )


def back_when_recorded(
    request: HttpRequest, form: LedgerForm, write: Callable[[], Placed], back: str, said: str = "Recorded as #{}."
) -> HttpResponse | None:
    """Where a form that was sent leads once its record is written; None as long as it is not."""
    placed = written(form, write) if request.method == "POST" else None
    if placed is None:
        return None
    messages.success(request, said.format(placed.index))
    return HttpResponseRedirect(back)


def form_or_back(
    request: HttpRequest, form: LedgerForm, write: Callable[[], Placed], back: str, **context: Any
) -> HttpResponse:
    """A form's page, or back to the release once its record is written."""
    return back_when_recorded(request, form, write, back) or form_page(request, form, cancel=back, **context)


def checklist_view(request: HttpRequest, release: Release, item_id: str, back: str, crumbs: Any) -> HttpResponse:
    require(request, release, WORKERS)
    section, item = _item(release, item_id)
    form = ChecklistForm(request.POST or None)

    def write() -> Placed:
        data = form.cleaned_data
        body = answer_body(
            section, item, done=data["answer"] == "done", evidence=data["evidence"], reason=data["reason"]
        )
        return record(request, release, form, "release.checklist", body)

    return form_or_back(
        request,
        form,
        write,
        back,
        title=item.title,
        lead=f"{section.title}: {item.title}.",
        submit="Record",
        crumbs=crumbs,
    )


def _item(release: Release, item_id: str) -> tuple[Section, Item]:
    for section in checklist_state(release).sections:
        for item in section.items:
            if item.id == item_id:
                return section, item
    raise Http404(f"the checklist has no item {item_id}")


def cutover_view(request: HttpRequest, release: Release, number: int, back: str, crumbs: Any) -> HttpResponse:
    """Start or finish the step that stands in this place."""
    require(request, release, WORKERS)
    steps = readiness(release).cutover
    if number >= len(steps):
        raise Http404(f"the cutover has no step {number}")
    step = steps[number]
    form = CutoverForm(request.POST or None)
    state, verb = ("finished", "Finish") if step.started else ("started", "Start")

    def write() -> Placed:
        body = {"step": step.step, "state": state, "note": form.cleaned_data["note"]}
        return record(request, release, form, "cutover.step", {k: v for k, v in body.items() if v})

    lead = f"Recorded with your name and this moment as the time when “{step.step}” {state}."
    return form_or_back(request, form, write, back, title=f"{verb}: {step.step}", lead=lead, submit=verb, crumbs=crumbs)


def notice_view(request: HttpRequest, release: Release, back: str, crumbs: Any) -> HttpResponse:
    require(request, release, WORKERS)
    form = NoticeForm(request.POST or None)

    def write() -> Placed:
        data = {name: form.cleaned_data[name] for name in ("audience", "channel", "text") if form.cleaned_data[name]}
        return record(request, release, form, "notice.sent", data | {"owner": person(request).name})

    lead = "Record that you told somebody about this release. Prooftrail sends nothing itself."
    return form_or_back(request, form, write, back, title="Record a notice", lead=lead, submit="Record", crumbs=crumbs)


def end_view(request: HttpRequest, release: Release, verb: str, back: str, crumbs: Any) -> HttpResponse:
    """Close or cancel, with a reason; refused while something must come first."""
    require(request, release, ENDERS)
    form = EndForm(request.POST or None)
    kind, title, lead = {
        "close": (
            "release.closed",
            "Close the release",
            "Nothing can be added to it afterwards. Rollbacks and hotfixes need their root cause first, a deploy "
            "without approval its retrospective decisions.",
        ),
        "cancel": (
            "release.cancelled",
            "Cancel the release",
            "It will not be deployed, and nothing can be added to it afterwards. What was recorded stays.",
        ),
    }[verb]

    def write() -> Placed:
        return end(
            release=release,
            person=person(request),
            actor=actor(request),
            kind=kind,
            reason=form.cleaned_data["reason"],
            idempotency=form.idempotency(request),
        )

    return form_or_back(
        request, form, write, back, title=title, lead=lead, submit=title, danger=verb == "cancel", crumbs=crumbs
    )
