"""The admin's first page. Who has work to show there registers it at start; this app knows of no other."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

#: The page of who asks, or None for somebody who has nothing to do there.
Page = Callable[[HttpRequest], HttpResponse | None]
_PAGES: list[Page] = []


def register(page: Page) -> Page:
    """Show this as the first page to whoever it is for."""
    if page not in _PAGES:
        _PAGES.append(page)
    return page


def first(request: HttpRequest) -> HttpResponse | None:
    """The page of the first that has one."""
    return next((found for page in _PAGES if (found := page(request)) is not None), None)
