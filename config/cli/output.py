"""What the user sees: data on standard output, remarks on standard error."""

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import rich.progress
from rich.console import Console
from rich.table import Table
from rich.text import Text

_WIDE = 250
#: Seconds that something takes before its progress is shown.
_SHOWN_AFTER = 1.0
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain(text: object) -> str:
    """Text from elsewhere, without characters that would steer the terminal."""
    return _CONTROL.sub("�", str(text))


def _console(*, stderr: bool = False) -> Console:
    # Made anew each time, since tests and pipes exchange the streams.
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False)


def line(text: str, style: str = "") -> None:
    _console().print(Text(plain(text), style=style), soft_wrap=True)


def note(text: str) -> None:
    _console(stderr=True).print(Text(plain(text), style="dim"), soft_wrap=True)


def warn(text: str) -> None:
    _console(stderr=True).print(Text(plain(text), style="yellow"), soft_wrap=True)


def failure(text: str, advice: str = "") -> None:
    console = _console(stderr=True)
    console.print(Text(plain(text), style="bold red"), soft_wrap=True)
    if advice:
        console.print(Text(plain(advice)), soft_wrap=True)


def data(value: Any) -> None:
    """JSON for programs."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def raw(content: bytes) -> None:
    """Bytes exactly as the server sent them."""
    sys.stdout.write(content.decode() + "\n")


class Progress:
    """How much is done of something that may take long. Nothing is drawn for what is over within a second."""

    def __init__(self, bar: rich.progress.Progress, task: rich.progress.TaskID, total: int) -> None:
        self._bar, self._task, self._total = bar, task, total
        self._shown_from = time.monotonic() + _SHOWN_AFTER
        self._started = False
        self.done = 0

    def advance(self, by: int) -> None:
        self.at(self.done + by)

    def at(self, done: int) -> bool:
        """True if that is further than before."""
        further, self.done = done > self.done, min(done, self._total)
        if not self._started and time.monotonic() > self._shown_from:
            self._started = True
            self._bar.start()
        self._bar.update(self._task, completed=self.done)
        return further


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress]:
    """A bar on standard error while the block runs; in a log, one line at its end."""
    console = _console(stderr=True)
    columns = (
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
    )
    bar = rich.progress.Progress(*columns, console=console, transient=console.is_terminal)
    try:
        yield Progress(bar, bar.add_task(plain(what), total=total), total)
    finally:
        bar.stop()


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
    console = _console()
    if not console.is_terminal:  # a log keeps whole lines
        console.width = _WIDE
    console.print(drawn)


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
