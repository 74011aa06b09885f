"""PostgreSQL's clock and the process's apart, jumping back and ahead.

The function that begins a batch is told another time, while PostgreSQL runs, by a `clock_timestamp` that stands before
PostgreSQL's own in that function's search path; to the service it is as if the machine's clock had been set.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from evidence.tlog.leaf import parse_leaf
from evidence.tlog.receipt import parse_receipt
from tests.faults import verdict
from tests.faults.load import Answer, Load, Pipeline, Sender
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults"), pytest.mark.faults]

_OTHER_CLOCK = """
CREATE SCHEMA clock;
CREATE TABLE clock.shift AS SELECT interval '0' AS by;
CREATE FUNCTION clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE AS
  'SELECT pg_catalog.clock_timestamp() + by FROM clock.shift';
GRANT USAGE ON SCHEMA clock TO PUBLIC;
GRANT SELECT ON clock.shift TO PUBLIC;
ALTER FUNCTION public.evidence_begin SET search_path = clock, pg_catalog, public, pg_temp;
"""
_OWN_CLOCK = """
ALTER FUNCTION public.evidence_begin SET search_path = pg_catalog, public, pg_temp;
DROP SCHEMA clock CASCADE;
"""


class Clock:
    """PostgreSQL's clock."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def shift(self, seconds: float) -> None:
        with self._site.database() as connection:
            connection.execute("UPDATE clock.shift SET by = %s", [timedelta(seconds=seconds)])


@pytest.fixture(scope="module")
def shifting(site: Site) -> Iterator[Clock]:
    with site.database() as connection:
        connection.execute(_OTHER_CLOCK)
        yield Clock(site)
        connection.execute(_OWN_CLOCK)


@pytest.fixture
def clock(shifting: Clock) -> Iterator[Clock]:
    yield shifting
    shifting.shift(0)


class Writer:
    """One record after the other; those that were taken are the load."""

    def __init__(self, pipeline: Pipeline, load: Load) -> None:
        self._sender, self._load, self._count = Sender(pipeline), load, 0

    def write(self) -> Answer:
        self._count += 1
        sent = self._sender.signed(f"{self._load.name}-{self._count}")
        answer = self._sender.post(sent)
        if answer.status == 201:
            sent.receipt = answer.body
            self._load.sent.append(sent)
        return answer

    def received(self) -> datetime:
        """When a record counts as received, by its leaf."""
        answer = self.write()
        assert answer.status == 201, answer
        return parse_leaf(parse_receipt(answer.body).leaf).at

    def close(self) -> None:
        self._sender.close()


@pytest.fixture
def writer(pipeline: Pipeline, load: Load) -> Iterator[Writer]:
    found = Writer(pipeline, load)
    yield found
    found.close()


def size(site: Site) -> int:
    with site.database() as connection:
        found = connection.execute("SELECT size FROM evidence_head").fetchone()
    assert found is not None
    return int(found[0])


def assert_refused(answer: Answer) -> None:
    assert (answer.status, answer.code) == (503, "clock_skew"), answer
    assert int(answer.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("seconds", [-3600, -62, 62, 3600])
def test_it_writes_nothing_while_clocks_disagree(site: Site, clock: Clock, writer: Writer, seconds: int) -> None:
    writer.received()
    before = size(site)
    clock.shift(seconds)
    assert_refused(writer.write())
    assert_refused(writer.write())
    assert size(site) == before
    clock.shift(0)
    writer.received()


def test_it_takes_small_jumps_and_never_goes_back_in_time(site: Site, load: Load, clock: Clock, writer: Writer) -> None:
    received = [writer.received()]
    for seconds in (50, 0, -8, 50, -5):
        clock.shift(seconds)
        received.append(writer.received())
    assert received == sorted(received)
    assert received[1] - datetime.now(UTC) > timedelta(seconds=30), "the other clock was not asked"
    assert received[1] == received[2] == received[3], "while the clock is behind the last leaf, time stands still"
    verdict.check(site, load)


def test_it_writes_nothing_while_the_last_leaf_lies_far_ahead(
    site: Site, load: Load, clock: Clock, writer: Writer
) -> None:
    clock.shift(50)
    writer.received()
    clock.shift(-30)  # 30 seconds from the process's clock, 80 behind the last leaf
    before = size(site)
    assert_refused(writer.write())
    assert size(site) == before
    clock.shift(0)  # the last leaf lies 50 seconds ahead: that is waited for, not refused
    assert writer.received() > datetime.now(UTC)
    verdict.check(site, load)
