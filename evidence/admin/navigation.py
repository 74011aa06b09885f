"""The sidebar: what each role works with, taken from what is registered and what it may see."""

from typing import Any

from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from evidence.admin_base import has_role
from evidence.api.permissions import INSIDE

#: Groups of (model label or page name, title, icon). What a role may not see, or what is not installed, is left out.
_GROUPS: list[tuple[str, list[tuple[str, str, str]]]] = [
    (
        "Exceptions",
        [
            ("desk", "Today", "today"),
            ("exceptions.securityexception", "Exceptions", "gpp_maybe"),
            ("exceptions.risk", "Risks", "crisis_alert"),
            ("exceptions.import", "Imports", "upload_file"),
        ],
    ),
    (
        "Releases",
        [
            ("evidence.release", "Releases", "rocket_launch"),
            ("deployments", "Deployments", "deployed_code_history"),
        ],
    ),
    (
        "Evidence",
        [
            ("evidence.record", "Records", "receipt_long"),
            ("kinds", "Kinds", "category"),
            ("ledger", "Ledger", "account_tree"),
        ],
    ),
    (
        "Audit",
        [
            ("compliance.pack", "Packs", "inventory_2"),
            ("reports", "Reports", "monitoring"),
            ("evidence.hold", "Legal holds", "lock_clock"),
        ],
    ),
    (
        "Set-up",
        [
            ("setup", "Overview", "checklist"),
            ("evidence.user", "People", "group"),
            ("evidence.pipeline", "Pipelines", "conversion_path"),
            ("evidence.trustpolicy", "Trust policies", "handshake"),
            ("evidence.system", "Systems", "dns"),
            ("exceptions.chatchannel", "Chat channels", "forum"),
            ("mail", "Mail", "mail"),
        ],
    ),
]
#: Roles that see what has no model; administrators always do.
_PAGES = {
    "deployments": INSIDE,
    "kinds": (*INSIDE, "auditor"),
    "ledger": ("liaison", "engineer", "approver", "captain", "executive", "auditor"),
    "reports": ("executive", "liaison"),
    "desk": INSIDE,
    "setup": (),
    "mail": (),
}


def mail_is_kept() -> bool:
    """Whether mail goes to files here, so that there is something to show."""
    return settings.EMAIL_BACKEND == "config.mail.FileBackend"


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """What unfold's sidebar shows to who asks."""
    groups = [(title, [_item(request, *item) for item in items]) for title, items in _GROUPS]
    return [{"title": title, "items": [i for i in items if i]} for title, items in groups if any(items)]


def _item(request: HttpRequest, target: str, title: str, icon: str) -> dict[str, Any] | None:
    link = _model_link(request, target) if "." in target else _page_link(request, target)
    if link is None:
        return None
    item: dict[str, Any] = {"title": title, "icon": icon, "link": link}
    if target == "desk":  # every other address begins with this one
        item["active"] = request.path == link
    return item


def _model_link(request: HttpRequest, label: str) -> str | None:
    for model, model_admin in admin.site._registry.items():
        if model._meta.label_lower == label and model_admin.has_view_permission(request):
            return reverse(f"admin:{label.replace('.', '_')}_changelist")
    return None


def _page_link(request: HttpRequest, page: str) -> str | None:
    if not has_role(request, _PAGES[page]) or (page == "mail" and not mail_is_kept()):
        return None
    elsewhere = {"reports": "/reports/", "desk": reverse("admin:index")}
    return elsewhere.get(page) or reverse(f"admin:{page}")


def account(request: HttpRequest) -> list[dict[str, str]]:
    """Links under the person's name."""
    return [
        {"title": "My tokens", "link": reverse("admin:tokens")},
        {"title": "Change password", "link": reverse("admin:password_change")},
        {"title": "API documentation", "link": reverse("docs")},
    ]


def environment(request: HttpRequest) -> list[str] | None:
    """A label for installations that keep everything on one machine."""
    if not settings.EMBEDDED:
        return None
    return ["Demo", "warning"] if settings.DATA_DIR.name.endswith("-demo") else ["One machine", "info"]
