"""GET /metrics: to whom it answers, and that its numbers are those of the service."""

import re
from collections import Counter
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.test import Client
from django.utils import timezone

from config.metrics.checks import metrics_token_is_long
from config.metrics.exposition import Family, Sample, exposed
from evidence.anchors import publish
from evidence.models import SignOffRequest
from tests import engines
from tests.cast import assemble
from tests.served import served

TOKEN = "only-for-tests-" + "0123456789" * 3
_SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="(?:[^"\\\n]|\\.)*",?)*\})? (\S+)')


def _numbers(text: str) -> dict[str, float]:
    """Every sample by its name and labels; each line is one or a comment, and none comes twice."""
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            match = _SAMPLE.fullmatch(line)
            assert match, line
            name = match[1] + (match[2] or "")
            assert name not in found
            found[name] = float(match[3])
    return found


def _scrape(token: str | None = TOKEN) -> Any:
    headers = {"Authorization": f"Bearer {token}"} if token is not None else {}
    return Client().get("/metrics", headers=headers)


@pytest.fixture
def token(settings, tmp_path):
    settings.METRICS_TOKEN, settings.METRICS_DIR = TOKEN, tmp_path / "metrics"
    return TOKEN


@pytest.mark.parametrize(
    ("sent", "code"), [(None, "not_authenticated"), ("", "token_invalid"), (TOKEN[:-1], "token_invalid")]
)
def test_it_answers_nobody_without_the_token(token, broker, sent, code):
    answer = _scrape(sent)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer["WWW-Authenticate"]
    assert TOKEN not in answer.content.decode()


def test_it_answers_nobody_where_no_token_is_set(settings, broker):
    settings.METRICS_TOKEN = ""
    assert {_scrape(sent).status_code for sent in (None, "", "x")} == {401}


def test_it_is_no_place_for_a_pipelines_token(token, ledger):
    assert _scrape(assemble().ci_token).status_code == 401


def test_it_refuses_a_token_that_can_be_guessed(settings):
    settings.METRICS_TOKEN = "x" * 31
    assert [error.id for error in metrics_token_is_long()] == ["config.E001"]
    settings.METRICS_TOKEN += "x"
    assert metrics_token_is_long() == []


def test_it_tells_the_state_of_the_ledger_and_what_waits(token, ledger, anchors):
    assemble()
    now = timezone.now()
    SignOffRequest.objects.create(
        release="r", manifest_digest="d", recipient="usr_1", next_attempt_at=now, created_at=now - timedelta(hours=1)
    )
    before = _numbers(_scrape().content.decode())
    assert before["prooftrail_database_up"] == 1
    assert before["prooftrail_ledger_records"] > 0 == before["prooftrail_anchor_records"]
    assert before["prooftrail_anchor_waiting_seconds"] > 0
    assert before['prooftrail_outbox_waiting{outbox="sign_offs"}'] == 1
    assert before['prooftrail_outbox_oldest_seconds{outbox="sign_offs"}'] == pytest.approx(3600, abs=60)
    assert before['prooftrail_outbox_waiting{outbox="reminders"}'] == 0
    publish()
    after = _numbers(_scrape().content.decode())
    assert after["prooftrail_anchor_records"] == after["prooftrail_ledger_records"]
    assert after["prooftrail_anchor_waiting_seconds"] == 0 <= after["prooftrail_anchor_age_seconds"] < 60


def test_it_counts_what_all_processes_answered_also_while_the_database_is_away(ledger, tmp_path):
    cast = assemble()
    record = {"kind": "test.result", "body": {"suite": "unit", "outcome": "passed"}}
    with served(ledger, tmp_path, METRICS_TOKEN=TOKEN, RATE_LIMIT_WRITES="0.01,5") as url:
        headers = {"Authorization": f"Bearer {cast.ci_token}"}
        statuses = Counter(
            # A connection for each, so that both processes get some.
            httpx.post(
                f"{url}/api/v1/records", json=record | {"system": "netlify-trading"}, headers=headers
            ).status_code
            for _ in range(24)
        )
        numbers = _numbers(_away(ledger, url))
    count = "prooftrail_http_request_duration_seconds_count"
    counted = {name: numbers.get(f'{count}{{route="record",status="{name}"}}', 0) for name in ("2xx", "4xx", "429")}
    refused = statuses[429]
    assert refused > 0
    assert counted == {"2xx": statuses[201], "4xx": 24 - statuses[201] - refused, "429": refused}
    assert numbers["prooftrail_rate_limit_refusals_total"] == refused
    assert numbers["prooftrail_database_up"] == 0
    assert "prooftrail_ledger_records" not in numbers
    assert numbers['prooftrail_http_requests_in_flight{route="health"}'] == 1, "this one"
    assert numbers["prooftrail_web_processes"] in (1, 2)


def _away(ledger, url: str) -> str:
    """What it says while the database lets nobody in."""
    with engines.server().connect() as connection:
        connection.execute(f"ALTER DATABASE {ledger.name} ALLOW_CONNECTIONS false")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [ledger.name])
        try:
            answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        finally:
            connection.execute(f"ALTER DATABASE {ledger.name} ALLOW_CONNECTIONS true")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return answer.text


def test_it_spells_labels_so_that_no_value_can_forge_a_line():
    family = Family("a_total", "counter", "one\ntwo", [Sample(1.5, {"b": 'x"\n\\'})])
    assert exposed([family]) == '# HELP a_total one\\ntwo\n# TYPE a_total counter\na_total{b="x\\"\\n\\\\"} 1.5\n'
