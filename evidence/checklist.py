"""The readiness checklist of a release (R1.2): each item with evidence or a reason, or still open."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from evidence.events import Event, is_about, newest

KIND = "release.checklist"
DONE, EXCUSED, OPEN = "done", "excused", "open"


@dataclass(frozen=True)
class ChecklistItem:
    """What is asked. `met_by` names a kind of record that answers it by itself, with what it must say."""

    id: str
    title: str
    met_by: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class ChecklistSection:
    id: str
    title: str
    items: tuple[ChecklistItem, ...]


def parse_sections(source: Iterable[Mapping[str, Any]]) -> tuple[ChecklistSection, ...]:
    """Sections as the policy's YAML states them. Raises KeyError or TypeError where it does not."""
    return tuple(
        ChecklistSection(
            section["id"],
            section["title"],
            tuple(ChecklistItem(item["id"], item["title"], item.get("met_by")) for item in section["items"]),
        )
        for section in source
    )


@dataclass(frozen=True)
class Item:
    """One item: `done` has evidence, `excused` a reason, `open` neither. `record` is what answered it."""

    id: str
    title: str
    state: str
    evidence: str = ""
    reason: str = ""
    record: int | None = None
    by: str = ""
    at: datetime | None = None
    #: Why it is open although somebody answered it.
    note: str = ""


@dataclass(frozen=True)
class Section:
    id: str
    title: str
    items: tuple[Item, ...]

    @property
    def open(self) -> tuple[Item, ...]:
        return tuple(item for item in self.items if item.state == OPEN)


@dataclass(frozen=True)
class Checklist:
    """The state of a release's checklist at a moment: plain data, for pages, the API and the gate."""

    sections: tuple[Section, ...]
    at: datetime

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(item for section in self.sections for item in section.items)

    @property
    def open(self) -> tuple[Item, ...]:
        """What keeps the gate red."""
        return tuple(item for item in self.items if item.state == OPEN)

    @property
    def records(self) -> tuple[int, ...]:
        """The records behind its answers."""
        return tuple(sorted({item.record for item in self.items if item.record is not None}))


def sections_of(known: Iterable[Event]) -> tuple[ChecklistSection, ...]:
    """The sections that answers themselves name, for a system whose policy has no checklist."""
    named: dict[str, dict[str, ChecklistItem]] = {}
    for event in known:
        for section in event.facts.get("sections", []) if event.kind == KIND else []:
            items = named.setdefault(section["name"], {})
            for answer in section.get("items", []):
                item = str(answer.get("id") or answer["title"]).casefold()
                items[item] = ChecklistItem(item, answer["title"])
    return tuple(ChecklistSection(name, name, tuple(items.values())) for name, items in named.items())


def records_named(known: Iterable[Event]) -> set[int]:
    """Records that answers name as their evidence."""
    given = (answer.get("evidence") for event in known if event.kind == KIND for answer in _answers(event))
    return {index for evidence in given if (index := record_named(str(evidence or ""))) is not None}


def record_named(evidence: str) -> int | None:
    """The record that evidence names, as ``#12``; None where it is an address or a text."""
    found = re.fullmatch(r"#(\d{1,18})", evidence.strip())
    return int(found[1]) if found else None


def evaluate(
    sections: Sequence[ChecklistSection], known: Sequence[Event], *, gone: frozenset[int], at: datetime
) -> Checklist:
    """Pure: the sections of the policy, each item with its newest answer or the newest record that meets it."""
    answers = _newest_answers(known)
    manifest = newest(known, "deploy.manifest")
    return Checklist(
        tuple(
            Section(
                section.id, section.title, tuple(_item(item, answers, known, manifest, gone) for item in section.items)
            )
            for section in sections
        ),
        at,
    )


def _newest_answers(known: Iterable[Event]) -> dict[str, tuple[Event, Mapping[str, Any]]]:
    """By id and by title, since a pipeline may send either."""
    found = {}
    for event in known:
        if event.kind == KIND:
            for answer in _answers(event):
                found[str(answer.get("id") or answer["title"]).casefold()] = (event, answer)
    return found


def _answers(event: Event) -> list[Mapping[str, Any]]:
    return [answer for section in event.facts.get("sections", []) for answer in section.get("items", [])]


def _item(
    item: ChecklistItem,
    answers: Mapping[str, tuple[Event, Mapping[str, Any]]],
    known: Sequence[Event],
    manifest: Event | None,
    gone: frozenset[int],
) -> Item:
    given = [answers[key] for key in (item.id.casefold(), item.title.casefold()) if key in answers]
    note = ""
    if given:
        event, answer = max(given, key=lambda pair: pair[0].index)
        answered, note = _answered(item, event, answer, gone)
        if answered is not None:
            return answered
    record = _meeting(item.met_by, known, manifest) if item.met_by else None
    if record is not None:
        return Item(item.id, item.title, DONE, f"#{record.index}", "", record.index, record.by, record.occurred)
    return Item(item.id, item.title, OPEN, note=note)


def _answered(
    item: ChecklistItem, event: Event, answer: Mapping[str, Any], gone: frozenset[int]
) -> tuple[Item | None, str]:
    evidence, reason = answer.get("evidence", "").strip(), answer.get("reason", "").strip()
    named = record_named(evidence)
    if named in gone:
        return None, f"{evidence}, its evidence, does not count (withdrawn, or not of this system)"
    if answer["done"] and evidence:
        return Item(item.id, item.title, DONE, evidence, reason, event.index, event.by, event.at), ""
    if not answer["done"] and reason:
        return Item(item.id, item.title, EXCUSED, evidence, reason, event.index, event.by, event.at), ""
    return None, "ticked without evidence" if answer["done"] else "not done, and no reason given"


def _meeting(wanted: Mapping[str, Any], known: Sequence[Event], manifest: Event | None) -> Event | None:
    """The newest record of the kind for this build, if it meets the item: a later failure opens it again."""
    facts, at_least = wanted.get("facts", {}), wanted.get("at_least", {})
    candidates = [
        event
        for event in known
        if event.kind == wanted["kind"]
        and all(event.facts.get(name) == value for name, value in facts.items())
        and (manifest is None or is_about(event, manifest))
    ]
    last = candidates[-1] if candidates else None
    if last is None or (wanted.get("outcome") is not None and last.outcome != wanted["outcome"]):
        return None
    enough = all(isinstance(v := last.facts.get(name), int | float) and v >= least for name, least in at_least.items())
    return last if enough else None


def answer_body(section: Section, item: Item, *, done: bool, evidence: str = "", reason: str = "") -> dict[str, Any]:
    """The `release.checklist` record that answers one item."""
    given = {"id": item.id, "title": item.title, "done": done, "evidence": evidence, "reason": reason}
    return {
        "sections": [{"name": section.title, "items": [{k: v for k, v in given.items() if v != ""}]}],
    }
