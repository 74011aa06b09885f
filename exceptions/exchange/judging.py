"""The verdict on each row: what it adds or changes in the register, or what is wrong with which cell."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from evidence import secretscan
from exceptions import risk_links, risks
from exceptions.exchange.cells import ADDED, BAD, CHANGED, CLOSED, FATES, LONG, SHOWN, UNCHANGED, Cells, Fate
from exceptions.exchange.fields import LISTS, STEPS, as_cell, values
from exceptions.exchange.known import Known, Person
from exceptions.exchange.reading import Line, Register
from exceptions.importing.mapping import Wishes
from exceptions.importing.rows import Problem
from exceptions.models import Risk

_HIDDEN = "(hidden)"


def judge(register: Register, wishes: Wishes, known: Known) -> list[Fate]:
    """Every row in order; new ones without a number of their own get theirs when they are recorded."""
    fates = [_Judged(line, wishes, known).fate for line in register.lines]
    given = {fate.risk for fate in fates if fate.fate == ADDED and fate.risk}
    number = max([known.last, *(int(name.partition("-")[2]) for name in given)])
    for fate in fates:
        if fate.fate == ADDED and fate.risk is None:
            number += 1
            fate.risk = f"RISK-{number:04d}"
    return fates


class _Judged(Cells):
    """One row on its way into a record's body."""

    def __init__(self, line: Line, wishes: Wishes, known: Known) -> None:
        super().__init__(line, wishes, known)
        if found := secretscan.scan({name: cell.text for name, cell in line.cells.items()}):
            reason = f"It holds what looks like a secret: {found[0].title}. Remove it, and have it revoked."
            self.fate.title = _HIDDEN
            self.fate.problems = [Problem(line.where, "", _HIDDEN, "secret_found", reason)]
            return
        risk, said = self.risk(), self.values()
        if risk is None:
            self._require(said)
        if not self.fate.problems and risk is None:
            self._add(said)
        elif not self.fate.problems and risk is not None:
            self._change(risk, said)
        if self.fate.problems:
            self.fate.fate, self.fate.changes, self.fate.body = BAD, {}, {}

    def _require(self, said: Mapping[str, Any]) -> None:
        """What a new risk cannot be without."""
        for name in ("title", "likelihood", "impact", "owner"):
            if name not in said:
                self._bad(name, f"{name}_missing", f"A new risk needs its {name}: name the column, or give a default.")
        owner: Person | None = said.get("owner")
        if owner is not None and not owner.active:
            self._bad("owner", "owner_left", f"{owner.name} has left: a new risk needs somebody who answers for it.")
        self._require_reach(said.get("systems"))

    def _require_reach(self, systems: Sequence[tuple[str, str]] | None) -> None:
        if (
            not systems
            and self._known.visible is not None
            and not any(p.field == "systems" for p in self.fate.problems)
        ):
            self._bad("systems", "system_not_yours", "A risk of the whole company needs somebody who sees all of it.")

    def _add(self, said: dict[str, Any]) -> None:
        owner, systems = said["owner"], said.get("systems", [])
        status = said.get("status") or "open"
        self.fate.fate, self.fate.closes = ADDED, status == Risk.CLOSED
        review = said.get("review_by") or risks.latest_review(risks.level_of(said), self._known.today)
        self._note_review(review, risks.level_of(said))
        body: dict[str, Any] = {name: said.get(name, "") for name in ("title", *LONG)}
        body |= {name: said.get(name) for name in STEPS} | {
            "owner": owner.uid,
            "owner_name": owner.name,
            "status": "open" if self.fate.closes else status,
            "systems": [name for _, name in systems],
            "review_by": review.isoformat(),
            "links": {name: said[name] for name in risk_links.NAMES if said.get(name)},
            "action_items": said.get("action_items", []),
        }
        self.fate.body = body | ({"reference": said["reference"]} if said.get("reference") else {})
        self.fate.scope = [pk for pk, _ in systems]

    def _change(self, risk: Risk, said: dict[str, Any]) -> None:
        now, changes = values(risk, self._known.names), dict[str, Any]()
        self.fate.scope = list(risk.systems)
        for name, value in said.items():
            if name not in self.defaulted:
                self._compare(risk, name, value, now, changes)
        if not self.fate.changes:
            self.fate.fate = UNCHANGED
            return
        if not risk.is_open:
            self._bad("status", "risk_closed", f"{risk.pk} is closed: a closed risk does not change, enter a new one.")
        if not risks.may_keep(risk, self._known.person) and risk.is_open:
            self._bad("number", "system_not_yours", f"{risk.pk} also covers what is not yours.")
        self.fate.closes = said.get("status") == Risk.CLOSED
        if changes and "review_by" not in changes:
            sooner = risks.sooner_review(risk, changes, self._known.today)
            changes |= {"review_by": sooner.isoformat()} if sooner else {}
        self.fate.body = changes
        self.fate.fate = CHANGED if changes else CLOSED

    def _compare(self, risk: Risk, name: str, value: Any, now: Mapping[str, Any], changes: dict[str, Any]) -> None:
        """Note a cell that says something else than the register, and how a record says it."""
        if value is None and name in {"review_by", "status"}:
            return  # nothing said: it stays
        was, said = _plain(as_cell(now[name])), _plain(self._as_text(name, value))
        if name in LISTS:  # in any order
            was, said = "\n".join(sorted(was.splitlines())), "\n".join(sorted(said.splitlines()))
        before = risk_links.links_of(risk).get(name)
        if before is not None:
            value = [*value, *risk_links.hidden(before, now[name], value, self._known.visible)]
        if was == said or (before is not None and set(value) == set(before)):
            return
        self.fate.changes[name] = {"from": was[:SHOWN], "to": said[:SHOWN]}
        if name == "owner":
            if not value.active:
                self._bad("owner", "owner_left", f"{value.name} has left.")
            changes |= {"owner": value.uid, "owner_name": value.name}
        elif name == "systems":
            self._require_reach(value)
            changes["systems"], self.fate.scope = [own for _, own in value], [pk for pk, _ in value]
        elif name in risk_links.NAMES:
            changes.setdefault("links", {})[name] = value
        elif name == "review_by":
            changes["review_by"] = value.isoformat()
            self._note_review(value, risk.level)
        elif not (name == "status" and value == Risk.CLOSED):
            changes[name] = value

    def _as_text(self, name: str, value: Any) -> str | int:
        """A value as an export would write it."""
        if name == "owner":
            return str(value.email)
        if name == "systems":
            return "\n".join(own for _, own in value)
        if name == "action_items":
            return as_cell([item | {"owner": self._known.emails[item["owner"]]} for item in value])
        if name == "review_by":
            return value.isoformat() if value else ""
        return as_cell(value)

    def _note_review(self, day: date, level: str) -> None:
        if day > risks.latest_review(level, self._known.today):
            self._flag("review_late")
        elif day < self._known.today and not self.fate.closes:
            self._flag("review_overdue")


def _plain(cell: str | int) -> str:
    """For comparing: spreadsheets change the ends of lines, and nobody means blanks at the ends."""
    return str(cell).replace("\r\n", "\n").replace("\r", "\n").strip()


def summary(fates: Sequence[Fate], register: Register) -> dict[str, Any]:
    """Counts, how the file was understood, and every row."""
    counted = Counter(fate.fate for fate in fates)
    return {
        "counts": {name: counted[name] for name in FATES},
        "columns": dict(register.columns),
        "unused": list(register.unused),
        "notes": list(register.notes),
        "rows": [fate.as_json() for fate in fates],
    }


def recordable(fates: Sequence[Fate]) -> Iterator[Fate]:
    """Rows that become records."""
    return (fate for fate in fates if fate.fate in {ADDED, CHANGED, CLOSED})
