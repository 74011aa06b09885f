"""How a command ends. Scripts branch on these codes, so a verdict is never mistaken for an accident."""

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    #: The answer is no: a gate is red, a verification failed.
    NO = 1
    #: Server or network: trying again may help.
    SERVER = 2
    NOT_AUTHORISED = 3
    #: The command, its input or its environment is wrong: trying again unchanged cannot help.
    USAGE = 4


class CommandError(Exception):
    """Ends the command: what went wrong, what to do about it, and the exit code."""

    def __init__(self, message: str, *, code: ExitCode, advice: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.advice = advice


def usage(message: str, advice: str = "") -> CommandError:
    return CommandError(message, code=ExitCode.USAGE, advice=advice)
