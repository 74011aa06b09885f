"""A web process and a worker refuse to start where the service could not keep its promises."""

import os
import subprocess
import sys

import pytest
import redis

from tests.conftest import Clone
from tests.engines import ROOT

WEB = [sys.executable, "-c", "import config.wsgi; print('serving')"]
WORKER = [sys.executable, "-m", "celery", "-A", "config.celery", "worker", "--pool", "solo", "-l", "INFO"]


def _environment(ledger: Clone, **variables: str) -> dict[str, str]:
    return {**os.environ, **ledger.environment, "DJANGO_SETTINGS_MODULE": "config.settings", **variables}


def _start(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", [WEB, WORKER], ids=["web", "worker"])
def test_it_refuses_to_run_as_the_owner_of_the_tables(command: list[str], ledger: Clone) -> None:
    done = _start(command, _environment(ledger, DATABASE_URL=ledger.owner_url))
    assert done.returncode == 1
    (refusal,) = [line for line in done.stderr.splitlines() if line.startswith("refusing to start: ")]
    assert "own" in refusal


def test_it_refuses_to_run_without_a_secret(ledger: Clone) -> None:
    done = _start(WEB, _environment(ledger, SECRET_KEY="short"))
    assert done.returncode == 1
    assert "refusing to start: " in done.stderr
    assert "SECRET_KEY" in done.stderr


@pytest.mark.timeout(60)
def test_it_starts_as_the_runtime_role(ledger: Clone) -> None:
    done = _start(WEB, _environment(ledger))
    assert done.stdout == "serving\n", done.stderr
    worker = subprocess.Popen(WORKER, cwd=ROOT, env=_environment(ledger), stderr=subprocess.PIPE, text=True)
    try:
        assert worker.stderr
        while "ready." not in (line := worker.stderr.readline()):
            assert line, "the worker ended"
    finally:
        worker.terminate()
        worker.communicate()


def test_it_sends_a_web_process_tasks_to_the_broker(ledger: Clone) -> None:
    from evidence.tasks import tend_artifacts

    with redis.Redis.from_url(ledger.broker_url) as broker:
        tend_artifacts.delay()
        assert broker.llen("celery") == 1
