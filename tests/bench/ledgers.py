"""Ledgers of chosen sizes, each in a database of its own beside the stack's."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from config.stack import services
from config.stack.progress import say
from tests.bench.load import LoadError
from tests.bench.stage import Pipeline, Server, Stage

SIZES, QUICK_SIZES = (1_000, 100_000, 1_000_000), (1_000, 20_000)
#: What an entry takes, exported copies included.
_BYTES = 6_000
_EMPTY = "bench_empty"


@dataclass
class Inside:
    """A process with the product's code beside one database (tests/bench/inside.py)."""

    env: Mapping[str, str]
    _process: subprocess.Popen[str] | None = field(default=None, repr=False)

    def __call__(self, work: str, **arguments: Any) -> Any:
        self.ask(work, **arguments)
        return self.answer()

    def ask(self, work: str, **arguments: Any) -> None:
        self._write({"do": work, **arguments})

    def nudge(self) -> None:
        """Make work that goes on until it is told so come to its end."""
        self._write({})

    def _write(self, asked: dict[str, Any]) -> None:
        if self._process is None:
            command = [sys.executable, "-m", "tests.bench.inside"]
            self._process = subprocess.Popen(
                command, cwd=services.ROOT, env=dict(self.env), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()

    def answer(self) -> Any:
        assert self._process is not None
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise LoadError("the process beside the database ended: see what it printed above")
        return json.loads(line)

    def close(self) -> None:
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait(30)
            self._process = None


@dataclass(frozen=True)
class Ledger:
    """One of about `size` entries."""

    size: int
    env: Mapping[str, str]
    inside: Inside
    pipeline: Pipeline


@contextmanager
def ledgers(stage: Stage) -> Iterator[list[Ledger]]:
    """Ledgers by size, smallest first; the databases are dropped with the block."""
    sizes = QUICK_SIZES if stage.quick else SIZES
    if shutil.disk_usage(stage.data_dir).free < _BYTES * sum(sizes):
        raise LoadError(f"Ledgers of {sum(sizes):,} entries need {_BYTES * sum(sizes) // 1024**2:,} MiB of free disk.")
    pipeline = _empty(stage)
    made: list[Ledger] = []
    try:
        for size in sizes:
            made.append(_filled(stage, size, pipeline))
        yield made
    finally:
        for ledger in made:
            ledger.inside.close()
            stage.drop_database(_name(ledger.size))
        stage.drop_database(_EMPTY)


def _empty(stage: Stage) -> Pipeline:
    """The product's tables with one system, pipeline and release: what the others start from."""
    env = stage.empty_ledger(_EMPTY)
    with stage.serving(env, name="empty") as server:
        return stage.new_pipeline(server)


def _filled(stage: Stage, size: int, pipeline: Pipeline) -> Ledger:
    env = stage.new_database(_name(size), template=_EMPTY)
    inside = Inside(env)
    done = inside("fill", count=size)
    stage.tidy(_name(size))  # autovacuum would come in the middle of a measurement
    say(f"  a ledger of {done['size']:,} entries, filled in {done['seconds']:.0f} s")
    return Ledger(size, env, inside, pipeline)


def _name(size: int) -> str:
    return f"bench_{size}"


@contextmanager
def serving(stage: Stage, ledger: Ledger) -> Iterator[Server]:
    """A web server over one of the ledgers."""
    with stage.serving(ledger.env, name=str(ledger.size)) as server:
        yield server
