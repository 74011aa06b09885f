"""Records, read-only: what was sent, who sent it, what was verified, how to prove it."""

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html

from evidence import kinds
from evidence.admin.forms import page, person
from evidence.admin.shown import TONES, lateness, shown
from evidence.admin_base import RoleAdmin, display
from evidence.api.permissions import INSIDE
from evidence.ledger import reader
from evidence.models import Artifact, Record, Repeat, System
from evidence.people import display_names, visible_systems
from evidence.tlog.merkle import leaf_hash
from evidence.tlog.tlog_proof import format_proof


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """From the declared kinds: asking the table would read all of it."""
        return sorted(((kind.name, kind.title) for kind in kinds.load().by_name.values()), key=lambda item: item[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(kind=self.value()) if self.value() else queryset


class OutcomeFilter(admin.SimpleListFilter):
    title = "outcome"
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(outcome, outcome.capitalize()) for outcome in sorted(set(_outcomes()))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(outcome=self.value()) if self.value() else queryset


def _outcomes() -> Iterator[str]:
    """Every outcome that a kind's schema allows."""
    for kind in kinds.load().by_name.values():
        yield from kind.outcomes()


class SignerFilter(admin.SimpleListFilter):
    title = "signed by"
    parameter_name = "signed_by"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("pipeline", "Pipeline, with its own key"), ("service", "Service, for who sent it")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(signed_by=self.value()) if self.value() else queryset


@admin.register(Record)
class RecordAdmin(RoleAdmin):
    view_roles = INSIDE
    list_display = ("what", "outcome_label", "release_link", "who", "signer", "received")
    list_filter = (KindFilter, OutcomeFilter, SignerFilter)
    search_fields = ("index",)
    search_help_text = "Index, release, or digest of a subject (sha256:…)"
    show_full_result_count = False
    list_per_page = 50
    empty_title = "Nothing has been recorded yet"
    empty_text = "Connect a pipeline under Set-up → Pipelines and run the snippet that it shows."

    def get_queryset(self, request: HttpRequest) -> QuerySet[Record]:
        return Record.objects.in_systems(visible_systems(person(request))).order_by("-index")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By what an index serves: index, digest of a subject, or release."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.lstrip("#").isdecimal() and len(term) < 19:
            return queryset.filter(index=int(term.lstrip("#"))), False
        digest = term.lower().removeprefix("sha256:")
        if len(digest) == 64:
            return queryset.filter(subjects__contains=[f"sha256:{digest}"]), False
        return queryset.filter(release__startswith=term), False

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """The page with the names of who recorded what, in two queries."""
        changelist = super().get_changelist_instance(request)
        if not changelist.query and not changelist.has_active_filters:
            changelist.full_result_count = changelist.result_count  # all of them, known without counting twice
        changelist.result_list = list(changelist.result_list)
        names = display_names(record.principal for record in changelist.result_list)
        for record in changelist.result_list:
            record.who = names[record.principal]
        return changelist

    @display("Record", header=True, ordering="index")
    def what(self, record: Record) -> list[str]:
        kind = kinds.load().by_name.get(record.kind)
        return [kind.title if kind else record.kind, f"#{record.index} · {record.kind}"]

    @display("Outcome", label=TONES | {"disposed of": "warning"})
    def outcome_label(self, record: Record) -> str | None:
        if record.disposed_by is not None:
            return "disposed of"
        return "withdrawn" if record.withdrawn_by is not None else record.outcome

    @display("Release")
    def release_link(self, record: Record) -> str:
        return record.release or "–"

    @display("Recorded by")
    def who(self, record: Any) -> str:
        return str(record.who)

    @display("Signed by", label={"pipeline": "primary", "service": "info"})
    def signer(self, record: Record) -> str | None:
        return record.signed_by

    @display("Received", ordering="index")
    def received(self, record: Record) -> str:
        late = lateness(record)
        time = f"{record.at:%Y-%m-%d %H:%M:%S} UTC"
        return format_html('<div>{}<div class="pt-late">{}</div></div>', time, late) if late else time

    # -- one record --------------------------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("<int:index>/receipt/", self.admin_site.admin_view(self.receipt), name="evidence_record_receipt"),
            path("<int:index>/proof/", self.admin_site.admin_view(self.proof), name="evidence_record_proof"),
        ]
        return [*own, *super().get_urls()]

    def _record(self, request: HttpRequest, index: str | int) -> Record:
        if not self.has_view_permission(request):
            raise PermissionDenied
        record = self.get_queryset(request).filter(index=index).first() if str(index).isdecimal() else None
        if record is None:
            raise Http404(f"there is no record {index}")
        return record

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        record = self._record(request, object_id)
        stored = reader.of(record)
        systems = dict(System.objects.filter(id__in=record.scope).values_list("id", "name"))
        return page(
            request,
            "evidence/record.html",
            title=f"Record #{record.index}",
            crumbs=[(reverse("admin:evidence_record_changelist"), "Records")],
            shown=shown([record])[0],
            systems=[systems.get(pk, pk) for pk in record.scope],
            leaf=stored.leaf_bytes.decode(),
            leaf_hash=leaf_hash(stored.leaf_bytes).hex(),
            digest=stored.leaf.digest,
            note=reader.note_for(record.index),
            repeats=Repeat.objects.filter(pk=record.index).first(),
            **self._payload(record, stored),
        )

    def _payload(self, record: Record, stored: reader.Stored) -> dict[str, Any]:
        """What is there as long as the record was not disposed of."""
        if stored.envelope is None:
            return {}
        recorded = stored.recorded
        hexes = [subject.removeprefix("sha256:") for subject in record.subjects]
        files = Artifact.objects.filter(sha256__in=hexes, system__in=record.scope)
        return {
            "body": json.dumps(recorded.body, indent=2, ensure_ascii=False, sort_keys=True),
            "predicate_type": recorded.statement.predicate_type,
            "verification": recorded.context["verification"],
            "key": recorded.context["key"],
            "stored": stored,
            "files": {f"sha256:{file.sha256}": file for file in files},
            "release_url": reverse("admin:evidence_release_change", args=[_quoted(record.release)])
            if record.release
            else None,
        }

    def receipt(self, request: HttpRequest, index: int) -> HttpResponse:
        """The first answer again, byte for byte."""
        record = self._record(request, index)
        if record.disposed_by is not None:
            raise Http404("the record was disposed of: its proof remains, its receipt does not")
        return _download(reader.replay(index).receipt(), f"receipt-{index}.json", "application/json")

    def proof(self, request: HttpRequest, index: int) -> HttpResponse:
        """The inclusion proof with the newest checkpoint, also of what was disposed of."""
        self._record(request, index)
        note = reader.latest_note() or reader.note_for(index)
        text = format_proof(index, reader.inclusion(index, note.size), note.text)
        return _download(text.encode(), f"record-{index}.tlog-proof", "text/plain; charset=utf-8")


def _quoted(pk: str) -> str:
    from django.contrib.admin.utils import quote

    return str(quote(pk))


def _download(content: bytes, name: str, media_type: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'}
    )
