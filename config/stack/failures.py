"""What is said of an engine that does not come up or goes down: its own last words, and a known cure."""

import re
from collections.abc import Mapping, Sequence

from config.stack.errors import StackError
from config.stack.processes import Child

#: What engines write when something outside them is wrong, and what helps.
_KNOWN: Mapping[str, tuple[str, str]] = {
    "No space left on device": ("The disk is full", "Free some space, or put DATA_DIR on another disk."),
    "no space left on device": ("The disk is full", "Free some space, or put DATA_DIR on another disk."),
    "Address already in use": ("Somebody took its port meanwhile", "Start again: it chooses another one."),
    "address already in use": ("Somebody took its port meanwhile", "Start again: it chooses another one."),
    "Cannot allocate memory": ("There is not enough memory", "Free about 1 GiB."),
}

_ERROR_LINE = re.compile(r"^[\w.]+(Error|Exception|Denied|Missing): |FATAL|PANIC|refusing|[Ee]rror:")


def failure(name: str, output: str, cure: str) -> StackError:
    """The error for a program that ended badly and wrote ``output``."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    for sign, (cause, known_cure) in _KNOWN.items():
        for line in reversed(lines):
            if sign in line:
                return StackError(f"{cause}: {name} says “{line}”", known_cure)
    return StackError(f"{name} failed; it says “{_telling(lines)}”" if lines else f"{name} failed silently", cure)


def _telling(lines: Sequence[str]) -> str:
    """The last line that looks like an error, else the last one."""
    return next((line for line in reversed(lines) if _ERROR_LINE.search(line)), lines[-1])


def failed_to_start(child: Child, detail: str = "") -> StackError:
    """The error for a child that did not come up."""
    output = child.recent_output()
    return failure(
        f"The start of {child.name}", f"{output}\n{detail}" if not output.strip() else output, f"See {child.log}."
    )


def went_down(child: Child) -> StackError:
    """The error for a child that ran and ended by itself."""
    code = child.process.returncode
    how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
    return failure(f"{child.name} {how} and", child.recent_output(), f"See {child.log}.")
