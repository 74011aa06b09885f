from django.urls import path

from exceptions.api.exceptions import ExceptionDetail, ExceptionMetrics, Exceptions, ExceptionTransitions
from exceptions.api.imports import (
    ImportBadRows,
    ImportConfirm,
    ImportDetail,
    ImportRows,
    Imports,
    Ratifications,
)
from exceptions.api.risk_files import RiskExport, RiskImportConfirm, RiskImportDetail, RiskImports
from exceptions.api.risks import RiskDetail, RiskReviews, Risks, RiskScale

urlpatterns = [
    path("exceptions", Exceptions.as_view(), name="exceptions"),
    path("exceptions/metrics", ExceptionMetrics.as_view(), name="exceptions-metrics"),
    path("exceptions/import", Imports.as_view(), name="imports"),
    path("exceptions/import/<str:import_id>", ImportDetail.as_view(), name="import"),
    path("exceptions/import/<str:import_id>/confirm", ImportConfirm.as_view(), name="import-confirm"),
    path("exceptions/import/<str:import_id>/rows", ImportRows.as_view(), name="import-rows"),
    path("exceptions/import/<str:import_id>/bad-rows", ImportBadRows.as_view(), name="import-bad-rows"),
    path("exceptions/ratifications", Ratifications.as_view(), name="ratifications"),
    path("exceptions/<str:number>", ExceptionDetail.as_view(), name="exception"),
    path("exceptions/<str:number>/transitions", ExceptionTransitions.as_view(), name="exception-transitions"),
    path("risks", Risks.as_view(), name="risks"),
    path("risks/scale", RiskScale.as_view(), name="risk-scale"),
    path("risks/export", RiskExport.as_view(), name="risk-export"),
    path("risks/import", RiskImports.as_view(), name="risk-imports"),
    path("risks/import/<str:import_id>", RiskImportDetail.as_view(), name="risk-import"),
    path("risks/import/<str:import_id>/confirm", RiskImportConfirm.as_view(), name="risk-import-confirm"),
    path("risks/<str:number>/reviews", RiskReviews.as_view(), name="risk-reviews"),
    path("risks/<str:number>", RiskDetail.as_view(), name="risk"),
]
