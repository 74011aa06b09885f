"""What the stack says when it cannot go on: one line with the cause and the cure."""


class StackError(Exception):
    """A start that failed; ``cause`` is the fact, ``cure`` what the reader can do about it."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(f"{cause.rstrip('.')}. {cure}")
        self.cause = cause
        self.cure = cure
