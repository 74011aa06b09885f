"""What must be refused, with its code and without a trace in the ledger."""

from config.errors import ProoftrailError
from evidence.models import Record


def refused(code: str) -> "_Refused":
    """A ProoftrailError with this code, and nothing written; a self-approval is noted as such."""
    return _Refused(code)


def _said() -> int:
    return Record.objects.exclude(kind="exception.self_approval_refused").count()


class _Refused:
    def __init__(self, code: str) -> None:
        self.code = code

    def __enter__(self) -> None:
        self.size = _said()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        assert isinstance(error, ProoftrailError), f"expected {self.code}, got {error!r}"
        assert error.code == self.code
        assert _said() == self.size
        return True
