"""Remove data folders, after asking."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from config.stack.engines import folders
from config.stack.errors import StackError
from config.stack.orphans import end_orphans
from config.stack.progress import say
from config.stack.state import load, locked


def reset(candidates: Sequence[Path], *, sure: bool) -> int:
    """Remove those that are data folders of this product; the answer is an exit code."""
    existing = [folder for folder in candidates if folder.is_dir()]
    if not existing:
        say("nothing to remove")
        return 0
    for folder in existing:
        if load(folder) is None:
            raise StackError(f"{folder} is not a data folder of this product", "Check DATA_DIR; nothing was removed.")
    say("This removes all records, files and keys in:")
    for folder in existing:
        say(f"  {folder}")
    if not sure and not _confirmed():
        say("nothing was removed")
        return 1
    for folder in existing:
        _remove(folder)
        say(f"removed {folder}")
    return 0


def _confirmed() -> bool:
    sys.stdout.write("Type “remove” to go on: ")
    sys.stdout.flush()
    return sys.stdin.readline().strip() == "remove"


def _remove(folder: Path) -> None:
    with locked(folder):
        state = load(folder)
        if state is None:
            return
        end_orphans(state)
        for part in folders(state):
            shutil.rmtree(part)
