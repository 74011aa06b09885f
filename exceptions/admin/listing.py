"""The list's machinery: pages that stay quick with 100,000 exceptions, and what each row says to who looks at it."""

from functools import cached_property
from typing import Any

from django.contrib.admin.views.main import PAGE_VAR, ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.http import HttpRequest

from exceptions.admin.approving import approvable
from exceptions.admin.filters import systems_named

#: Pages end here; whoever looks for more narrows the list.
MOST = 5_000


class KeyPaginator(Paginator):  # type: ignore[type-arg]  # generic for the type checker only
    """Pages over at most MOST keys, which one query finds: how many there are and which come first is one question.

    Counting all and then sorting all again, as Django's own does, costs two passes over whatever the filters leave.
    """

    template_name = "exceptions/pagination.html"

    @cached_property
    def _keys(self) -> list[str]:
        found: Any = self.object_list
        return list(found.values_list("pk", flat=True)[: MOST + 1])

    @cached_property
    def count(self) -> int:
        return min(len(self._keys), MOST)

    @property
    def is_cut(self) -> bool:
        """Whether there are more than it shows."""
        return len(self._keys) > MOST

    def keys(self, number: int) -> list[str]:
        """Of one page, in order. Raises InvalidPage."""
        start = (self.validate_number(number) - 1) * self.per_page
        return self._keys[: self.count][start : start + self.per_page]


class Listing(ChangeList):
    """`result_list` has rows with `system_names`, and `approving` where who looks may approve."""

    paginator: KeyPaginator

    def get_results(self, request: HttpRequest) -> None:
        paginator = KeyPaginator(self.queryset, self.list_per_page)
        try:
            keys = paginator.keys(self.page_num)
        except InvalidPage:
            self.page_num, keys = 1, paginator.keys(1)
        found = {row.pk: row for row in self.root_queryset.filter(pk__in=keys).order_by()}
        self.result_list = [found[key] for key in keys if key in found]
        self.result_count = paginator.count
        # The whole is never counted, only whether a list is empty because nothing matches, or because nothing is there.
        self.full_result_count = self.result_count or int(self.root_queryset.exists())
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = self.result_count > self.list_per_page
        self.paginator = paginator
        self._tell(request)

    @property
    def counted(self) -> str:
        more = " or more" if self.paginator.is_cut else ""
        return f"{self.result_count:,}{more}"

    @property
    def previous_link(self) -> str:
        return str(self.get_query_string({PAGE_VAR: self.page_num - 1}))

    @property
    def next_link(self) -> str:
        return str(self.get_query_string({PAGE_VAR: self.page_num + 1}))

    def _tell(self, request: HttpRequest) -> None:
        names = systems_named(request)
        mine = approvable(request, self.result_list)
        for row in self.result_list:
            known = sorted(names[pk] for pk in row.systems if pk in names)
            others = len(row.systems) - len(known)
            row.system_names = [*known, f"{others} of other teams"] if others else known
            row.approving = mine.get(row.pk)
