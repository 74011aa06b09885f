"""The liaison's pages over a register of 100,000 exceptions: the first page, the list, filters and searches.

The rows are exceptions alone, without records: what is measured reads no other table but people, systems and renewals.
A wanted p95 of 300 ms is R2.7's.
"""

import json
import re
from collections.abc import Mapping

import httpx
import psycopg

from config.stack import services
from config.stack.progress import say
from tests.bench.load import LoadError, drive, get
from tests.bench.stage import Server, Stage
from tests.bench.table import Row
from tests.exceptions.bulk import fill

PART = "register"
SIZE, QUICK_SIZE = 100_000, 10_000
MOST_P95_MS = 300.0
PEOPLE, SYSTEMS = 200, 40
_NAME = "bench_register"
_LIST = "/admin/exceptions/securityexception/"
_QUESTIONS = [
    ("first page", "/admin/"),
    ("list", _LIST),
    ("list, page 100", f"{_LIST}?p=100"),
    ("list by expiry", f"{_LIST}?o=4"),
    ("due", f"{_LIST}?state=due"),
    ("waiting for me", f"{_LIST}?waiting=decisions"),
    ("system, severity, month", f"{_LIST}?system=bench-7&severity__exact=high&expires=month"),
    ("renewed more than once, mine", f"{_LIST}?renewals=more&mine=yes"),
    ("search, common words", f"{_LIST}?q=gateway+tls"),
    ("search, a number", f"{_LIST}?q=EXC-7777"),
    ("search, nothing found", f"{_LIST}?q=zeppelin"),
]
#: People and systems that the rows are spread over; nobody signs in as one of them.
_AROUND = """
INSERT INTO evidence_user (uid, email, name, roles, password, is_active)
SELECT 'usr_bench' || i, 'p' || i || '@example.com', 'Person ' || i, '{engineer}', '!', true
FROM generate_series(1, %(people)s) AS i;
INSERT INTO evidence_system (id, name, title, sandbox)
SELECT 'sys_bench' || i, 'bench-' || i, '', false FROM generate_series(1, %(systems)s) AS i
"""


def measure(stage: Stage) -> list[Row]:
    size = QUICK_SIZE if stage.quick else SIZE
    env = stage.empty_ledger(_NAME)
    try:
        _fill(env, size)
        stage.tidy(_NAME)
        say(f"  register: {size:,} exceptions")
        with stage.serving(env, name=PART) as server:
            cookie = _signed_in(server)
            return [_row(stage, server, cookie, name, path, size) for name, path in _QUESTIONS]
    finally:
        stage.drop_database(_NAME)


def _fill(env: Mapping[str, str], size: int) -> None:
    with psycopg.connect(env["OWNER_DATABASE_URL"], autocommit=True) as connection:
        for statement in _AROUND.split(";"):
            connection.execute(statement, {"people": PEOPLE, "systems": SYSTEMS})
        fill(connection, size)


def _signed_in(server: Server) -> str:
    """A session of a liaison, as a browser keeps it."""
    arguments = ["create_user", "Lea", "--email", "lea@example.com", "--role", "liaison", "--json"]
    password = json.loads(services.manage(*arguments, env=services.without_owner(server.env)))["password"]
    with httpx.Client(base_url=server.url, timeout=60) as browser:
        form = browser.get("/admin/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', form)
        data = {"csrfmiddlewaretoken": token[1] if token else "", "username": "lea@example.com", "password": password}
        answer = browser.post("/admin/login/?next=/", data=data, headers={"Referer": server.url})
        if answer.status_code != httpx.codes.FOUND:
            raise LoadError(f"Nobody could sign in: {answer.status_code}")
        return f"sessionid={browser.cookies['sessionid']}"


def _row(stage: Stage, server: Server, cookie: str, name: str, path: str, size: int) -> Row:
    """One person, one page after the other."""
    requests = [get(path, {"Cookie": cookie})] * (20 if stage.quick else 60)
    drive(server.port, requests[:5], connections=1, seconds=60)
    result = drive(server.port, requests, connections=1, seconds=120)
    p95 = result.percentile_ms(95)
    return Row(
        part=PART,
        name=name,
        at=f"{size:,} exceptions",
        rate=result.rate,
        unit="/s",
        p50_ms=result.percentile_ms(50),
        p95_ms=p95,
        p99_ms=result.percentile_ms(99),
        wanted=f"p95 ≤ {MOST_P95_MS:g} ms",
        met=p95 <= MOST_P95_MS,
    )
