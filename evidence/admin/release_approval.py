"""Signing off a release: what is approved is shown, and exactly the digest that was shown is approved (R1.5)."""

from typing import Any

from django import forms
from django.http import HttpRequest, HttpResponse
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from evidence.admin.forms import LedgerForm, actor, page, person
from evidence.admin.release_page import roles_of, url
from evidence.admin.release_steps import back_when_recorded
from evidence.deploys import Deployment
from evidence.ledger import Placed, reader
from evidence.models import Release
from evidence.releases import approve, manifests_of, owing

DECISIONS = [("approved", "Approve"), ("rejected", "Reject"), ("withdrawn", "Withdraw my earlier decision")]


class ApprovalForm(LedgerForm):
    manifest_digest = forms.CharField(widget=forms.HiddenInput)
    decision = forms.ChoiceField(choices=DECISIONS, initial="approved", widget=UnfoldAdminRadioSelectWidget)
    comment = forms.CharField(
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget({"rows": 3}),
        help_text="Required for a rejection. It becomes part of the signed record.",
    )

    def __init__(self, *args: Any, roles: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = [(role, role) for role in roles]
        self.fields["role"] = forms.ChoiceField(
            label="In the role", choices=choices, widget=UnfoldAdminSelectWidget(choices=choices)
        )
        self.order_fields(["role", "decision", "comment"])


def approve_view(request: HttpRequest, release: Release, crumbs: Any) -> HttpResponse:
    """The newest manifest, or with ``?manifest=`` one that an emergency deploy took to production unapproved."""
    digest = request.GET.get("manifest") or release.manifest_digest
    afterwards = owing(release, digest) if digest is not None and digest != release.manifest_digest else None
    roles = _roles(request, release, afterwards)
    form = ApprovalForm(
        request.POST or None, roles=roles, initial={"manifest_digest": digest, "role": request.GET.get("role")}
    )

    def write() -> Placed:
        return _approve(request, release, form)

    return back_when_recorded(request, form, write, url(release), "Your decision is record #{}.") or page(
        request,
        "evidence/approve.html",
        title="Sign off",
        crumbs=crumbs,
        release=release,
        digest=digest,
        roles=roles,
        form=form,
        stale=form.is_bound and form.data.get("manifest_digest") != digest,
        afterwards=afterwards,
        run=next((afterwards[role] for role in roles), None) if afterwards else None,
        manifest=_manifest(release, digest),
        cancel=url(release),
    )


def _roles(request: HttpRequest, release: Release, afterwards: dict[str, Deployment] | None) -> list[str]:
    mine = roles_of(person(request), release)
    return mine if afterwards is None else [role for role in mine if role in afterwards]


def _approve(request: HttpRequest, release: Release, form: ApprovalForm) -> Placed:
    data = form.cleaned_data
    return approve(
        release=release,
        person=person(request),
        actor=actor(request),
        role=data["role"],
        decision=data["decision"],
        manifest_digest=data["manifest_digest"],
        comment=data["comment"],
        idempotency=form.idempotency(request),
    )


def _manifest(release: Release, digest: str | None) -> dict[str, Any] | None:
    """The body of the manifest that is decided about; None when there is none, or it was disposed of."""
    index = release.manifest_index
    if digest is not None and digest != release.manifest_digest:
        found = manifests_of(release, digest)
        index = found[-1].index if found else None
    if index is None:
        return None
    stored = reader.get(index)
    return stored.recorded.body if stored.envelope is not None else None
