"""Who can waive a requirement: asked here, answered by whoever registered at start (exceptions are downstream)."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol


class Waiver(Protocol):
    """An active exception that names the requirement."""

    @property
    def exception(self) -> str: ...

    @property
    def expires_at(self) -> datetime: ...


#: ``(requirement, system (opaque id), release, at)`` to what waives it then, the longest-lasting first.
Find = Callable[[str, str, str | None, datetime], Sequence[Waiver]]

_registered: list[Find] = []


def register(find: Find) -> None:
    """Have `find` asked too. Called when an app is ready; again with the same it changes nothing."""
    if find not in _registered:
        _registered.append(find)


def waivers(requirement: str, system: str, release: str | None, at: datetime) -> list[Waiver]:
    """What waives `requirement` for `system` at that moment; nothing where nobody registered."""
    return [waiver for find in _registered for waiver in find(requirement, system, release, at)]
