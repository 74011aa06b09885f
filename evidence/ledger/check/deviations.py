"""What a check finds."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Deviation:
    """`what` is wrong (entry, payload, tile …), `where` it is, and how it differs."""

    what: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}: {self.detail}"


Report = Callable[[Deviation], None]
#: Entries done, and how many there are.
Progress = Callable[[int, int], None]
#: (what, where, detail)
Deviates = Callable[[str, str, str], None]
