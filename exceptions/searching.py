"""Searching the register by what people remember: number, title, owner, system, reference, requirement."""

import re
from collections.abc import Iterable, Sequence

from django.db.models import Q

from config.errors import InvalidError
from evidence.gate import policy as gate
from evidence.models import System
from exceptions.models.register import ExceptionQuerySet
from exceptions.models.words import Words, beginning_with, words_of
from exceptions.records import numbered

#: More words than this say no more.
_MOST = 8
_NUMBER = re.compile(r"(?:EXC-)?0*(\d{1,12})", re.IGNORECASE)
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")


def matching(found: ExceptionQuerySet, text: str) -> ExceptionQuerySet:
    """Exceptions in which every word of `text` occurs, each in any of those places.

    Words of the title, the owner and the reference may be cut short at their end; of systems and requirements any part
    will do. Every place has an index, so that it does not matter how many exceptions there are.
    """
    typed = text.split()[:_MOST]
    systems = _systems(typed)
    found = found.alias(words=Words("title", "owner_name", "reference"))
    plain: list[str] = []
    for word in typed:
        elsewhere, words = _elsewhere(word, systems), words_of(word)
        if elsewhere and words:
            found = found.filter(elsewhere | Q(words=beginning_with(words)))
        elif elsewhere or not words:
            found = found.filter(elsewhere) if elsewhere else found.none()
        plain += [] if elsewhere else words
    return found.filter(Q(words=beginning_with(plain))) if plain else found


def _elsewhere(word: str, systems: Sequence[tuple[str, str]]) -> Q | None:
    """Where the word may stand besides title, owner and reference; None where it is nothing but a word."""
    part = word.casefold()
    wanted: Q | None = None
    for places in (
        {"systems__overlap": [pk for pk, names in systems if part in names]},
        {"requirements__overlap": _requirements(word)},
        {"pk__in": [numbered("EXC", int(number[1]))] if (number := _NUMBER.fullmatch(word)) else []},
    ):
        for where, values in places.items():
            if values:
                wanted = Q(**{where: values}) if wanted is None else wanted | Q(**{where: values})
    return wanted


def _systems(typed: Iterable[str]) -> list[tuple[str, str]]:
    """Each system that one of the words is a part of, with what it is called."""
    called = Q(pk__in=[])
    for word in typed:
        called |= Q(name__icontains=word) | Q(title__icontains=word)
    found = System.objects.filter(called).values_list("pk", "name", "title")
    return [(pk, f"{name} {title}".casefold()) for pk, name, title in found]


def _requirements(word: str) -> list[str]:
    """Names of the gate's requirements with this part; the word itself where it looks like one that no policy knows."""
    try:
        known = [row["name"] for row in gate.load().document["requirements"]]
    except InvalidError:  # a policy that cannot be read stops the gate, not a search
        known = []
    itself = [word] if _REQUIREMENT.fullmatch(word) and not word.isalnum() else []
    return list(dict.fromkeys([*itself, *(name for name in known if word.casefold() in name)]))
