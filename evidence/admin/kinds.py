"""Kinds of evidence: what may be recorded here, by whom, how long it is kept, and how one is posted. Read-only."""

import json
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

from evidence import kinds
from evidence.admin.forms import page
from evidence.admin.snippets import Snippet, curl
from evidence.admin_base import has_role
from evidence.api.permissions import INSIDE
from evidence.kinds import Kind, example

ROLES = (*INSIDE, "auditor")


def index(request: HttpRequest) -> HttpResponse:
    """Every kind in the version in force; ``?q=`` looks in names and titles."""
    _require(request)
    asked = request.GET.get("q", "").strip()[:80]
    loaded = kinds.load()
    found = sorted([*loaded.by_name.values(), *loaded.families.values()], key=lambda kind: kind.name)
    wanted = asked.casefold()
    rows = [_row(kind) for kind in found if wanted in kind.name or wanted in kind.title.casefold()]
    return page(request, "evidence/kinds.html", title="Kinds of evidence", rows=rows, asked=asked, count=len(found))


def detail(request: HttpRequest, name: str) -> HttpResponse:
    """One kind; ``?version=`` an earlier one."""
    _require(request)
    loaded = kinds.load()
    in_force = next((k for k in loaded.families.values() if k.name == name), None) or loaded.find(name)
    if in_force is None:
        raise Http404(f"there is no kind {name}")
    versions = loaded.versions(name) or [in_force]
    asked = request.GET.get("version", str(in_force.version))
    kind = next((each for each in versions if str(each.version) == asked), None)
    if kind is None:
        raise Http404(f"there is no version {asked[:20]} of {name}")
    return page(
        request,
        "evidence/kind.html",
        title=kind.name,
        crumbs=[(reverse("admin:kinds"), "Kinds")],
        row=_row(kind),
        kind=kind,
        is_in_force=kind.version == in_force.version,
        versions=[(each, each is kind) for each in versions],
        schema=json.dumps(kind.schema, indent=2),
        facts=_facts(kind),
        has_records=not kind.is_family and has_role(request, INSIDE),
        snippets=_snippets(kind) if kind.version == in_force.version else [],
    )


def _require(request: HttpRequest) -> None:
    if not has_role(request, ROLES):
        raise PermissionDenied


def _row(kind: Kind) -> dict[str, Any]:
    posters = {"pipeline": "pipelines", "person": "people"}
    return {
        "kind": kind,
        "url": reverse("admin:kind", args=[kind.name]),
        "posters": "the product alone"
        if kind.reserved
        else " and ".join(posters[p] for p in sorted(kind.posted_by)[::-1]),
        "source": "built-in" if kind.builtin else "company",
    }


def _facts(kind: Kind) -> list[tuple[str, str]]:
    """What is read from a body, and where in it that stands."""
    found = [("outcome", kind.own.outcome), ("time", kind.own.time), *kind.own.facts.items()]
    return [(name, ", else ".join(pointers)) for name, pointers in found if pointers]


def _snippets(kind: Kind) -> list[Snippet]:
    if kind.reserved or kind.retired:
        return []
    shown = kind.member(f"{kind.name[:-1]}example") if kind.is_family else kind
    hint = "Change the values; --dry-run has everything checked and writes nothing."
    call = curl(settings.PROOFTRAIL_URL, "pt_…", json.dumps(example.request(shown)), key="your-own-key")
    return [
        Snippet("cli", "Post one with the command line", example.command(shown), hint),
        Snippet("curl", "Post one with curl", call, "The names of subjects, files among them, go into “subject”.")
        if shown.needs_artifact
        else Snippet("curl", "Post one with curl", call),
    ]
