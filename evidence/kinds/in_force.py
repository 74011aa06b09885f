"""The kinds that the ledger says were in force, against those of the files.

A record of kind `config.revision` named ``kinds`` holds ``fixed``: a digest for every version there has been, of all
that its records were checked by and are read by. That makes a version that was changed in its file known.
"""

from collections.abc import Mapping
from typing import Any

from evidence.kinds import Kinds
from evidence.kinds.definitions import OPEN
from evidence.ledger import reader
from evidence.models import Record


def recorded() -> Mapping[str, Any]:
    """The newest such record's body; empty before there is one."""
    row = (
        Record.objects.filter(kind="config.revision", facts__name="kinds", disposed_by=None).order_by("-index").first()
    )
    return reader.get(row.index).recorded.body if row is not None else {}


def faults(loaded: Kinds, known: Mapping[str, Any]) -> list[str]:
    """Versions that are no longer what they were, and what to do about each."""
    fixed = known.get("fixed", {})
    found = []
    for predicate_type, digest in sorted(loaded.fixed.items()):
        kind = loaded.by_predicate.get(predicate_type)
        if kind is None:
            continue  # a family: its members are known by name only
        if fixed.get(predicate_type, digest) != digest:
            found.append(
                f"Version {kind.version} of kind {kind.name} was changed in its file. Put it back as it was, and give"
                f" the changed one `version: {loaded.by_name[kind.name].version + 1}` in a document beside it."
            )
        elif predicate_type not in fixed and kind.version == 1 and _used_undeclared(kind.name):
            found.append(
                f"Kind {kind.name} was used before it was declared: those records are of version 1. Give its"
                " declaration `version: 2`."
            )
    return found


def _used_undeclared(name: str) -> bool:
    """Whether there are records of an open family under that name."""
    return name.startswith(f"{OPEN}.") and Record.objects.filter(kind=name).exists()
