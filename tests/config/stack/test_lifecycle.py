"""Stacks come and go, side by side, politely and killed; what they keep stays."""

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from config.stack.processes import wait_until
from tests.config.stack.running import RunningStack, listening_addresses

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks at processes through /proc"),
    pytest.mark.xdist_group("lifecycle"),
]


def _alive(pids: set[int]) -> set[int]:
    return {pid for pid in pids if Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes()}


def _write_marker(stack: RunningStack) -> None:
    with psycopg.connect(stack.env["OWNER_DATABASE_URL"]) as owner:
        owner.execute("CREATE TABLE marker AS SELECT 42 AS value")


def _read_marker(stack: RunningStack) -> object:
    with psycopg.connect(stack.env["OWNER_DATABASE_URL"]) as owner:
        return owner.execute("SELECT value FROM marker").fetchone()


@pytest.fixture
def two_stacks(tmp_path: Path) -> Iterator[tuple[RunningStack, RunningStack]]:
    with ExitStack() as cleanup:
        stacks = []
        for name in ("first", "second"):
            stacks.append(RunningStack(tmp_path / name))
            cleanup.callback(stacks[-1].remove)
            stacks[-1].start()
        yield stacks[0], stacks[1]


def test_it_lives_beside_another_survives_a_kill_and_leaves_nothing_behind(
    two_stacks: tuple[RunningStack, RunningStack],
) -> None:
    first, second = two_stacks
    assert first.is_healthy()
    assert second.is_healthy()
    assert not listening_addresses(first.pids()) & listening_addresses(second.pids())
    _write_marker(first)

    of_first = first.pids()
    assert first.end(signal.SIGINT) == 0
    assert _alive(of_first) == set(), "Ctrl-C left children"
    assert second.is_healthy()

    of_second = second.pids()
    _write_marker(second)
    second.kill()
    second.start()  # at once: what is left of the killed one is still on its way out
    assert _read_marker(second) == (42,)
    assert _alive(of_second) == set(), "processes of the killed run are still there"
    assert "the administrator is" not in second.said(), "a second start has no new password"

    of_second = second.pids()
    assert second.end(signal.SIGTERM) == 0
    assert _alive(of_second) == set(), "SIGTERM left children"

    first.start()
    assert _read_marker(first) == (42,)
    _end_by_a_lost_child(first)


def _end_by_a_lost_child(stack: RunningStack) -> None:
    everyone = stack.pids()
    (lost,) = [child["pid"] for child in stack.state["children"] if "beat" in child["command"]]
    os.kill(lost, signal.SIGKILL)
    assert stack.wait() == 1
    assert re.search(r"^error: Beat was killed by signal 9 and failed", stack.said(), re.MULTILINE), stack.said()
    assert wait_until(lambda: _alive(everyone) == set(), timeout=5)
