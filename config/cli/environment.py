"""What the command line takes from environment variables, its own and those of CI systems."""

import os
import re
from collections.abc import Sequence

from config.cli.errors import usage

OWN = (
    "PROOFTRAIL_URL",
    "PROOFTRAIL_TOKEN",
    "PROOFTRAIL_CONFIG",
    "PROOFTRAIL_LOG_KEY",
    "PROOFTRAIL_RETRIES",
    "PROOFTRAIL_ID_TOKEN",
)
_DEFAULT_RETRIES = 4
_EMPTY_OPTION = re.compile(r"--[a-z-]+=\s*")


def check(arguments: Sequence[str]) -> None:
    """Refuse variables and arguments that are empty: an unset shell variable must never turn a verdict."""
    for name in OWN:
        if name in os.environ and not os.environ[name].strip():
            raise usage(f"{name} is set but empty", "Give it a value or unset it.")
    for argument in arguments:
        if not argument.strip() or _EMPTY_OPTION.fullmatch(argument):
            raise usage("An argument is empty", "A shell variable is probably unset; quote and check it.")


def variable(name: str) -> str | None:
    return os.environ.get(name) or None


def retries() -> int:
    """How often a request is tried again (``PROOFTRAIL_RETRIES``)."""
    value = variable("PROOFTRAIL_RETRIES")
    if value is None:
        return _DEFAULT_RETRIES
    if not value.isascii() or not value.isdigit() or int(value) > 20:
        raise usage(f"PROOFTRAIL_RETRIES is {value!r}, not a number from 0 to 20")
    return int(value)


def commit() -> str | None:
    """The commit that a GitHub or GitLab job builds."""
    return variable("GITHUB_SHA") or variable("CI_COMMIT_SHA")


def tag() -> str | None:
    """The tag that a GitHub or GitLab job runs for."""
    if variable("GITHUB_REF_TYPE") == "tag":
        return variable("GITHUB_REF_NAME")
    return variable("CI_COMMIT_TAG")
