"""Reports: ask for one, see what became of it."""

from django.db import transaction
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from compliance.models import Report
from compliance.reports import sending
from compliance.tasks import send_report
from config.api.pagination import CursorPagination
from config.api.strict import StrictSerializer
from config.errors import MissingError
from evidence.api.actors import idempotency_of, person_of
from evidence.api.permissions import opens_to


class ReportOut(serializers.ModelSerializer[Report]):
    month = serializers.CharField(source="period")

    class Meta:
        model = Report
        fields = ("id", "kind", "month", "state", "requested_at", "sent_at", "pdf_sha256", "index", "error")


class ReportIn(StrictSerializer):
    kind = serializers.ChoiceField(Report.KINDS)
    month = serializers.CharField(max_length=7, help_text="As in 2026-03")


class ReportList(APIView):
    permission_classes = [opens_to(*sending.ROLES)]

    @extend_schema(operation_id="reports_list", responses=ReportOut(many=True))
    def get(self, request: Request) -> Response:
        """Reports that were asked for or fell due, newest first."""
        pages = CursorPagination()
        pages.ordering = ("-requested_at", "-pk")
        page = pages.paginate_queryset(Report.objects.defer("pdf"), request, view=self)
        return pages.get_paginated_response(ReportOut(page, many=True).data)

    @extend_schema(operation_id="reports_request", request=ReportIn, responses={202: ReportOut})
    def post(self, request: Request) -> Response:
        """Have the worker build a report and mail it to executives and to yourself; `GET` shows how far it is."""
        data = ReportIn(data=request.data)
        data.is_valid(raise_exception=True)
        report, made = sending.request_report(
            **data.validated_data, user=person_of(request), now=timezone.now(), idempotency=idempotency_of(request)
        )
        if made:
            transaction.on_commit(lambda: send_report.delay(report.pk), robust=True)
        headers = {} if made else {"Idempotency-Replayed": "true"}
        return Response(ReportOut(report).data, status=202 if made else 200, headers=headers)


class ReportDetail(APIView):
    permission_classes = [opens_to(*sending.ROLES)]

    @extend_schema(operation_id="reports_retrieve", responses=ReportOut)
    def get(self, request: Request, report_id: str) -> Response:
        """One report; `state` is waiting, sent or failed."""
        report = Report.objects.defer("pdf").filter(pk=report_id).first()
        if report is None:
            raise MissingError(f"There is no report {report_id!r}.", code="report_unknown")
        return Response(ReportOut(report).data)
