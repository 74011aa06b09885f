"""Each replay and each refused reuse of a key is counted for its record and shown with it (R4.1)."""

import json
import threading
from functools import partial

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from config.stack.processes import wait_until
from evidence import repeats
from evidence.ledger import appender, reader
from evidence.ledger.check import check
from evidence.models import Repeat
from tests.evidence.conftest import RELEASE, Api

TEST = {"suite": "unit", "outcome": "passed", "passed": 412}


def record(release, **more):
    return {"kind": "test.result", "release": release, "body": TEST} | more


def counted(api, index):
    found = api.get(f"records/{index}").json()["repeats"]
    return found["replays"], found["refusals"]


def test_it_counts_replays_and_refusals_of_a_record(api, cast, release):
    index = api.post("records", record(release), Idempotency_Key="k-1").json()["index"]
    assert counted(api, index) == (0, 0)
    for _ in range(2):
        assert api.post("records", record(release), Idempotency_Key="k-1").status_code == 200
    other = api.post("records", record(release, body=TEST | {"passed": 1}), Idempotency_Key="k-1")
    assert other.json()["code"] == "idempotency_key_reused"
    assert counted(api, index) == (2, 1)
    assert check() == []  # they are beside the ledger

    client = Client()
    client.force_login(cast.alice)
    page = client.get(reverse("admin:evidence_record_change", args=[index])).content.decode()
    assert "2 × the same, answered as before" in page
    assert "1 × its key with another request, refused" in page


def test_it_counts_lines_of_batches_and_other_calls(api, release):
    lines = b"".join(json.dumps(record(release, idempotency_key=f"b-{n}")).encode() + b"\n" for n in range(3))
    post = partial(api.post, "records/batch", content_type="application/x-ndjson")
    first = [json.loads(line) for line in b"".join(post(lines).streaming_content).splitlines()]
    b"".join(post(lines).streaming_content)
    b"".join(post(lines.replace(b"412", b"413", 1)).streaming_content)
    assert [counted(api, line["receipt"]["index"]) for line in first] == [(1, 1), (2, 0), (2, 0)]

    opened = RELEASE | {"tag": "release-20260326"}
    index = api.post("releases", opened, Idempotency_Key="r-1").json()["receipt"]["index"]
    api.post("releases", opened, Idempotency_Key="r-1")
    assert counted(api, index) == (1, 0)


def test_it_writes_many_replays_as_one_row_in_the_background(api, release, monkeypatch):
    monkeypatch.setattr(repeats, "SECONDS", 0.05)
    index = api.post("records", record(release), Idempotency_Key="k-1").json()["index"]
    repeats.in_background()
    try:
        for _ in range(20):
            api.post("records", record(release), Idempotency_Key="k-1")
        assert wait_until(lambda: counted(api, index) == (20, 0), timeout=5)
        api.post("records", record(release), Idempotency_Key="k-1")
    finally:
        repeats.stop()  # writes what is left
    assert counted(api, index) == (21, 0)
    assert Repeat.objects.count() == 1


def test_what_the_database_does_not_take_is_written_the_next_time(api, release, owner):
    index = api.post("records", record(release), Idempotency_Key="k-1").json()["index"]
    owner.execute("ALTER TABLE evidence_repeat RENAME TO away")
    assert api.post("records", record(release), Idempotency_Key="k-1").status_code == 200
    owner.execute("ALTER TABLE away RENAME TO evidence_repeat")
    repeats.flush()
    assert counted(api, index) == (1, 0)


@pytest.mark.parametrize("grouped", [True, False])
def test_twins_at_once_give_one_record_and_two_equal_answers(cast, release, grouped):
    """Through one group commit, and as two processes would write."""
    size, ready, answers = reader.size(), threading.Barrier(4), []

    def send():
        ready.wait()
        try:
            answers.append(Api(cast.ci_token).post("records", record(release), Idempotency_Key="twin"))
        finally:
            connection.close()

    if grouped:
        appender.group_commits()
    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    appender.stop()
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 201]
    assert len({answer.content for answer in answers}) == 1
    assert reader.size() == size + 1
    assert counted(Api(cast.ci_token), size) == (3, 0)
