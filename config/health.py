"""Liveness and readiness."""

from collections.abc import Callable

import redis
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection
from django.http import HttpRequest, JsonResponse

from config.database import leave_connection
from evidence import anchors, keys, storage
from evidence.api import ratelimit


def live(request: HttpRequest) -> JsonResponse:
    """``/healthz``: the process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """``/readyz``: every engine with its state. Only the database, a ledger that continues what was published
    outside, and the keys are needed to take evidence; ``code`` and ``reason`` say why a read-only one takes none."""
    why: list[anchors.ReadOnly] = []
    states = {
        "database": _state(_database),
        "ledger": _state(lambda: _ledger(why)),
        "signing_keys": _state(keys.log_signer),
        "broker": _state(_broker),
        "rate_limits": _state(ratelimit.state),
        "store": _state(_store),
        "anchors": _state(anchors.report),
    }
    ok = all(states[name] == "ok" for name in ("database", "ledger", "signing_keys"))
    answer: dict[str, object] = {"status": "ok" if ok else "read-only" if why else "unavailable", "engines": states}
    headers = {}
    for found in why:
        answer |= {"code": found.code, "reason": found.reason, "since": found.since}
        headers["Retry-After"] = str(found.error().retry_after)
    return JsonResponse(answer, status=200 if ok else 503, headers=headers)


def _state(probe: Callable[[], object]) -> str:
    """What the probe answers; ``ok`` where that is no text."""
    try:
        answer = probe()
    except Exception as error:  # whatever fails is the answer
        return f"down: {type(error).__name__}"
    return answer if isinstance(answer, str) else "ok"


def _database() -> None:
    try:
        _read_head()
    except (InterfaceError, OperationalError):  # perhaps this connection alone died, with a server that is back
        leave_connection()
        _read_head()


def _read_head() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT size FROM evidence_head")


def _ledger(why: list[anchors.ReadOnly]) -> str:
    found = anchors.current()
    if found is None:
        return "ok"
    why.append(found)
    return f"read-only: {found.code}"


def _broker() -> None:
    redis.Redis.from_url(settings.CELERY_BROKER_URL, socket_timeout=2, socket_connect_timeout=2).ping()


def _store() -> None:
    storage.client().head_bucket(Bucket=storage.bucket())
