"""Forms beside the models: one page each, which the ledger may refuse without anything being half-written."""

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import uuid4

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from config.errors import ProoftrailError
from evidence.admin_base import show_refusal
from evidence.api.actors import actor_for
from evidence.ledger import Actor, Idempotency
from evidence.models import User
from evidence.tlog.errors import TlogError

Result = TypeVar("Result")


class LedgerForm(forms.Form):
    """A form whose second sending by an impatient click is the same write, not another one."""

    once = forms.UUIDField(widget=forms.HiddenInput, initial=uuid4)

    def idempotency(self, request: HttpRequest) -> Idempotency:
        body = repr(sorted((name, str(value)) for name, value in self.cleaned_data.items()))
        return Idempotency.of(str(self.cleaned_data["once"]), method="POST", path=request.path, body=body.encode())

    def visible(self) -> list[forms.BoundField]:
        return list(self.visible_fields())


class ReasonForm(LedgerForm):
    """For whatever ends something."""

    reason = forms.CharField(
        max_length=500, widget=UnfoldAdminTextareaWidget({"rows": 3}), help_text="It is recorded with the change."
    )


def text_input(**attrs: str) -> forms.Widget:
    widget: forms.Widget = UnfoldAdminTextInputWidget(attrs)
    return widget


def person(request: HttpRequest) -> User:
    """Who is signed in; the admin lets nobody else in."""
    if not isinstance(request.user, User):
        raise TypeError("this page is for people who are signed in")
    return request.user


def actor(request: HttpRequest) -> Actor:
    return actor_for(person(request))


def written(form: forms.Form, write: Callable[[], Result]) -> Result | None:
    """What `write` answers; None when the form is wrong or the ledger refused, with the reason on the form."""
    if not form.is_valid():
        return None
    try:
        return write()
    except ProoftrailError as error:
        show_refusal(form, error)
    except TlogError as error:  # text that has no canonical form
        form.add_error(None, str(error))
    return None


def page(request: HttpRequest, template: str, *, title: str, status: int = 200, **context: Any) -> HttpResponse:
    """A page of the admin that no model admin draws. ``crumbs`` are (URL, title) of the pages above it."""
    request.current_app = admin.site.name
    return TemplateResponse(
        request, template, {**admin.site.each_context(request), "title": title, **context}, status=status
    )


def form_page(request: HttpRequest, form: forms.Form, **context: Any) -> HttpResponse:
    """A confirmation or a short form: ``title``, ``lead``, ``submit``, ``danger``, ``cancel`` (URL)."""
    return page(request, "evidence/form.html", form=form, **context)
