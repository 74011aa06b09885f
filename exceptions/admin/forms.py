"""What people fill in: a request, and each verb's confirmation."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from django import forms
from django.http import HttpRequest
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSingleDateWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from config.errors import InvalidError
from evidence.admin.forms import LedgerForm
from evidence.gate import policy as gate_policy
from evidence.ledger import Idempotency
from evidence.models import System, User
from evidence.people import visible_systems
from exceptions.dates import parse_expiry, parse_start
from exceptions.frozen import terms_seen
from exceptions.lifecycle import Application
from exceptions.models import Risk, SecurityException
from exceptions.models.terms import SEVERITIES

DATES = "A date, which ends at 23:59:59 UTC, or a time with its offset such as 2026-03-31T18:00:00Z."


class MomentField(forms.CharField):
    """A date or a time with offset. `parse` is one of `exceptions.dates`."""

    def __init__(self, *, parse: Any, **kwargs: Any) -> None:
        self.parse = parse
        widget = UnfoldAdminSingleDateWidget({"placeholder": "2026-03-31"})
        super().__init__(max_length=40, widget=widget, **kwargs)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if text in self.empty_values:
            return None
        try:
            return self.parse(text)
        except InvalidError as error:
            raise forms.ValidationError(error.detail, code=error.code) from None


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def area(rows: int = 3) -> forms.Widget:
    widget: forms.Widget = UnfoldAdminTextareaWidget({"rows": rows})
    return widget


class PersonField(forms.ModelChoiceField):  # type: ignore[type-arg]  # generic for the type checker only
    def __init__(self, **kwargs: Any) -> None:
        people = User.objects.filter(is_active=True)
        super().__init__(people, widget=UnfoldAdminSelectWidget, **kwargs)


class SystemsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg]  # generic for the type checker only
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(System.objects.all(), widget=UnfoldAdminCheckboxSelectMultipleWidget, **kwargs)

    def narrow(self, visible: Sequence[str] | None) -> None:
        """Only what somebody may see (`visible_systems`). Of a form's own field: the class's is everybody's."""
        if visible is not None:
            self.queryset = System.objects.filter(pk__in=visible)


class AskedForm(forms.Form):
    """What an exception says besides title, reason and dates. Made for one person: `asked_by`."""

    asked_by: User

    severity = forms.ChoiceField(
        choices=[("", "Choose"), *SEVERITIES],
        widget=UnfoldAdminSelectWidget,
        help_text="It decides how many people approve, and beyond which term an executive has to be among them.",
    )
    covered = SystemsField(label="Systems")
    answerable = PersonField(label="Owner", help_text="Who answers for it. Owner and requester cannot approve.")
    waived = forms.CharField(
        label="Requirements waived",
        required=False,
        widget=area(2),
        help_text="Names from the gate policy, one a line; none if it waives nothing at a gate.",
    )
    named_releases = forms.CharField(
        label="For these releases alone",
        required=False,
        widget=area(2),
        help_text="As netlify-trading:release-20260312, one a line; none means every release of the systems.",
    )
    concerns = forms.ModelChoiceField(
        Risk.objects.exclude(status="closed"), label="Risk", required=False, widget=UnfoldAdminSelectWidget
    )
    control_lines = forms.CharField(
        label="Compensating controls",
        required=False,
        widget=area(),
        help_text="One a line; after a | where its evidence is: Traffic is mirrored | https://wiki.example/tls",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if isinstance(covered := self.fields.get("covered"), SystemsField):
            covered.narrow(visible_systems(self.asked_by))
        if "waived" in self.fields and (names := ", ".join(_waivable())):
            self.fields[
                "waived"
            ].help_text = f"One a line, none if it waives nothing at a gate. The policy has {names}."

    def asked(self) -> dict[str, Any]:
        """What the form says, by the members of an application."""
        data = self.cleaned_data
        controls = [line.partition("|") for line in lines(data["control_lines"])]
        return {
            "title": data["title"],
            "justification": data["justification"].replace("\r\n", "\n"),
            "severity": data["severity"],
            "systems": sorted(system.name for system in data["covered"]),
            "owner": data["answerable"].email,
            "requirements": lines(data["waived"]),
            "releases": lines(data["named_releases"]),
            "risk": data["concerns"].pk if data["concerns"] else None,
            "compensating_controls": [
                {"title": title.strip()} | ({"evidence": evidence.strip()} if evidence.strip() else {})
                for title, _, evidence in controls
            ],
        }


class RequestForm(forms.ModelForm, AskedForm):  # type: ignore[type-arg]  # generic for the type checker only
    """An unsent form is the draft: private, and no record. A subclass says for whom it is made."""

    starts = MomentField(
        label="Effective from",
        parse=parse_start,
        required=False,
        help_text="Since when the condition exists, at most 30 days back. Empty means now.",
    )
    until = MomentField(label="Expires", parse=parse_expiry, help_text=DATES)
    #: An impatient second click sends the same one: it is the same request, not another.
    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)

    class Meta:
        model = SecurityException
        fields = ("title", "justification", "severity")

    def idempotency(self, path: str) -> Idempotency | None:
        """The form's own key; None where a client did not send it."""
        if not self.cleaned_data["once"]:
            return None
        body = repr(sorted((name, str(value)) for name, value in self.cleaned_data.items()))
        return Idempotency.of(str(self.cleaned_data["once"]), method="POST", path=path, body=body.encode())

    def application(self) -> Application:
        """What the form asks for."""
        data = self.cleaned_data
        return Application(**self.asked(), effective_from=data["starts"], expires_at=data["until"])


def _waivable() -> list[str]:
    """What may be waived at a gate; nothing is offered while the policy cannot be read."""
    try:
        return [one.name for one in gate_policy.load().requirements("") if one.waivable]
    except InvalidError:
        return []


class DecisionForm(LedgerForm):
    """The confirmation of one transition. Sent without the page's key, as by a script, it is not deduplicated."""

    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4, required=False)

    def idempotency_or_none(self, request: HttpRequest) -> Idempotency | None:
        return self.idempotency(request) if self.cleaned_data["once"] else None

    @classmethod
    def of(cls, sent: Any, found: SecurityException, person: User) -> "DecisionForm":
        """The form about one exception, empty or as it was sent."""
        return cls(sent, initial={"terms": terms_seen(found)})

    def said(self) -> dict[str, Any]:
        """What the transition is told, by the names of its arguments."""
        return {name: value for name, value in self.cleaned_data.items() if name != "once"}


class ReasonForm(DecisionForm):
    reason = forms.CharField(max_length=4000, widget=area(), help_text="It is recorded with the decision.")


class ApproveForm(DecisionForm):
    """Approves the very terms that the page showed: what was changed since is looked at again."""

    terms = forms.CharField(max_length=80, required=False, widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=4000, required=False, label="Comment", widget=area(), help_text="It is recorded with the decision."
    )

    def said(self) -> dict[str, Any]:
        return super().said() | {"terms": self.cleaned_data["terms"] or None}


class RecordsField(forms.CharField):
    """Indexes of records, as ``#12, #15``."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=400, widget=UnfoldAdminTextInputWidget, **kwargs)

    def clean(self, value: Any) -> list[int]:
        found = super().clean(value).replace(",", " ").split()
        if any(not re.fullmatch(r"#?[0-9]{1,18}", one) for one in found):
            raise forms.ValidationError("Name records by their index, as #12, #15.")
        return [int(one.lstrip("#")) for one in found]


class RemediateForm(ReasonForm):
    evidence = RecordsField(
        required=False,
        label="Records that show it",
        help_text="By index, as #12, #15. The more severe ones need at least one.",
    )


class SupersedeForm(ReasonForm):
    by = forms.CharField(
        max_length=16,
        label="What takes its place",
        widget=UnfoldAdminTextInputWidget({"placeholder": "EXC-0042"}),
        help_text="The number of an exception that is active.",
    )
    field_order = ("by", "reason")


class RenewForm(ReasonForm):
    expires_at = MomentField(label="New expiry", parse=parse_expiry, help_text=DATES)
    field_order = ("expires_at", "reason")


class AmendForm(AskedForm, ReasonForm):
    """What was asked for, to be changed. Only what differs is sent."""

    title = forms.CharField(max_length=200, widget=UnfoldAdminTextInputWidget)
    justification = forms.CharField(max_length=8000, widget=area())
    field_order = ("title", "justification", "severity", "covered", "answerable", "waived", "named_releases")

    def __init__(self, sent: Any, *, found: SecurityException, person: User) -> None:
        self.asked_by, self._found = person, found
        super().__init__(sent, initial=self._shown())
        covered = self.fields["covered"]
        if isinstance(covered, SystemsField):
            visible = visible_systems(person)
            covered.narrow(None if visible is None else [*visible, *found.systems])

    @classmethod
    def of(cls, sent: Any, found: SecurityException, person: User) -> "DecisionForm":
        return cls(sent, found=found, person=person)

    def _shown(self) -> dict[str, Any]:
        found = self._found
        controls = [
            " | ".join(filter(None, (one["title"], one.get("evidence")))) for one in found.compensating_controls
        ]
        return {
            "title": found.title,
            "justification": found.justification,
            "severity": found.severity,
            "covered": list(System.objects.filter(pk__in=found.systems)),
            "answerable": User.objects.filter(uid=found.owner).first(),
            "waived": "\n".join(found.requirements),
            "named_releases": "\n".join(found.releases),
            "concerns": found.risk_id,
            "control_lines": "\n".join(controls),
        }

    def said(self) -> dict[str, Any]:
        found, shown = self._found, self.initial
        before = {name: getattr(found, name) for name in ("title", "justification", "severity", "requirements")} | {
            "systems": sorted(system.name for system in shown["covered"]),
            "owner": shown["answerable"].email if shown["answerable"] else "",
            "releases": found.releases,
            "risk": found.risk_id,
            "compensating_controls": found.compensating_controls,
        }
        changes = {name: value for name, value in self.asked().items() if value != before[name]}
        return {"reason": self.cleaned_data["reason"], "changes": changes}


class BulkForm(DecisionForm):
    """The confirmation of a bulk action: carries the selection and the action's name to itself."""

    reason = forms.CharField(max_length=4000, widget=area(), help_text="Each gets a record of its own with it.")
    action = forms.CharField(widget=forms.HiddenInput)
    #: Of approvals: the digest of the terms of each, as they were shown.
    seen = forms.JSONField(required=False, widget=forms.HiddenInput)
    confirmed = forms.BooleanField(widget=forms.HiddenInput, initial=True)

    def __init__(self, *args: Any, chosen: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        selection = forms.MultipleChoiceField(
            choices=[(pk, pk) for pk in chosen], widget=forms.MultipleHiddenInput, initial=chosen
        )
        self.fields["_selected_action"] = selection

    def said(self) -> dict[str, Any]:
        """What each of them is told."""
        return {"reason": self.cleaned_data["reason"]}

    def terms_of(self, number: str) -> str | None:
        """The terms that were shown of one."""
        shown = self.cleaned_data["seen"]
        terms = shown.get(number) if isinstance(shown, dict) else None
        return terms if isinstance(terms, str) else None


class BulkRenewForm(BulkForm):
    expires_at = MomentField(label="New expiry of each", parse=parse_expiry, help_text=DATES)
    field_order = ("expires_at", "reason")

    def said(self) -> dict[str, Any]:
        return super().said() | {"expires_at": self.cleaned_data["expires_at"]}


class BulkRemediateForm(BulkForm):
    evidence = RecordsField(
        required=False,
        label="Records that show it",
        help_text="By index, as #12, #15, for each of them. The more severe ones need at least one.",
    )

    def said(self) -> dict[str, Any]:
        return super().said() | {"evidence": self.cleaned_data["evidence"]}
