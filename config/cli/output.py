"""What the user sees: data on standard output, remarks on standard error."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 250
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: object) -> str:
    """Text from elsewhere, without characters that would steer the terminal."""
    return _CONTROL.sub("�", str(text))


def console(*, stderr: bool = False) -> Console:
    """One that shows text as it is."""
    # Made anew each time, since tests and pipes exchange the streams.
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def line(text: str, style: str = "") -> None:
    console().print(Text(plain(text), style=style), soft_wrap=True)


def note(text: str) -> None:
    console(stderr=True).print(Text(plain(text), style="dim"), soft_wrap=True)


def warn(text: str) -> None:
    console(stderr=True).print(Text(plain(text), style="yellow"), soft_wrap=True)


def failure(text: str, advice: str = "") -> None:
    target = console(stderr=True)
    target.print(Text(plain(text), style="bold red"), soft_wrap=True)
    if advice:
        target.print(Text(plain(advice)), soft_wrap=True)


def data(value: Any) -> None:
    """JSON for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def raw(content: bytes) -> None:
    """Bytes exactly as the server sent them."""
    sys.stdout.write(content.decode() + "\n")


def fields(value: Mapping[str, Any]) -> None:
    """One thing, a line for each member that says something."""
    shown = {name: item for name, item in value.items() if item not in (None, "", [], {})}
    width = max((len(name) for name in shown), default=0)
    for name, item in shown.items():
        line(f"{name.replace('_', ' '):<{width}}  {_cell(item)}")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str], *, empty: str) -> None:
    """Several things, one row each."""
    found, used = list(rows), list[str]()
    if not found:
        line(empty)
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        if any(row.get(column) not in (None, "", []) for row in found):
            drawn.add_column(column.replace("_", " "), overflow="fold")
            used.append(column)
    for row in found:
        drawn.add_row(*(Text(plain(_cell(row.get(column)))) for column in used))
    target = console()
    if not target.is_terminal:  # a log keeps whole lines
        target.width = _WIDE
    target.print(drawn)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    if isinstance(value, dict) and isinstance(value.get("name"), str):  # a person
        return str(value["name"])
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
