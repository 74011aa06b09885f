"""A register of 100,000: the same few questions whatever its size, and none that looks at every row."""

from hashlib import md5
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.cast import assemble
from tests.exceptions.bulk import fill

LIST = "/admin/exceptions/securityexception/"
ROWS = 100_000
TABLE = "exceptions_securityexception"


@pytest.fixture
def lea(ledger: Any, owner: psycopg.Connection[Any]) -> Client:
    cast = assemble()
    fill(owner, ROWS)
    client = Client()
    client.force_login(cast.lea)
    return client


def test_it_asks_few_questions_and_reads_what_it_shows(lea: Client) -> None:
    asked = {
        "/admin/": 25,
        LIST: 12,
        f"{LIST}?p=100": 12,
        f"{LIST}?state=due&severity__exact=high&system=netlify-trading&expires=month": 12,
        f"{LIST}?waiting=me": 12,
        f"{LIST}?waiting=claims": 12,
        f"{LIST}?mine=yes&renewals=more": 12,
        f"{LIST}?o=4.6": 12,
        f"{LIST}?q=gateway+case": 12,
        f"{LIST}?q=EXC-77777": 12,
        f"{LIST}?q=nothing+of+the+kind": 12,
    }
    by_index = {"/admin/", LIST, f"{LIST}?waiting=me", f"{LIST}?waiting=claims", *(one for one in asked if "q=" in one)}
    for path, most in asked.items():
        with CaptureQueriesContext(connection) as seen:
            answer = lea.get(path)
        assert answer.status_code == 200
        assert len(seen) <= most, [path] + [one["sql"][:300] for one in seen]
        if path in by_index:
            _require_indexes(path, [one["sql"] for one in seen])
    assert "5,000 or more exceptions" in lea.get(LIST).content.decode()
    assert "EXC-77777" in lea.get(f"{LIST}?q=case+{md5(b'77777', usedforsecurity=False).hexdigest()}").content.decode()


def _require_indexes(path: str, queries: list[str]) -> None:
    """Of each query about exceptions, that its plan does not look at every one."""
    for sql in queries:
        if TABLE not in sql or not sql.startswith("SELECT") or sql.endswith("LIMIT 1"):
            continue
        with connection.cursor() as cursor:
            cursor.execute("EXPLAIN " + sql.replace("%", "%%"))
            plan = "\n".join(line for (line,) in cursor.fetchall())
        assert f"Seq Scan on {TABLE}" not in plan, f"{path}: {sql[:600]}\n{plan}"
