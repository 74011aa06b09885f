"""Cells of CSV files that people open in a spreadsheet."""

import re

#: What makes a spreadsheet run a cell, behind spaces and apostrophes too.
_RUNS = re.compile(r"['\s]*[=+\-@\t\r\n]")


def defused(text: str) -> str:
    """Text that no spreadsheet runs: what looks like a formula, or like one that is defused, gets an apostrophe in
    front. `undefused` gives back the same text."""
    return "'" + text if _RUNS.match(text) else text


def undefused(text: str) -> str:
    """The text of a cell that `defused` wrote."""
    return text[1:] if text.startswith("'") and _RUNS.match(text[1:]) else text
