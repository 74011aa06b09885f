"""The base of every page in the admin: closed by default, opened role by role, written through the ledger only."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeVar, cast

from django import forms
from django.contrib.admin.widgets import RelatedFieldWidgetWrapper
from django.http import HttpRequest, HttpResponse
from django.utils.text import capfirst
from unfold.admin import ModelAdmin
from unfold.decorators import display as unfold_display

from config.errors import ProoftrailError
from evidence.models import User

Shows = TypeVar("Shows", bound=Callable[..., Any])


def display(
    description: str, *, ordering: str | None = None, header: bool = False, label: Mapping[str, str] | None = None
) -> Callable[[Shows], Shows]:
    """A column of a list. `header` shows a pair of lines, `label` a coloured word (value: success, danger, info …)."""
    decorate: Callable[[Shows], Shows] = unfold_display(
        description=description, ordering=ordering, header=header, label=label
    )
    return decorate


def has_role(request: HttpRequest, roles: tuple[str, ...]) -> bool:
    """Whether who asks is an administrator or has one of these roles."""
    user = request.user
    return isinstance(user, User) and user.has_role("admin", *roles)


def show_refusal(form: forms.BaseForm, error: ProoftrailError) -> None:
    """Put a refusal on the form: beside the field that it is about, else above all of them."""
    name = (error.where or "").removeprefix("$.").removeprefix("body.").split(".")[0]
    form.add_error(name if name in form.fields else None, error.detail)


class RoleAdmin(ModelAdmin):  # type: ignore[misc]  # unfold publishes no types
    """`view_roles` see; `add_roles` and `change_roles` write, and see too. Administrators are always among them,
    but where `add_roles` or `change_roles` is empty nobody writes: ``("admin",)`` opens it to administrators alone.

    A subclass that writes overrides `save_model` with a call of the domain's own function; a ProoftrailError
    raised there is shown on the form (see `changeform_view`) and nothing is half-written.
    """

    view_roles: ClassVar[tuple[str, ...]] = ()
    add_roles: ClassVar[tuple[str, ...]] = ()
    change_roles: ClassVar[tuple[str, ...]] = ()
    #: What an empty list says: what belongs here, and what to do first.
    empty_title: ClassVar[str] = "Nothing here yet"
    empty_text: ClassVar[str] = ""
    #: Its button; "Add …" where this is empty.
    add_label: ClassVar[str] = ""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return has_role(request, (*self.view_roles, *self.add_roles, *self.change_roles))

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(self.add_roles) and has_role(request, self.add_roles)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(self.change_roles) and has_role(request, self.change_roles)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """What happened is never deleted; people, pipelines and tokens are ended instead."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The list under the name of what is in it, not "Select … to change"."""
        named = {"title": capfirst(str(self.opts.verbose_name_plural)), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, named)
        return response

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Without the pop-ups that add or change the other end of a relation in passing."""
        field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None and isinstance(field.widget, RelatedFieldWidgetWrapper):
            field.widget = field.widget.widget
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        raise NotImplementedError(f"{type(self).__name__} has no function that writes through the ledger")

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """The form; where the ledger refused what was sent, the same form again with the reason."""
        context = {"show_save_and_continue": False, "show_save_and_add_another": False, **(extra_context or {})}
        try:
            response: HttpResponse = super().changeform_view(request, object_id, form_url, context)
        except ProoftrailError as error:
            cast(Any, request).refusal = error
            response = super().changeform_view(request, object_id, form_url, context)
        return response

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal: ProoftrailError | None = getattr(request, "refusal", None)
        return form if refusal is None else type(form.__name__, (_Refused, form), {"refusal": refusal})

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The ledger is the log."""

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> None:
        """The ledger is the log."""


class _Refused(forms.BaseForm):
    """Mixed into a form that was valid in itself and refused by the ledger."""

    refusal: ProoftrailError

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        show_refusal(self, self.refusal)
        return cleaned
