"""Longer things that people record on a release's page: the plan of its cutover, and a hotfix with what it cures."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from evidence import events, incidents, planned, release_policy
from evidence.admin.forms import LedgerForm, page, person, text_input
from evidence.admin.release_steps import WORKERS, back_when_recorded, form_or_back, record, require
from evidence.admin_base import has_role
from evidence.deploys import PRODUCTION, STAGING
from evidence.ledger import Placed
from evidence.models import Release
from evidence.planned import Plan
from evidence.tlog.leaf import format_time

#: Empty rows below the planned steps, and the most that a plan has.
SPARE, MOST = 3, 50
_MINUTE = "%Y-%m-%dT%H:%M"
_DEPLOYS = [("", "–"), (STAGING, "staging"), (PRODUCTION, "production")]
PLANNERS = ("captain",)
_LABELS = ("Step", "Owner", "From (UTC)", "To (UTC)", "Deploy")
_PARTS = ("step", "owner", "from", "to", "deploy")


def may_plan(request: HttpRequest, release: Release) -> bool:
    return release.state == "open" and has_role(request, PLANNERS)


class PlanForm(LedgerForm):
    """A row of fields for each step; a row whose step is empty is no step."""

    def __init__(self, *args: Any, plans: Sequence[Plan], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.count = min(MOST, len(plans) + SPARE)
        for number in range(self.count):
            plan = plans[number] if number < len(plans) else Plan("", "", None, None, None)
            self._row(number, plan)

    def _row(self, number: int, plan: Plan) -> None:
        def named(what: str) -> dict[str, str]:
            return {"aria-label": f"{what}, step {number + 1}"}

        def moment(what: str, initial: datetime | None) -> forms.Field:
            widget = UnfoldAdminTextInputWidget({"type": "datetime-local", **named(what)})
            shown = initial.astimezone(UTC).strftime(_MINUTE) if initial else None
            return forms.DateTimeField(required=False, input_formats=[_MINUTE], initial=shown, widget=widget)

        rows = {
            f"step_{number}": forms.CharField(
                required=False, max_length=120, initial=plan.step, widget=text_input(**named("Name"))
            ),
            f"owner_{number}": forms.CharField(
                required=False, max_length=120, initial=plan.owner, widget=text_input(**named("Owner"))
            ),
            f"from_{number}": moment("From (UTC)", plan.start),
            f"to_{number}": moment("To (UTC)", plan.end),
            f"deploy_{number}": forms.ChoiceField(
                required=False,
                choices=_DEPLOYS,
                initial=plan.deploy,
                widget=UnfoldAdminSelectWidget(named("Deploy"), choices=_DEPLOYS),
            ),
        }
        for (name, field), label in zip(rows.items(), _LABELS, strict=True):
            field.label = label
            self.fields[name] = field

    def rows(self) -> list[list[forms.BoundField]]:
        return [[self[f"{part}_{number}"] for part in _PARTS] for number in range(self.count)]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        seen: set[str] = set()
        for number in range(self.count):
            self._check(number, data, seen)
        if not seen:
            self.add_error(None, "A plan has a step at least.")
        return data

    def _check(self, number: int, data: dict[str, Any], seen: set[str]) -> None:
        step, start, end = (data.get(f"{part}_{number}") for part in ("step", "from", "to"))
        if not step:
            if start or end or data.get(f"owner_{number}"):
                self.add_error(f"step_{number}", "Name the step, or empty its row.")
            return
        if step.casefold() in seen:
            self.add_error(f"step_{number}", "There is a step of this name.")
        seen.add(step.casefold())
        for part, given in (("from", start), ("to", end)):
            if not given and f"{part}_{number}" not in self.errors:
                self.add_error(f"{part}_{number}", "When?")
        if start and end and end < start:
            self.add_error(f"to_{number}", "It ends before it begins.")

    def body(self) -> dict[str, Any]:
        """The `cutover.planned` record that this form describes."""
        data, steps = self.cleaned_data, []
        for number in range(self.count):
            if data[f"step_{number}"]:
                times = {part: format_time(data[f"{part}_{number}"]) for part in ("from", "to")}
                more = {part: data[f"{part}_{number}"] for part in ("owner", "deploy") if data[f"{part}_{number}"]}
                steps.append({"step": data[f"step_{number}"], **times, **more})
        return {"steps": sorted(steps, key=lambda step: str(step["from"]))}


def plan_view(request: HttpRequest, release: Release, back: str, crumbs: Any) -> HttpResponse:
    """The steps as they are planned now, by the policy or the release's own plan, to be planned anew."""
    require(request, release, PLANNERS)
    known = events.of_release(release.pk, kinds=["cutover.planned"])
    plans = planned.plans(release, known, release_policy.load())
    form = PlanForm(request.POST or None, plans=plans)

    def write() -> Placed:
        return record(request, release, form, "cutover.planned", form.body())

    own = bool(known)
    return back_when_recorded(request, form, write, f"{back}#cutover") or page(
        request,
        "evidence/cutover_plan.html",
        title="Plan the cutover",
        crumbs=crumbs,
        release=release,
        form=form,
        own=own,
        cancel=back,
    )


class HotfixForm(LedgerForm):
    severity = forms.TypedChoiceField(
        coerce=int,
        choices=[(1, "1, the worst"), (2, "2"), (3, "3")],
        widget=UnfoldAdminSelectWidget(choices=[(1, "1, the worst"), (2, "2"), (3, "3")]),
    )
    incident = forms.CharField(
        required=False,
        max_length=80,
        widget=text_input(),
        help_text="The incident that it cures: its own gate does not stop for it.",
    )
    trigger = forms.CharField(max_length=2000, label="Why", widget=UnfoldAdminTextareaWidget({"rows": 3}))
    owner = forms.CharField(max_length=120, widget=text_input())
    surface_lines = forms.CharField(
        required=False,
        label="Impacted surfaces",
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="One a line.",
    )
    root_cause = forms.CharField(
        required=False,
        max_length=4000,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Where it is known. The release is not closed without it.",
    )

    def body(self) -> dict[str, Any]:
        data = self.cleaned_data
        surfaces = [line.strip() for line in data["surface_lines"].splitlines() if line.strip()]
        names = ("severity", "trigger", "owner", "incident", "root_cause")
        return {name: value for name, value in {**{n: data[n] for n in names}, "surfaces": surfaces}.items() if value}


def hotfix_view(request: HttpRequest, release: Release, back: str, crumbs: Any) -> HttpResponse:
    """A `hotfix` record, filled in with the newest incident that is open in the system."""
    require(request, release, WORKERS)
    form = HotfixForm(request.POST or None, initial=_known(request, release))

    def write() -> Placed:
        return record(request, release, form, "hotfix", form.body())

    lead = "Record that this release is the answer to trouble in production, and to which."
    return form_or_back(request, form, write, back, title="Record a hotfix", lead=lead, submit="Record", crumbs=crumbs)


def _known(request: HttpRequest, release: Release) -> dict[str, Any]:
    found = {"owner": person(request).name, "surface_lines": "\n".join(release.surfaces)}
    opened = next(iter(incidents.open_in(release.system_id)), None)
    if opened is None:
        return found
    severity = opened.facts.get("severity")
    return found | {"incident": opened.facts["incident"], "severity": severity if severity in (1, 2, 3) else 3}
