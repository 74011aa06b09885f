from django.urls import path

from compliance.api import holds, reports

urlpatterns = [
    path("holds", holds.HoldList.as_view(), name="holds"),
    path("holds/<str:hold_id>/release", holds.HoldRelease.as_view(), name="hold-release"),
    path("reports", reports.ReportList.as_view(), name="reports"),
    path("reports/<str:report_id>", reports.ReportDetail.as_view(), name="report"),
]
