"""Words to search for, as PostgreSQL indexes them. Without an extension: any PostgreSQL has it."""

import re
from collections.abc import Iterable

from django.contrib.postgres.search import SearchQuery, SearchVectorField
from django.db.models import Func


class Words(Func):
    """The words of some text columns: lower case, no stemming, parted by punctuation (``SEC-2024/17`` is three)."""

    template = "to_tsvector('simple'::regconfig, translate(%(expressions)s, '-/._:@+~=&?#<>', '              '))"
    arg_joiner = " || ' ' || "
    output_field = SearchVectorField()


def words_of(text: str) -> list[str]:
    """The words of what somebody typed, parted as `Words` parts them."""
    return re.findall(r"[^\W_]+", text)


def beginning_with(words: Iterable[str]) -> SearchQuery:
    """All of these words, or longer ones that begin so. They are of `words_of`: letters and digits alone."""
    return SearchQuery(" & ".join(f"{word}:*" for word in words), search_type="raw", config="simple")
