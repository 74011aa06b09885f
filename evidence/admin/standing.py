"""The banner of a read-only service."""

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from evidence import anchors


def read_only(request: HttpRequest) -> dict[str, Any]:
    """Context processor: why nothing is written, asked only where a page shows it, and to people only."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    return {"read_only": SimpleLazyObject(anchors.current)}
