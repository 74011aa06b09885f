"""What was measured: rows, the printed table, and ``bench.json``."""

import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from config.stack.services import ROOT

_PACKAGES = [
    *("django", "djangorestframework", "uvicorn", "uvloop", "granian"),
    *("psycopg", "cryptography", "jsonschema-rs", "zstandard"),
]


@dataclass(frozen=True)
class Row:
    """One figure with everything needed to judge it. `met` is None where nothing is wanted."""

    part: str
    name: str
    #: What it was measured at: connections, entries, lines.
    at: str
    rate: float | None = None
    unit: str = ""
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    refused: int | None = None
    errors: int | None = None
    #: Against what `wanted` names.
    ratio: float | None = None
    wanted: str = ""
    met: bool | None = None
    #: Figures of this part alone: tile reads, bytes, the runs behind a median.
    more: Mapping[str, Any] = field(default_factory=dict)


_COLUMNS = ("", "at", "rate", "p50 ms", "p95 ms", "p99 ms", "503", "ratio", "wanted", "met", "more")


def printed(rows: Iterable[Row]) -> str:
    """The table as text: a heading for each part, columns aligned over all."""
    listed = list(rows)
    cells = [_COLUMNS, *(_cells(row) for row in listed)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_COLUMNS) - 1)]
    lines, part = [_line(_COLUMNS, widths)], ""
    for row, line in zip(listed, cells[1:], strict=True):
        if row.part != part:
            part = row.part
            lines += ["", part]
        lines.append(_line(line, widths))
    return "\n".join(lines)


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    aligned = [
        cell.ljust(width) if column in (0, 1, 8) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells[:-1], widths, strict=True))
    ]
    return "  ".join([*aligned, cells[-1]]).rstrip()


def _cells(row: Row) -> tuple[str, ...]:
    more = ", ".join(f"{name} {_number(value)}" for name, value in row.more.items() if not isinstance(value, list))
    return (
        f"  {row.name}",
        row.at,
        f"{_number(row.rate)} {row.unit}" if row.rate is not None else "",
        *(_number(value) for value in (row.p50_ms, row.p95_ms, row.p99_ms)),
        _number(row.refused or None),
        _number(row.ratio),
        row.wanted,
        "" if row.met is None else "yes" if row.met else "NO",
        more,
    )


def _number(value: Any) -> str:
    """Three significant figures are what such a measurement carries."""
    if value is None:
        return ""
    if isinstance(value, str | bool):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def write_json(path: Path, rows: Iterable[Row], *, quick: bool, seconds: float) -> None:
    """Machine, versions, commit and every row, for whoever compares two runs."""
    content = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": quick,
        "seconds": round(seconds),
        "machine": machine(),
        "versions": {"python": sys.version.split()[0]} | {name: version(name) for name in _PACKAGES},
        "commit": commit(),
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def machine() -> dict[str, Any]:
    """Where it was measured."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024**2,
        "load_before": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def commit() -> str | None:
    """The commit of the checkout, None outside of one; a ``+`` marks changed files."""
    try:
        asked = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(asked, cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None
