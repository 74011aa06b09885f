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
    if typed:
        found = found.alias(words=Words("title", "owner_name", "reference"))
    for word in typed:
        found = found.filter(_anywhere(word, systems))
    return found


def _anywhere(word: str, systems: Sequence[tuple[str, str]]) -> Q:
    part = word.casefold()
    wanted = Q(systems__overlap=[pk for pk, names in systems if part in names])
    if requirements := _requirements(word):
        wanted |= Q(requirements__overlap=requirements)
    if number := _NUMBER.fullmatch(word):
        wanted |= Q(pk=numbered("EXC", int(number[1])))
    if words := words_of(word):
        wanted |= Q(words=beginning_with(words))
    return wanted


def _systems(typed: Iterable[str]) -> list[tuple[str, str]]:
    """Each system that one of the words is a part of, with what it is called."""
    called = Q(pk__in=[])
    for word in typed:
        called |= Q(name__icontains=word) | Q(title__icontains=word)
    found = System.objects.filter(called).values_list("pk", "name", "title")
    return [(pk, f"{name} {title}".casefold()) for pk, name, title in found]


def _requirements(word: str) -> list[str]:
    """Names of the gate's requirements with this part, and the word itself where it may be one."""
    try:
        known = [row["name"] for row in gate.load().document["requirements"]]
    except InvalidError:  # a policy that cannot be read stops the gate, not a search
        known = []
    itself = [word] if _REQUIREMENT.fullmatch(word) else []
    return [*itself, *(name for name in known if word.casefold() in name and name != word)]
