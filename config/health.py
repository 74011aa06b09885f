"""Liveness and readiness."""

from collections.abc import Callable

import redis
from django.conf import settings
from django.db import connection
from django.http import HttpRequest, JsonResponse

from evidence import keys, storage


def live(request: HttpRequest) -> JsonResponse:
    """``/healthz``: the process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """``/readyz``: every engine with its state. Only the database and the keys are needed to take evidence."""
    states = {
        "database": _state(_database),
        "signing_keys": _state(keys.log_signer),
        "broker": _state(_broker),
        "store": _state(_store),
    }
    needed = states["database"], states["signing_keys"]
    ok = all(state == "ok" for state in needed)
    return JsonResponse({"status": "ok" if ok else "unavailable", "engines": states}, status=200 if ok else 503)


def _state(probe: Callable[[], object]) -> str:
    try:
        probe()
    except Exception as error:  # whatever fails is the answer
        return f"down: {type(error).__name__}"
    return "ok"


def _database() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT size FROM evidence_head")


def _broker() -> None:
    redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=2, socket_connect_timeout=2).ping()


def _store() -> None:
    storage.client().head_bucket(Bucket=storage.bucket())
