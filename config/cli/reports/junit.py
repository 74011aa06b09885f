"""JUnit XML as a `test.result`.

There is no specification: what is read is what pytest, Surefire, Gradle, Jest, Go, PHPUnit and .NET write alike.
A document type is refused, so that there are no entities to expand and nothing to fetch; the file is read as a stream.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from xml.parsers import expat

from config.cli import output
from config.cli.errors import usage

_DEEPEST = 64
_NAMED = 50
_LONGEST_NAME = 300
_LONGEST_SUITE = 80
_FAILED = {"failure", "error"}
_SUITES = {"testsuites", "testsuite"}


@dataclass
class _Totals:
    """What the file counts (`said`), and what was counted in it."""

    tests: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass
class _Run:
    name: str = ""
    counted: _Totals = field(default_factory=_Totals)
    said: _Totals = field(default_factory=_Totals)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    #: The ends of suites; None once there is a time without an offset, which could be any.
    ends: list[datetime] | None = field(default_factory=list)


def read(data: bytes, name: str, *, suite: str | None) -> dict[str, Any]:
    """The body of a `test.result`. Raises CommandError for what is no JUnit XML, or holds no test."""
    run = _Reader(name).read(data)
    tests = max(run.counted.tests, run.said.tests)
    if tests == 0:
        raise usage(f"{name} holds no test", "A run without tests is no evidence that they passed.")
    # A runner that crashed between tests says so in its totals alone.
    failed = max(run.counted.failed, run.said.failed)
    skipped = max(run.counted.skipped, run.said.skipped)
    body = {
        "suite": suite or _suite_of(run, name),
        "outcome": "failed" if failed else "passed",
        "passed": max(0, tests - failed - skipped),
        "failed": failed,
        "skipped": skipped,
        "duration_seconds": round(run.seconds, 3) if run.seconds else None,
        "finished_at": max(run.ends).strftime("%Y-%m-%dT%H:%M:%SZ") if run.ends else None,
        "failures": run.failures or None,
        "report": "junit",
    }
    return {name: value for name, value in body.items() if value is not None}


def _suite_of(run: _Run, name: str) -> str:
    if not run.name:
        raise usage(f"{name} does not name its suite", "Give --suite unit, integration, contract, lint …")
    output.note(f"The suite is {run.name!r}, as {name} says; --suite names it otherwise.")
    return run.name[:_LONGEST_SUITE]


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._run = _Run()
        self._stack: list[str] = []
        #: Of the test case that is being read.
        self._case: dict[str, str] = {}
        self._outcome = ""
        self._root_counts = False

    def read(self, data: bytes) -> _Run:
        parser = expat.ParserCreate()
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        try:
            parser.Parse(data, True)
        except expat.ExpatError as error:
            raise usage(f"{self._name} is not XML: {error}") from error
        return self._run

    def _doctype(self, *_: object) -> None:
        raise usage(f"{self._name} has a document type", "A test report needs none; it is refused for its entities.")

    def _start(self, tag: str, attributes: Mapping[str, str]) -> None:
        if not self._stack and tag not in _SUITES:
            raise usage(f"{self._name} is not JUnit XML: it begins with <{tag[:40]}>")
        if len(self._stack) >= _DEEPEST:
            raise usage(f"{self._name} is not JUnit XML: it is nested too deeply")
        parent = self._stack[-1] if self._stack else ""
        self._stack.append(tag)
        if tag in _SUITES:
            self._suite(attributes)
        elif tag == "testcase" and parent == "testsuite":
            self._case, self._outcome = dict(attributes), "passed"
        elif parent == "testcase" and tag in _FAILED:
            self._outcome = "failed"
        elif parent == "testcase" and tag == "skipped" and self._outcome == "passed":
            self._outcome = "skipped"
        elif parent == "testsuite" and tag in _FAILED:  # what failed around the tests, such as a set-up
            self._run.counted.failed += 1
            self._run.counted.tests += 1

    def _end(self, tag: str) -> None:
        self._stack.pop()
        if tag == "testcase" and self._outcome:
            counted = self._run.counted
            counted.tests += 1
            counted.failed += self._outcome == "failed"
            counted.skipped += self._outcome == "skipped"
            if self._outcome == "failed" and len(self._run.failures) < _NAMED:
                self._run.failures.append(_name_of(self._case))
            self._outcome = ""

    def _suite(self, attributes: Mapping[str, str]) -> None:
        """Totals count once: the root's where it has them, else those of the suites right below it."""
        depth = len(self._stack)
        if depth <= 2 and not self._run.name:
            self._run.name = attributes.get("name", "").strip()
        seconds = _number(attributes.get("time"))
        self._note_end(attributes.get("timestamp"), seconds)
        if depth == 1:
            self._root_counts = "tests" in attributes
        if depth == 1 or (depth == 2 and not self._root_counts):
            said = self._run.said
            said.tests += int(_number(attributes.get("tests")))
            said.failed += int(_number(attributes.get("failures"))) + int(_number(attributes.get("errors")))
            said.skipped += int(_number(attributes.get("skipped") or attributes.get("disabled")))
            self._run.seconds += seconds

    def _note_end(self, timestamp: str | None, seconds: float) -> None:
        if not timestamp or self._run.ends is None:
            return
        try:
            start = datetime.fromisoformat(timestamp)
            end = start.astimezone(UTC) + timedelta(seconds=seconds)
        except (ValueError, OverflowError):
            return
        self._run.ends = [*self._run.ends, end] if start.tzinfo else None


def _number(text: str | None) -> float:
    """An attribute's number; 0 for none, or for what is none."""
    try:
        value = float((text or "0").replace(",", ""))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and 0 <= value < 1e9 else 0.0


def _name_of(case: Mapping[str, str]) -> str:
    parts = [part for part in (case.get("classname"), case.get("name")) if part]
    return ".".join(parts)[:_LONGEST_NAME] or "unnamed"
