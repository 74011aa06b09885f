"""What the domain raises. It knows no HTTP: ``config.api.problem`` maps a category to a status.

Every error carries a stable ``code`` (part of the API's contract), a sentence that says what is wrong and,
where it helps, what to do; ``where`` names the member of the input that is meant (``$.body.artifacts[0]``).
"""

from typing import Any


class ProoftrailError(Exception):
    """Base of all domain errors."""

    code = "error"

    def __init__(self, detail: str, *, code: str | None = None, where: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.where = where
        self.extra = extra
        #: What goes beside the answer, for those that carry more than words.
        self.headers: dict[str, str] = {}
        if code is not None:
            self.code = code


class InvalidError(ProoftrailError):
    """The input is wrong: sending it again unchanged cannot succeed."""

    code = "invalid"


class ForbiddenError(ProoftrailError):
    """Who asks may not do this."""

    code = "forbidden"


class MissingError(ProoftrailError):
    """There is no such thing, or none that the asker may see."""

    code = "not_found"


class ConflictError(ProoftrailError):
    """The state of things does not allow it."""

    code = "conflict"


class GoneError(ProoftrailError):
    """It existed and was disposed of."""

    code = "record_disposed"


class TooLargeError(ProoftrailError):
    """More than the service takes."""

    code = "too_large"


class UnavailableError(ProoftrailError):
    """Not now; the same request may succeed later."""

    code = "unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1, **kwargs: Any) -> None:
        super().__init__(detail, **kwargs)
        self.retry_after = retry_after
