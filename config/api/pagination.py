"""Cursor pages: ``{"results": […], "next": url|null, "previous": url|null}``, 50 a page, at most 500.

A cursor names the row at which a page ends, by the values that rows are ordered by, and never a number of rows to pass
over: the thousandth page costs what the first one does. `ordering` ends in a unique column, and an index serves it.
"""

import base64
import binascii
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from django.core.exceptions import ValidationError
from django.db.models import F, Field, Model, QuerySet
from django.db.models.fields.tuple_lookups import Tuple, TupleGreaterThan, TupleLessThan
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from config.errors import InvalidError

PAGE, MOST = 50, 500
_LONGEST = 1000
_LARGEST = 2**63 - 1
_Row = TypeVar("_Row", bound=Model)


class CursorPagination:
    """The page that one request asks for. All columns go the same way: ``-index``, or ``("-occurred", "-index")``."""

    ordering: str | Sequence[str] = "-pk"

    def __init__(self) -> None:
        self._links: dict[str, str | None] = {"next": None, "previous": None}

    def paginate_queryset(self, queryset: QuerySet[_Row], request: Request, view: APIView | None = None) -> list[_Row]:
        """Rows of the page. Raises InvalidError ``limit_invalid``, ``cursor_invalid``."""
        limit = _limit(request.query_params.get("limit"))
        names = [name.lstrip("-") for name in self._columns]
        cursor = request.query_params.get("cursor")
        fields = [_field(queryset.model, name) for name in names]
        backwards, after = _decode(cursor, fields) if cursor is not None else (False, None)
        descending = self._columns[0].startswith("-") != backwards
        found = queryset if after is None else _beyond(queryset, names, after, descending=descending)
        rows = list(found.order_by(*(f"-{name}" if descending else name for name in names))[: limit + 1])
        more, page = len(rows) > limit, rows[:limit]
        if backwards:
            page.reverse()
        if page and (more or backwards):
            self._links["next"] = _link(request, _encode(False, page[-1], names))
        if page and (more if backwards else after is not None):
            self._links["previous"] = _link(request, _encode(True, page[0], names))
        return page

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, **self._links})

    @property
    def _columns(self) -> Sequence[str]:
        return (self.ordering,) if isinstance(self.ordering, str) else self.ordering


def _limit(text: str | None) -> int:
    if text is None:
        return PAGE
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MOST):
        raise InvalidError(f"limit is a number of rows, 1 to {MOST}.", code="limit_invalid", where="limit")
    return int(text)


def _beyond(queryset: QuerySet[_Row], names: Sequence[str], after: Sequence[Any], *, descending: bool) -> Any:
    """Rows after one, compared as a whole: that is what an index over the columns answers at once."""
    if len(names) == 1:
        return queryset.filter(**{f"{names[0]}__{'lt' if descending else 'gt'}": after[0]})
    lookup = TupleLessThan if descending else TupleGreaterThan
    return queryset.filter(lookup(Tuple(*(F(name) for name in names)), tuple(after)))


# -- cursors ---------------------------------------------------------------------------------------------------------


def _encode(backwards: bool, row: Model, names: Sequence[str]) -> str:
    values = [getattr(row, name) for name in names]
    written = [value.isoformat() if isinstance(value, datetime) else value for value in values]
    return base64.urlsafe_b64encode(json.dumps([int(backwards), *written]).encode()).decode().rstrip("=")


def _decode(cursor: str, fields: "Sequence[Field[Any, Any]]") -> tuple[bool, list[Any]]:
    """Which way, and the values of the row at which to begin. What it says is believed no more than any input."""
    try:
        if len(cursor) > _LONGEST:
            raise ValueError
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        backwards, *values = json.loads(base64.b64decode(padded, b"-_", validate=True))
        if backwards not in (0, 1) or len(values) != len(fields):
            raise ValueError
        return bool(backwards), [_value(field, value) for field, value in zip(fields, values, strict=True)]
    except (ValueError, TypeError, RecursionError, binascii.Error, ValidationError):
        raise InvalidError(
            "The cursor is none that this list gave: take it from next or previous.",
            code="cursor_invalid",
            where="cursor",
        ) from None


def _value(field: "Field[Any, Any]", given: object) -> Any:
    if not isinstance(given, int | str) or isinstance(given, bool) or "\0" in str(given):
        raise ValueError
    found = field.to_python(given)
    if isinstance(found, int) and not -_LARGEST <= found <= _LARGEST:
        raise ValueError
    if isinstance(found, datetime) and found.tzinfo is None:
        raise ValueError
    return found


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    field = model._meta.pk if name == "pk" else model._meta.get_field(name)
    if not isinstance(field, Field):
        raise TypeError(f"{model.__name__}.{name} is no column")
    return field


def _link(request: Request, cursor: str) -> str:
    query = request.query_params.copy()
    query["cursor"] = cursor
    return f"{request.build_absolute_uri(request.path)}?{query.urlencode()}"
