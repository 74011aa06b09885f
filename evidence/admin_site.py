"""The admin site: pages beside the models, a start page for each role, passwords that change through the ledger."""

from typing import Any

from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from unfold.sites import UnfoldAdminSite

from evidence.admin_base import has_role


class ProoftrailSite(UnfoldAdminSite):  # type: ignore[misc]  # unfold publishes no types
    index_title = "Set-up"
    site_title = site_header = "Prooftrail"
    index_template = "evidence/setup.html"

    def extra_urls(self) -> list[URLPattern]:
        """Pages that belong to no model (unfold's hook)."""
        from evidence.admin import deployments, kinds, ledger, mail, tokens

        return [
            path("deployments/", self.admin_view(deployments.index), name="deployments"),
            path("kinds/", self.admin_view(kinds.index), name="kinds"),
            path("kinds/<str:name>/", self.admin_view(kinds.detail), name="kind"),
            path("ledger/", self.admin_view(ledger.page), name="ledger"),
            path("setup/", self.admin_view(self.setup), name="setup"),
            path("mail/", self.admin_view(mail.index), name="mail"),
            path("mail/<str:name>/", self.admin_view(mail.message), name="mail-message"),
            path("mail/<str:name>/<int:number>/", self.admin_view(mail.attachment), name="mail-attachment"),
            path("tokens/", self.admin_view(tokens.page), name="tokens"),
            path("tokens/<str:token_id>/revoke/", self.admin_view(tokens.revoke), name="token-revoke"),
        ]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Today's work; who has none here starts elsewhere."""
        from evidence.admin import start

        return start.first(request) or HttpResponseRedirect(reverse("home"))

    def setup(self, request: HttpRequest) -> HttpResponse:
        """What a new installation still needs, for administrators."""
        from evidence.admin import setup

        if not has_role(request, ()):
            raise PermissionDenied
        response: HttpResponse = super().index(request, setup.context())
        return response

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponseBase:
        from evidence.admin.people import OwnPasswordForm

        request.current_app = self.name
        return PasswordChangeView.as_view(
            form_class=OwnPasswordForm,
            success_url=reverse("admin:password_change_done"),
            extra_context={**self.each_context(request), **(extra_context or {})},
        )(request)
