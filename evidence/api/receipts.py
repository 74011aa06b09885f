"""The answer to a write: what was made, and the receipt that proves it."""

import json
from typing import Any

from drf_spectacular.utils import inline_serializer
from rest_framework import serializers
from rest_framework.response import Response

from evidence import repeats
from evidence.ledger import Placed


def receipt_of(placed: Placed) -> dict[str, Any]:
    """The receipt as an object inside a larger answer."""
    found: dict[str, Any] = json.loads(placed.receipt())
    return found


def written(name: str, **parts: Any) -> Any:
    """The shape of `answer`, for the API's description."""
    return inline_serializer(name, {**parts, "receipt": serializers.DictField()})


def answer(placed: Placed, *, status: int = 201, **parts: Any) -> Response:
    """``{<part>: …, "receipt": …}``; a replay is 200 and says so in ``Idempotency-Replayed``."""
    repeats.answered(placed)
    headers = {"Idempotency-Replayed": "true"} if placed.replayed else {}
    status = 200 if placed.replayed else status
    return Response(parts | {"receipt": receipt_of(placed)}, status=status, headers=headers)
