"""Chat channels in the admin: set up, tried, given a new secret. URL and secret are written here and never shown."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminPasswordWidget

from config.errors import ProoftrailError
from evidence.admin.forms import LedgerForm, actor, form_page, page, person, written
from evidence.admin_base import RoleAdmin, display
from evidence.models import Circuit, System
from evidence.people import visible_systems
from exceptions import chat
from exceptions.channels import MAX_URL, ROLES, Saved, save_channel
from exceptions.models import ChatChannel


class ChannelForm(forms.ModelForm):  # type: ignore[type-arg]  # generic for the type checker only
    url = forms.CharField(
        label="Webhook URL",
        max_length=MAX_URL,
        widget=UnfoldAdminPasswordWidget({"autocomplete": "off"}),
        help_text="As the chat system gave it. It is as good as a password: kept encrypted, and not shown again.",
    )
    systems = forms.MultipleChoiceField(
        label="Hears about",
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Exceptions for any of these systems. None ticked means all.",
    )

    class Meta:
        model = ChatChannel
        fields = ("name", "url", "systems", "is_active")
        labels = {"is_active": "Active"}
        help_texts = {
            "name": "As people know it: #security-exceptions.",
            "is_active": "Untick to end it: nothing more is posted.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        known = list(System.objects.order_by("name").values_list("pk", "name"))
        self.fields["systems"].choices = known  # type: ignore[attr-defined]  # the field above
        if self.instance.origin:
            self.fields["url"].required = False
            self.fields["url"].help_text = f"Posts to {self.instance.origin}. Leave it empty to keep it."


@admin.register(ChatChannel)
class ChatChannelAdmin(RoleAdmin):
    add_roles = change_roles = ROLES
    form = ChannelForm
    list_display = ("name", "posts_to", "of_systems", "last", "state")
    list_filter = ("is_active",)
    search_fields = ("name", "origin")
    fieldsets = ((None, {"fields": ("name", "url", "systems", "is_active")}),)
    add_fieldsets = ((None, {"fields": ("name", "url", "systems")}),)
    change_form_outer_before_template = "exceptions/channel_state.html"
    empty_title = "No chat channel yet"
    add_label = "Add a channel"
    empty_text = "A channel hears of each reminder as its people do by mail: one post for each exception and step."

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatChannel]:
        """Who sees some systems only works with channels about those."""
        found: QuerySet[ChatChannel] = super().get_queryset(request)
        visible = visible_systems(person(request))
        return found if visible is None else found.filter(systems__contained_by=visible).exclude(systems=[])

    @display("Posts to", ordering="origin")
    def posts_to(self, channel: ChatChannel) -> str:
        return channel.origin

    @display("Hears about")
    def of_systems(self, channel: ChatChannel) -> str:
        names = System.objects.filter(pk__in=channel.systems).order_by("name").values_list("name", flat=True)
        return ", ".join(names) if channel.systems else "all systems"

    @display("Last delivered", ordering="last_delivered_at")
    def last(self, channel: ChatChannel) -> str:
        return f"{channel.last_delivered_at:%Y-%m-%d %H:%M}" if channel.last_delivered_at else "none yet"

    @display("State", label={"active": "success", "failing": "warning", "ended": "danger"})
    def state(self, channel: ChatChannel) -> str:
        if not channel.is_active:
            return "ended"
        return "failing" if channel.is_failing else "active"

    # -- add and change ----------------------------------------------------------------------------------------------

    def save_model(self, request: HttpRequest, obj: ChatChannel, form: Any, change: bool) -> None:
        data = form.cleaned_data
        saved = save_channel(
            actor=actor(request),
            name=data["name"],
            url=data["url"],
            systems=data["systems"],
            active=data.get("is_active", True),
            channel=ChatChannel.objects.get(pk=obj.pk) if change else None,
        )
        obj.pk, obj.changed_by = saved.channel.pk, saved.channel.changed_by
        form.instance.new_secret = saved.secret

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: str | None = None) -> HttpResponse:
        """Shows the secret in the very answer: it is not shown again."""
        return self._show_secret(request, ChatChannel.objects.get(pk=obj.pk), obj.new_secret)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        channel = self.get_object(request, object_id)
        context: dict[str, Any] = {}
        if isinstance(channel, ChatChannel):
            failing = Circuit.objects.filter(pk=channel.recipient, failures__gt=0).first()
            context = {"subtitle": channel.name, "channel": channel, "failing": failing}
        response: HttpResponse = super().change_view(request, object_id, form_url, context | (extra_context or {}))
        return response

    # -- its secret, and whether it works ----------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        pages = {"<str:pk>/test/": ("test", self.test), "<str:pk>/secret/": ("secret", self.secret)}
        own = [
            path(route, self.admin_site.admin_view(view), name=f"exceptions_chatchannel_{name}")
            for route, (name, view) in pages.items()
        ]
        return [*own, *super().get_urls()]

    def _channel(self, request: HttpRequest, pk: str) -> ChatChannel:
        if not self.has_change_permission(request):
            raise PermissionDenied
        channel = self.get_queryset(request).filter(pk=pk).first()
        if channel is None:
            raise Http404("there is no such channel")
        return channel

    def test(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Post a message that is about nothing, and show what came of it."""
        channel = self._channel(request, pk)
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        try:
            placed = chat.try_out(channel, actor=actor(request))
        except ProoftrailError as refused:
            messages.error(request, f"What came of the test message is not recorded: {refused}")
            return HttpResponseRedirect(_url(channel))
        if placed.body["outcome"] == "failed":  # why stands on the page already
            messages.error(request, f"The test message did not arrive. Record #{placed.index} says so.")
        else:
            messages.success(request, f"The test message is in {channel.name}. Record #{placed.index} says so.")
        return HttpResponseRedirect(_url(channel))

    def secret(self, request: HttpRequest, pk: str) -> HttpResponse:
        channel = self._channel(request, pk)
        form = LedgerForm(request.POST or None)
        if request.method == "POST":
            saved = written(form, lambda: self._renewed(request, channel))
            if saved is not None:
                return self._show_secret(request, saved.channel, saved.secret)
        return form_page(
            request,
            form,
            title="New secret",
            lead=f"{channel.name} gets another secret, shown once. Posts are signed with it at once: whoever checks "
            "signatures refuses them until it knows the new one.",
            submit="Make a new secret",
            danger=True,
            cancel=_url(channel),
            crumbs=_crumbs(channel),
        )

    def _renewed(self, request: HttpRequest, channel: ChatChannel) -> Saved:
        return save_channel(
            actor=actor(request),
            name=channel.name,
            systems=channel.systems,
            active=channel.is_active,
            channel=channel,
            renew_secret=True,
        )

    def _show_secret(self, request: HttpRequest, channel: ChatChannel, secret: str | None) -> HttpResponse:
        template, crumbs = "exceptions/channel_secret.html", _crumbs(channel)
        return page(request, template, title="New secret", channel=channel, secret=secret, crumbs=crumbs)


def _url(channel: ChatChannel) -> str:
    return reverse("admin:exceptions_chatchannel_change", args=[channel.pk])


def _crumbs(channel: ChatChannel) -> list[tuple[str, str]]:
    return [(reverse("admin:exceptions_chatchannel_changelist"), "Chat channels"), (_url(channel), channel.name)]
