from django.urls import path

from exceptions.api.exceptions import ExceptionDetail, ExceptionMetrics, Exceptions, ExceptionTransitions
from exceptions.api.risks import RiskDetail, Risks

urlpatterns = [
    path("exceptions", Exceptions.as_view(), name="exceptions"),
    path("exceptions/metrics", ExceptionMetrics.as_view(), name="exceptions-metrics"),
    path("exceptions/<str:number>", ExceptionDetail.as_view(), name="exception"),
    path("exceptions/<str:number>/transitions", ExceptionTransitions.as_view(), name="exception-transitions"),
    path("risks", Risks.as_view(), name="risks"),
    path("risks/<str:number>", RiskDetail.as_view(), name="risk"),
]
