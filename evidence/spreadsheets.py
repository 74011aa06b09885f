"""Cells of CSV files that people open in a spreadsheet."""

#: What makes a spreadsheet run a cell.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def defused(text: str) -> str:
    """Text that no spreadsheet runs: what looks like a formula gets an apostrophe in front."""
    return "'" + text if text.startswith(FORMULA) else text
