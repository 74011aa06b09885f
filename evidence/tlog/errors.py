"""What this package raises: one base class, each subclass with a stable ``code``."""

from typing import ClassVar


class TlogError(Exception):
    """Anything this package refuses; ``code`` is stable, the message is for people."""

    code: ClassVar[str] = "tlog"


class MalformedError(TlogError):
    """Bytes or values that are not what their format says. ``path`` is a JSON path such as ``$.a[2].b``."""

    code = "malformed"

    def __init__(self, message: str, *, path: str | None = None) -> None:
        super().__init__(message if path is None else f"{message} (at {path})")
        self.path = path


class SignatureError(TlogError):
    """No trusted key signed this, or a trusted key's signature does not hold."""

    code = "signature_invalid"


class ProofError(TlogError):
    """An inclusion or consistency proof does not lead to the root it should."""

    code = "proof_invalid"
