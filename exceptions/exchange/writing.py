"""The register as CSV, XLSX or JSON."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from evidence.people import Principal, visible_systems
from evidence.spreadsheets import defused
from evidence.workbooks import MEDIA_TYPE, workbook
from exceptions.exchange.fields import ALL, Names, Value, in_order, values
from exceptions.models.risks import RiskQuerySet

#: What a JSON file says of itself.
FORMAT, VERSION = "prooftrail-risks", 1
Rows = Sequence[Mapping[str, Value]]


@dataclass(frozen=True)
class Format:
    content_type: str
    write: Callable[[Rows, datetime], bytes]


def export(found: RiskQuerySet, principal: Principal, name: str, now: datetime) -> bytes:
    """These risks in one of FORMATS, oldest number first, with what the principal may see of their links."""
    risks = list(found.order_by("added_index"))
    names = Names.of(risks, visible_systems(principal))
    return FORMATS[name].write([values(risk, names) for risk in risks], now)


def filename(name: str, now: datetime) -> str:
    return f"risks-{now:%Y-%m-%d}.{name}"


def _csv(rows: Rows, _: datetime) -> bytes:
    """UTF-8 with its mark, which Excel needs to read it as such; no cell runs in a spreadsheet."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(ALL.values())
    for row in rows:
        writer.writerow([defused(cell) if isinstance(cell, str) else cell for cell in in_order(row)])
    return buffer.getvalue().encode("utf-8-sig")


def _xlsx(rows: Rows, _: datetime) -> bytes:
    return workbook("Risks", list(ALL.values()), [list(in_order(row)) for row in rows])


def _json(rows: Rows, now: datetime) -> bytes:
    told = {"format": FORMAT, "version": VERSION, "exported_at": now.isoformat(), "risks": rows}
    return json.dumps(told, ensure_ascii=False, indent=1).encode() + b"\n"


FORMATS: Mapping[str, Format] = {
    "csv": Format("text/csv; charset=utf-8", _csv),
    "xlsx": Format(MEDIA_TYPE, _xlsx),
    "json": Format("application/json", _json),
}
