"""Cursor pages: ``{"results": […], "next": url|null, "previous": url|null}``, 50 a page, at most 500."""

from rest_framework.pagination import CursorPagination as Base


class CursorPagination(Base):
    page_size = 50
    max_page_size = 500
    page_size_query_param = "limit"
    ordering = "-pk"
