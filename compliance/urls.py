from django.urls import path

from compliance.api import holds, packs, reports

urlpatterns = [
    path("holds", holds.HoldList.as_view(), name="holds"),
    path("holds/<str:hold_id>/release", holds.HoldRelease.as_view(), name="hold-release"),
    path("packs", packs.PackList.as_view(), name="packs"),
    path("packs/<str:pack_id>", packs.PackDetail.as_view(), name="pack"),
    path("packs/<str:pack_id>/retry", packs.PackRetry.as_view(), name="pack-retry"),
    path("packs/<str:pack_id>/download", packs.PackDownload.as_view(), name="pack-download"),
    path("reports", reports.ReportList.as_view(), name="reports"),
    path("reports/<str:report_id>", reports.ReportDetail.as_view(), name="report"),
]
