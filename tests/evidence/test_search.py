"""Search over many records: each question reads its page and little else, at any depth."""

import json
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from evidence import search
from tests.cast import Cast
from tests.evidence.conftest import Api

ROWS = 60_000
#: Searchable rows alone, spread as a year of releases would be; a batch of twenty shares its time.
FILL = """
INSERT INTO evidence_record ("index", at, kind, occurred, principal, scope, release, subjects, outcome, facts)
SELECT i, t, (ARRAY['test.result', 'scan.result', 'deploy.finished', 'validation.result'])[1 + i %% 4], t,
  'p_' || i %% 5, ARRAY[CASE WHEN i %% 10 = 0 THEN 'sys_other' ELSE %(system)s END], 'shop:r' || i / 300,
  ARRAY['sha256:' || encode(sha256(i::text::bytea), 'hex')], CASE WHEN i %% 2000 = 1 THEN 'failed' ELSE 'passed' END,
  '{}'
FROM (SELECT i, timestamptz '2025-01-01Z' + i / 20 * interval '2 hours' AS t
      FROM generate_series(1000, 1000 + %(rows)s - 1) AS i) AS made
"""


@pytest.fixture
def many(cast: Cast, superuser: psycopg.Connection[Any]) -> str:
    """A digest among them."""
    superuser.execute(FILL, {"system": cast.trading.pk, "rows": ROWS})
    superuser.execute("ANALYZE evidence_record")
    row = superuser.execute('SELECT subjects[1] FROM evidence_record WHERE "index" = 4321').fetchone()
    assert row is not None
    return str(row[0])


def ask(api: Api, query: str) -> dict[str, Any]:
    answer = api.get(f"records?{query}".rstrip("?"))
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def rows_read(api: Api, query: str) -> tuple[int, int]:
    """Rows that the page shows, and rows of the table that were read for it; none by reading the table through."""
    with CaptureQueriesContext(connection) as captured:
        shown = len(ask(api, query)["results"])
    statements = [entry["sql"] for entry in captured.captured_queries]
    (select,) = [sql for sql in statements if sql.startswith("SELECT") and 'FROM "evidence_record"' in sql]
    with transaction.atomic(), connection.cursor() as cursor:
        for sql in statements:
            if sql.startswith("SET LOCAL"):
                cursor.execute(sql)
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {select}")
        ((answer,),) = cursor.fetchall()
    (plan,) = json.loads(answer) if isinstance(answer, str) else answer
    nodes = list(_nodes(plan["Plan"]))
    assert "Seq Scan" not in {node["Node Type"] for node in nodes}, nodes
    scans = [node for node in nodes if node.get("Relation Name") == "evidence_record"]
    assert scans
    return shown, int(sum(node["Actual Rows"] + node.get("Rows Removed by Filter", 0) for node in scans))


def _nodes(plan: dict[str, Any]):
    yield plan
    for child in plan.get("Plans", []):
        yield from _nodes(child)


def test_it_reads_a_page_and_little_else(api, many):
    questions = [
        "",
        "kind=deploy.finished",
        "release=shop:r42",
        f"subject={many}",
        "subject=sha256:unknown",
        "principal=p_3",
        "outcome=failed",
        "kind=scan.result&outcome=failed",
        "from=2025-03-01T00:00:00Z&to=2025-04-01T00:00:00Z",
        "kind=test.result&from=2025-02-01T00:00:00Z&to=2025-10-01T00:00:00Z",
        f"subject={many}&kind=scan.result&from=2025-01-01T00:00:00Z",
    ]
    for asked in questions:
        shown, read = rows_read(api, asked)
        assert read <= 10 * max(shown, 50), (asked, shown, read)
    assert ask(api, f"subject={many}")["results"][0]["index"] == 4321


@pytest.mark.parametrize("asked", ["", "from=2025-01-01T00:00:00Z"])
def test_its_last_page_costs_what_the_first_does_and_no_row_is_lost(api, many, asked):
    seen: list[int] = []
    query, last = f"limit=500&{asked}", ""
    while query:
        page = ask(api, query)
        seen += [row["index"] for row in page["results"]]
        last, query = query, urlsplit(page["next"]).query if page["next"] else ""
    made = [index for index in seen if index >= 1000]
    assert made == [index for index in reversed(range(1000, 1000 + ROWS)) if index % 10]  # not the other system's
    assert len(seen) == len(set(seen))
    shown, read = rows_read(api, last)
    assert read <= 1.2 * shown + 50
    back = ask(api, urlsplit(page["previous"]).query)
    assert [row["index"] for row in back["results"]] == seen[-shown - 500 : -shown]
    assert urlsplit(back["next"]).query


def test_a_search_that_reads_too_much_ends_and_says_so(api, monkeypatch):
    monkeypatch.setattr(search, "LONGEST_MS", 20)
    monkeypatch.setattr(search.Question, "among", lambda self, found: found.extra(where=["pg_sleep(1) IS NOT NULL"]))
    answer = api.get("records")
    assert (answer.status_code, answer.json()["code"]) == (422, "search_too_wide")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "limit_invalid"),
        ("limit=501", "limit_invalid"),
        ("limit=ten", "limit_invalid"),
        ("cursor=no", "cursor_invalid"),
        ("cursor=WzAsICJhYmMiXQ", "cursor_invalid"),  # [0, "abc"]
        ("cursor=WzAsIDk5OTk5OTk5OTk5OTk5OTk5OTk5OV0", "cursor_invalid"),  # an index beyond 64 bits
        ("from=2025-01-01T00:00:00Z&cursor=WzAsIDVd", "cursor_invalid"),  # one of another order
        ("kind=", "filter_invalid"),
        ("kinds=test.result", "filter_invalid"),
        ("release=a%00b", "filter_invalid"),
        ("from=yesterday", "time_invalid"),
    ],
)
def test_it_refuses_a_question_that_it_would_answer_wrongly(api, query, code):
    answer = api.get(f"records?{query}")
    assert (answer.status_code, answer.json()["code"]) == (422, code)


@pytest.mark.parametrize("path", ["releases?tag=a%00", "releases/a%00b", "exceptions/a%00b", "records?release=%00"])
def test_a_nul_in_a_name_is_refused_and_no_fault_of_ours(api, path):
    assert api.get(path).status_code in {404, 422}
    record = {"kind": "test.result", "release": "a\0b", "body": {"suite": "unit", "outcome": "passed"}}
    assert api.post("records", record).status_code in {404, 422}


def test_no_write_works_off_what_others_left_to_an_index(many, superuser):
    """PostgreSQL's default for GIN: a list that one in some ten thousand inserts sorts in, while all others wait."""
    gin = "SELECT indexrelid FROM pg_index JOIN pg_class ON oid = indexrelid JOIN pg_am ON pg_am.oid = relam"
    gin += " WHERE indrelid = 'evidence_record'::regclass AND amname = 'gin'"
    left = superuser.execute(f"SELECT gin_clean_pending_list(indexrelid) FROM ({gin}) AS indexes").fetchall()
    assert left == [(0,), (0,)]
