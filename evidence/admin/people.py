"""People and systems. Every change is a record: nothing here saves a row by itself."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.password_validation import password_validators_help_text_html, validate_password
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.forms import AdminOwnPasswordChangeForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget

from config.errors import ConflictError
from evidence.admin.forms import actor
from evidence.admin_base import RoleAdmin, display
from evidence.api.actors import actor_for
from evidence.models import SignOff, System, User
from evidence.people import change_user, create_user, save_system


class OwnPasswordForm(AdminOwnPasswordChangeForm):  # type: ignore[misc]  # unfold publishes no types
    """One's own password: changed through the ledger like anybody's."""

    def save(self, commit: bool = True) -> User:
        password = self.cleaned_data["new_password1"]
        user: User = self.user
        return change_user(user, actor=actor_for(user), password=password)


class PersonForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    roles = forms.MultipleChoiceField(choices=User.ROLES, widget=UnfoldAdminCheckboxSelectMultipleWidget)
    systems = forms.ModelMultipleChoiceField(
        System.objects.all(),
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="What this person may see. None ticked means all systems.",
    )
    password = forms.CharField(
        required=False,
        strip=False,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "new-password"}),
        help_text=password_validators_help_text_html,
    )

    class Meta:
        model = User
        fields = ("name", "email", "roles", "manager", "systems", "is_active")
        labels = {"email": "Mail address", "is_active": "Active"}
        help_texts = {
            "manager": "Hears of exceptions of theirs that are overdue.",
            "is_active": "Untick to end their access: sign-in and tokens stop now. Nobody is ever deleted.",
        }

    def clean_password(self) -> str | None:
        password: str = self.cleaned_data["password"]
        if password:
            validate_password(password, self.instance)
        return password or None


class SignOffInline(TabularInline):  # type: ignore[misc]  # unfold publishes no types
    model = SignOff
    extra = 0
    verbose_name = "sign-off role"
    verbose_name_plural = "Signs off releases as"


@admin.register(User)
class PersonAdmin(RoleAdmin):
    add_roles = change_roles = ("admin",)
    form = PersonForm
    inlines = (SignOffInline,)
    list_display = ("person", "role_names", "signs_for", "manager", "active")
    list_filter = ("is_active",)
    search_fields = ("name", "email")
    fieldsets = (
        (None, {"fields": ("name", "email", "roles", "manager")}),
        ("Access", {"fields": ("systems", "password", "is_active")}),
    )
    add_fieldsets = (
        (None, {"fields": ("name", "email", "roles", "manager")}),
        ("Access", {"fields": ("systems", "password")}),
    )
    empty_title = "Nobody is here yet"
    empty_text = "Add the people who approve releases and exceptions, and those who read reports."

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        found: QuerySet[User] = super().get_queryset(request)
        return found.select_related("manager").prefetch_related("sign_offs__system")

    @display("Person", header=True, ordering="name")
    def person(self, user: User) -> list[str]:
        return [user.name, user.email]

    @display("Roles")
    def role_names(self, user: User) -> str:
        return ", ".join(dict(User.ROLES).get(role, role) for role in user.roles) or "none"

    @display("Signs off as")
    def signs_for(self, user: User) -> str:
        return ", ".join(str(sign_off) for sign_off in user.sign_offs.all()) or "–"

    @display("Access", label={"active": "success", "ended": "danger"})
    def active(self, user: User) -> str:
        return "active" if user.is_active else "ended"

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change=change, **kwargs)
        form.base_fields["password"].label = "New password" if change else "Password"
        return form

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:
        """Written in `save_related`, with the sign-off roles, as one record."""

    def save_related(self, request: HttpRequest, form: Any, formsets: list[Any], change: bool) -> None:
        data = {name: form.cleaned_data[name] for name in ("name", "roles", "manager", "password")}
        data |= {"email": form.cleaned_data["email"].lower(), "systems": list(form.cleaned_data["systems"])}
        rows = [row.cleaned_data for row in formsets[0].forms if row.cleaned_data and not row.cleaned_data["DELETE"]]
        signs_for = list(dict.fromkeys((row["role"], row["system"]) for row in rows))
        if not change:
            form.instance.pk = create_user(actor=actor(request), signs_for=signs_for, **data).pk
            return
        # read again: the form has already laid what was sent over its instance
        user = User.objects.get(pk=form.instance.pk)
        active = form.cleaned_data["is_active"]
        if user == request.user and not (active and "admin" in data["roles"]):
            raise ConflictError("Another administrator ends your access: yourself you would lock out.", where="$.roles")
        change_user(user, actor=actor(request), sign_offs=signs_for, is_active=active, **data)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> list[Any]:
        """The ledger says what changed."""
        return []


@admin.register(System)
class SystemAdmin(RoleAdmin):
    view_roles = ("liaison", "captain")
    add_roles = change_roles = ("admin",)
    list_display = ("name", "title", "kept_out")
    search_fields = ("name", "title")
    fields = ("name", "title", "sandbox")
    empty_title = "No system yet"
    add_label = "Add a system"
    empty_text = "A system is a service or product that has releases. Releases, pipelines and sign-offs name it."

    @display("Counts", label={"counts": "success", "sandbox": "warning"})
    def kept_out(self, system: System) -> str:
        return "sandbox" if system.sandbox else "counts"

    def save_model(self, request: HttpRequest, obj: System, form: Any, change: bool) -> None:
        before = System.objects.get(pk=obj.pk) if change else None
        saved = save_system(actor=actor(request), name=obj.name, title=obj.title, sandbox=obj.sandbox, system=before)
        obj.pk = saved.pk
