from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path
from django.views import defaults
from drf_spectacular.views import SpectacularAPIView, SpectacularRedocView, SpectacularSwaggerView

from config import health
from config.api import problem
from config.metrics.view import metrics
from evidence.api.permissions import PipelineOrPeople
from evidence.pages import home

api: list[URLPattern | URLResolver] = [
    path("", include("evidence.urls")),
    path("", include("exceptions.urls")),
    path("", include("compliance.urls")),
    path("schema", SpectacularAPIView.as_view(permission_classes=[PipelineOrPeople]), name="schema"),
    path("docs", SpectacularSwaggerView.as_view(url_name="schema", permission_classes=[PipelineOrPeople]), name="docs"),
    path("redoc", SpectacularRedocView.as_view(url_name="schema", permission_classes=[PipelineOrPeople]), name="redoc"),
]

urlpatterns = [
    path("", home, name="home"),
    path("healthz", health.live),
    path("readyz", health.ready),
    path("metrics", metrics),
    path("api/v1/", include(api)),
    path("reports/", include("compliance.page_urls")),
    path("admin/", admin.site.urls),
]


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """problem+json below /api/, a page elsewhere."""
    if request.path.startswith("/api/"):
        return problem.not_found(request, exception)
    return defaults.page_not_found(request, exception)


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem.bad_request(request, exception)
    return defaults.bad_request(request, exception)


def handler500(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        return problem.server_error(request)
    return defaults.server_error(request)
