"""What people fill in about a risk, and about a file of them."""

from datetime import date
from typing import Any, ClassVar
from uuid import uuid4

from django import forms
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminFileFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextInputWidget,
)

from evidence.ledger import Idempotency
from evidence.models import User
from exceptions import risk_links, risk_policy, risks
from exceptions.admin.forms import PersonField, ReasonForm, SystemsField, area, lines
from exceptions.exchange.fields import BAR, FIELDS
from exceptions.importing.dates import DAY_FIRST, MONTH_FIRST
from exceptions.models import Risk


def step_field(name: str, label: str, *, required: bool = True) -> forms.TypedChoiceField:
    """A step of the scale by its number, its word and what that stands for."""
    scale = getattr(risk_policy.load(), name.removeprefix("residual_"))
    return forms.TypedChoiceField(
        label=label,
        required=required,
        coerce=int,
        empty_value=None,
        choices=[("", "Choose" if required else "Not judged yet"), *((step.value, _told(step)) for step in scale)],
        widget=UnfoldAdminSelectWidget,
    )


def _told(step: risk_policy.Word) -> str:
    return f"{step}: {step.means}" if step.means else str(step)


class RiskForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    answerable = PersonField(label="Owner", help_text="Who answers for the mitigation.")
    covered = SystemsField(label="Systems", required=False, help_text="None means the whole company.")
    exceptions = forms.CharField(
        required=False,
        widget=area(2),
        help_text="Numbers such as EXC-0001, one a line; those that name the risk show anyway.",
    )
    incidents = forms.CharField(
        required=False, widget=area(2), help_text="Names as in the record that opened them, one a line."
    )
    controls = forms.MultipleChoiceField(required=False, widget=UnfoldAdminCheckboxSelectMultipleWidget)
    items = forms.CharField(
        label="Action items",
        required=False,
        widget=area(3),
        help_text="One a line: what | owner's mail address | open, done or dropped | until when, as in "
        "Second DNS provider | lea@example.com | open | 2027-03-31. State and date may be left out.",
    )
    status = forms.ChoiceField(
        choices=[row for row in Risk.STATUSES if row[0] != Risk.CLOSED], widget=UnfoldAdminSelectWidget
    )
    review_by = forms.DateField(
        label="Next review",
        required=False,
        widget=UnfoldAdminSingleDateWidget({"placeholder": "2027-03-31"}),
        help_text="Empty: as late as its level allows.",
    )
    reason = forms.CharField(
        max_length=4000, widget=UnfoldAdminTextInputWidget, help_text="Why it changes. It is recorded."
    )
    #: An impatient second click sends the same one: it is the same entry, not another.
    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)

    #: The systems of who fills it in (opaque ids); None means all.
    visible: ClassVar[list[str] | None] = None

    class Meta:
        model = Risk
        fields = ("title", "reference", "description", "cause", "consequence", "mitigation", "contingency")
        widgets: ClassVar[dict[str, forms.Widget]] = {
            name: area(3) for name in ("description", "cause", "consequence", "mitigation", "contingency")
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name, label in _STEPS.items():
            self.fields[name] = step_field(name, label, required=not name.startswith("residual"))
        for name in ("review_by",) if self.instance.pk else ("reason",):
            del self.fields[name]
        if isinstance(covered := self.fields.get("covered"), SystemsField):
            covered.narrow(self.visible)
        titles = risk_links.controls()
        known = sorted({*titles, *self.instance.controls})
        self.fields["controls"].choices = [(name, f"{titles.get(name, 'no longer there')} ({name})") for name in known]  # type: ignore[attr-defined]  # a choice field
        if self.instance.pk:
            self._show(self.instance)

    def _show(self, risk: Risk) -> None:
        """What the risk says now, so that what differs is what changes."""
        owners = {risk.owner, *(item["owner"] for item in risk.action_items)}
        people = {user.uid: user for user in User.objects.filter(uid__in=owners)}
        for name in (*_STEPS, "status", "controls"):
            self.fields[name].initial = getattr(risk, name)
        self.fields["answerable"].initial = people.get(risk.owner)
        named = risk_links.named_by(risk, self.visible)
        self.fields["exceptions"].initial = "\n".join(named["exceptions"])
        self.fields["incidents"].initial = "\n".join(named["incidents"])
        mails = {uid: user.email for uid, user in people.items()}
        self.fields["items"].initial = "\n".join(_item_line(item, mails) for item in risk.action_items)
        self.fields["covered"].initial = list(risk.systems)

    def clean_items(self) -> list[dict[str, Any]]:
        """Each line apart; who owns it is looked up when it is recorded."""
        return [_item(line) for line in lines(self.cleaned_data["items"])]

    def clean(self) -> dict[str, Any]:
        super().clean()
        if self.instance.pk and not self.errors and not self.changes():
            raise forms.ValidationError("Nothing here differs from what the register says.")
        return self.cleaned_data

    def _reads_the_same(self, name: str) -> bool:
        """Browsers end lines in their own way, which is no change."""
        was, now = self.get_initial_for_field(self.fields[name], name), self.data.get(self.add_prefix(name))
        if not isinstance(was, str) or not isinstance(now, str):
            return False
        return was.replace("\r\n", "\n").strip() == now.replace("\r\n", "\n").strip()

    def idempotency(self, request: HttpRequest) -> Idempotency | None:
        if not self.cleaned_data["once"]:
            return None
        body = repr(sorted((name, str(value)) for name, value in self.cleaned_data.items()))
        return Idempotency.of(str(self.cleaned_data["once"]), method="POST", path=request.path, body=body.encode())

    def said(self) -> dict[str, Any]:
        """What the form says, in the words of `risks.RiskEntry`."""
        data = self.cleaned_data
        said = {name: data[name] for name in (*self.Meta.fields, *_STEPS, "status")}
        return said | {
            "owner": data["answerable"].email,
            "systems": [system.name for system in data["covered"]],
            "links": {
                "exceptions": lines(data["exceptions"]),
                "incidents": lines(data["incidents"]),
                "controls": list(data["controls"]),
            },
            "action_items": data["items"],
        }

    def changes(self) -> dict[str, Any]:
        """The part of it that differs from what the risk says now."""
        named = {"answerable": "owner", "covered": "systems", "items": "action_items"}
        changed = {named.get(name, name) for name in self.changed_data if not self._reads_the_same(name)}
        said = self.said()
        links = {name: value for name, value in said.pop("links").items() if name in changed}
        found = {name: value for name, value in said.items() if name in changed}
        return found | ({"links": links} if links else {})


_STEPS = {
    "likelihood": "Likelihood",
    "impact": "Impact",
    "residual_likelihood": "Likelihood after treatment",
    "residual_impact": "Impact after treatment",
}


def _item_line(item: dict[str, Any], mails: dict[str, str]) -> str:
    parts = [item["title"], mails.get(item["owner"], item["owner_name"]), item["state"], item.get("due", "")]
    return BAR.join(part for part in parts if part)


def _item(line: str) -> dict[str, Any]:
    title, *rest = [part.strip() for part in line.split("|")]
    if not title or len(title) > 200 or not 1 <= len(rest) <= 3:
        raise forms.ValidationError(f"“{line[:80]}” is not: what | owner's mail address | state | until when.")
    state = (rest[1] if len(rest) > 1 and rest[1] else "open").lower()
    if state not in risks.STATES_OF_ITEMS:
        raise forms.ValidationError(f"“{line[:80]}”: its state is none of {', '.join(risks.STATES_OF_ITEMS)}.")
    found = {"title": title, "owner": rest[0], "state": state}
    try:
        return found | ({"due": date.fromisoformat(rest[2])} if len(rest) > 2 and rest[2] else {})
    except ValueError:
        raise forms.ValidationError(f"“{line[:80]}”: {rest[2]} is no date such as 2027-03-31.") from None


class ReviewForm(ReasonForm):
    """A review of a risk."""

    review_by = forms.DateField(
        label="Next review", required=False, widget=UnfoldAdminSingleDateWidget({"placeholder": "2027-03-31"})
    )
    field_order = ("reason", "review_by")

    def __init__(self, *args: Any, risk: Risk, latest: date, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].label = "What the review found"
        self.fields["reason"].help_text = "Whether the rating still holds and the mitigation works. It is recorded."
        self.fields["review_by"].help_text = f"At the latest {latest}, as it is {risk.level}; empty means then."


# -- files -------------------------------------------------------------------------------------------------------------


class RiskFileForm(forms.Form):
    file = forms.FileField(
        label="Register",
        widget=UnfoldAdminFileFieldWidget({"accept": ".csv,.xlsx,.json"}),
        help_text="CSV, XLSX or JSON, at most 8 MiB. Nothing is recorded yet: you see first what becomes of each row.",
    )


class RiskMappingForm(forms.Form):
    """What the file's columns and words mean, and what new risks are where it says nothing."""

    DEFAULTS = ("likelihood", "impact", "owner", "systems")
    WORDS = ("owner", "status", "likelihood", "impact", "systems")
    dates = forms.ChoiceField(
        label="03/04/2027 is",
        required=False,
        choices=[("", "not said: such dates are refused"), (DAY_FIRST, "3 April"), (MONTH_FIRST, "4 March")],
        widget=UnfoldAdminSelectWidget,
    )

    def __init__(
        self,
        *args: Any,
        headings: list[str],
        columns: dict[str, str],
        used: dict[str, Any],
        unknown: dict[str, list[str]],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["dates"].initial = used.get("dates") or ""
        choices = [("", "no column"), *((heading, heading) for heading in headings)]
        for name in self.DEFAULTS:
            default = forms.CharField(required=False, max_length=500, widget=UnfoldAdminTextInputWidget)
            default.label, default.initial = f"{_title(name)} of new risks, where empty", used["defaults"].get(name, "")
            self.fields[f"default_{name}"] = default
        for name in self.WORDS:
            words = forms.CharField(required=False, max_length=20_000, widget=area(2))
            words.label = f"{_title(name)}: words of the file"
            words.help_text = "One a line: what the file says = what it means, as Engineering Lead = lea@example.com"
            pairs = used["values"].get(name, {}) | dict.fromkeys(unknown.get(name, []), "")
            words.initial = "\n".join(f"{said} = {meant}" for said, meant in pairs.items())
            self.fields[f"words_{name}"] = words
        for name in FIELDS:
            column = forms.ChoiceField(choices=choices, required=False, initial=columns.get(name, ""))
            column.widget = UnfoldAdminSelectWidget(choices=choices)
            column.label = f"{_title(name)}: column"
            self.fields[f"column_{name}"] = column

    def meanings(self) -> list[forms.BoundField]:
        return [field for field in self.visible_fields() if not field.name.startswith("column_")]

    def columns(self) -> list[forms.BoundField]:
        return [field for field in self.visible_fields() if field.name.startswith("column_")]

    def said(self) -> dict[str, Any]:
        data = self.cleaned_data
        words = {name: _pairs(data[f"words_{name}"]) for name in self.WORDS}
        return {
            "columns": {name: data[f"column_{name}"] or None for name in FIELDS},
            "defaults": {name: data[f"default_{name}"] for name in self.DEFAULTS if data[f"default_{name}"]},
            "values": {name: known for name, known in words.items() if known},
            "dates": data["dates"] or None,
        }


def _title(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _pairs(text: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in text.splitlines()]
    return {said.strip(): meant.strip() for said, _, meant in pairs if said.strip() and meant.strip()}
