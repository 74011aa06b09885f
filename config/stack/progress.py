"""What a person sees while the stack starts: a line per step, and never more than a few seconds of silence."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET_SECONDS = 4.0


def say(text: str = "") -> None:
    print(text, flush=True)


def complain(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Tick the step off when it is done; while it lasts say now and then that it still does."""
    began = time.monotonic()
    done = threading.Event()

    def remind() -> None:
        while not done.wait(_QUIET_SECONDS):
            say(f"… {what}: {time.monotonic() - began:.0f} s")

    reminder = threading.Thread(target=remind, daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
    say(f"✓ {what} ({time.monotonic() - began:.1f} s)")
