"""The numbered steps that every verification prints, and how one of them fails."""

from dataclasses import dataclass

from evidence.tlog.errors import TlogError


@dataclass(frozen=True)
class Step:
    """One step of a verification, in the order and with the number of the documentation.

    ``ok`` is True for a step that holds and None for one that could not be checked (no trusted
    key given, say). A step that fails is never a value: it is raised as `VerificationError`.
    """

    number: int
    title: str
    detail: str
    ok: bool | None = True


class VerificationError(TlogError):
    """Step ``step`` does not hold; the message names what differs."""

    code = "verification_failed"

    def __init__(self, step: int, message: str) -> None:
        super().__init__(message)
        self.step = step
