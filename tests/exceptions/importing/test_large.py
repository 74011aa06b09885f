"""A large register, while others write."""

import threading
import time

import pytest
from django.db import connection

from evidence.ledger import append, service_draft, store
from exceptions.importing import jobs
from exceptions.models import Import, SecurityException
from tests.cast import assemble
from tests.exceptions.conftest import actor
from tests.exceptions.importing.files import csv_of, row


@pytest.mark.parametrize("rows", [2_500, pytest.param(50_000, marks=pytest.mark.faults)])
def test_it_brings_many_rows_while_others_write(ledger, capsys, monkeypatch, rows: int) -> None:
    monkeypatch.setattr(store, "MAX_BATCH", rows // 5)
    cast = assemble()
    data = csv_of(*(row(ref=f"SEC-{number}", title=f"Exception {number}") for number in range(rows)))
    opened = jobs.open_import(person=cast.lea, filename="large.csv", data=data, dry_run=False)
    ended, waits = threading.Event(), list[float]()

    def write() -> None:
        body = {"system": cast.billing.id, "name": "billing", "title": "Billing", "sandbox": False}
        try:
            while not ended.wait(0.05):
                start = time.monotonic()
                append(service_draft("config.system", body, actor=actor(cast.root), systems=[cast.billing.id]))
                waits.append(time.monotonic() - start)
        finally:
            connection.close()

    writer = threading.Thread(target=write)
    writer.start()
    start = time.monotonic()
    try:
        jobs.run(opened.pk)
    finally:
        ended.set()
        writer.join()
    took = time.monotonic() - start
    opened.refresh_from_db()
    assert opened.state == Import.DONE, opened.error
    assert SecurityException.objects.count() == rows
    assert opened.done == rows
    assert len(waits) > 5
    waits.sort()
    with capsys.disabled():  # for docs/exceptions.md
        print(f"\n{rows} rows: {took:.1f} s; {len(waits)} other writes, the slowest {waits[-1]:.1f} s")
