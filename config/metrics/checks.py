"""What must hold of the settings of /metrics before the service starts."""

from collections.abc import Sequence
from typing import Any

from django.apps.config import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, register

_SHORTEST = 32


@register(Tags.security)
def metrics_token_is_long(
    app_configs: Sequence[AppConfig] | None = None, databases: Sequence[str] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    if not settings.METRICS_TOKEN or len(settings.METRICS_TOKEN) >= _SHORTEST:
        return []
    return [
        Error(
            f"METRICS_TOKEN has fewer than {_SHORTEST} characters.",
            hint="Make one with `openssl rand -hex 24`, or leave it empty: then /metrics answers nobody.",
            id="config.E001",
        )
    ]
