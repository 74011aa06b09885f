"""What is looked at before anything starts, so that a failure is one line with its cause and cure."""

import platform
import shutil
import struct
import sys
from pathlib import Path

from config.stack.errors import StackError
from config.stack.ports import is_free

#: PostgreSQL's write-ahead log, the object store's volumes and room to work.
NEEDED_BYTES = 1024**3


def check_platform() -> None:
    """The engines' wheels exist for 64-bit Linux (glibc) and macOS."""
    known = sys.platform in ("linux", "darwin") and platform.machine() in ("x86_64", "aarch64", "arm64")
    if sys.platform == "linux" and platform.libc_ver()[0] != "glibc":
        raise StackError(
            "This Linux has another C library than glibc (Alpine?), and there are no embedded engines for it",
            "Use a distribution with glibc, or engines of your own (docs/operations.md).",
        )
    if not known or struct.calcsize("P") != 8:
        raise StackError(
            f"There are no embedded engines for {platform.system()} on {platform.machine()}",
            "Use 64-bit Linux (glibc) or macOS, or engines of your own (docs/operations.md).",
        )


def check_disk(*folders: Path) -> None:
    for folder in folders:
        free = shutil.disk_usage(folder).free
        if free < NEEDED_BYTES:
            raise StackError(
                f"The disk is full: {folder} has {free // 1024**2} MiB free and {NEEDED_BYTES // 1024**2} are needed",
                "Free some space, or put DATA_DIR on another disk.",
            )


def check_web_port(port: int) -> None:
    if not is_free(port):
        raise StackError(f"Port {port} is taken by another program", "Choose another one: PORT=8001 (or stop it).")
