"""Reminders as they run in production: two workers and two beats, a broker, a mail server, one database."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from evidence.models import Record
from exceptions.models import Reminder
from tests.cast import Cast
from tests.conftest import Clone
from tests.engines import ROOT
from tests.exceptions.conftest import Request, in_days
from tests.smtp import Mailbox, content_of, serving

#: Beat inside the worker: two of these are two of each.
WORKER = ["-m", "celery", "-A", "config.celery", "worker", "--beat", "--pool", "solo", "--loglevel", "INFO"]
WORKER += ["--without-gossip", "--without-mingle"]
_ENDED = re.compile(r"Task exceptions\.tasks\.remind\w*\[\S+\] succeeded")
LONG_AGO = {"effective_from": in_days(-25)}


@dataclass
class Running:
    """What two workers do, and where."""

    mailbox: Mailbox
    logs: list[Path]

    def rounds(self) -> list[int]:
        """Rounds of reminders, of exceptions and of risks, that each worker has ended: beats that fall into step give
        one worker the one kind and the other the other."""
        return [len(_ENDED.findall(log.read_text())) for log in self.logs]


@pytest.fixture
def running(ledger: Clone, cast: Cast, tmp_path: Path) -> Iterator[Running]:
    found = Running(Mailbox(), [tmp_path / f"worker-{number}.log" for number in range(2)])
    with serving(found.mailbox) as port, ExitStack() as started:
        idle = dict.fromkeys(("OUTBOX_INTERVAL", "ANCHOR_INTERVAL", "DISPOSITION_INTERVAL"), "86400")
        mail = {"EMAIL_URL": f"smtp://127.0.0.1:{port}", "REMINDER_INTERVAL": "0.3"}
        env = {**os.environ, **ledger.environment, "DJANGO_SETTINGS_MODULE": "config.settings", **idle, **mail}
        for number, path in enumerate(found.logs):
            log = started.enter_context(path.open("w"))
            command = [sys.executable, *WORKER, "-n", f"w{number}@%h", "--schedule", str(tmp_path / f"beat-{number}")]
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
            started.callback(process.wait, timeout=20)
            started.callback(process.terminate)
        yield found


def wait_until(settled: Callable[[], bool], *, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not settled():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_two_workers_and_two_beats_tell_everybody_once(cast: Cast, approved: Request, running: Running) -> None:
    found = [approved(**LONG_AGO, expires_at=in_days(6)) for _ in range(4)]
    wait_until(lambda: min(running.rounds()) > 0)
    found += [approved(**LONG_AGO, expires_at=in_days(6)) for _ in range(4)]  # under their eyes
    wait_until(lambda: Record.objects.filter(kind="exception.reminded").count() >= 2 * len(found))
    before = running.rounds()
    wait_until(lambda: min(now - then for now, then in zip(running.rounds(), before, strict=True)) >= 3)
    mails = [(message["To"], content_of(message, "plain")) for message in running.mailbox.messages]
    told = Counter((to, each.pk) for to, text in mails for each in found if f" {each.pk} " in text)
    assert told == {(f"{name}@example.com", each.pk): 1 for name in ("alice", "charlie") for each in found}
    assert Record.objects.filter(kind="exception.reminded").count() == Reminder.objects.count() == 2 * len(found)
    assert all("Traceback" not in log.read_text() for log in running.logs)
