"""More requests than the service admits: the surplus hears 503 and when to come back, the others are answered."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from config.stack.processes import wait_until
from tests.faults import verdict
from tests.faults.load import Answer, Load, Pipeline, Sender, Sent
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

CONNECTIONS = 160
_WORKERS = 2


@pytest.fixture(params=[4, pytest.param(64, marks=pytest.mark.faults)])
def limit(request: pytest.FixtureRequest, site: Site) -> Iterator[int]:
    """Requests in flight that one process admits."""
    asked: int = request.param
    site.restart_web(MAX_REQUESTS_IN_FLIGHT=str(asked))
    yield asked
    site.restart_web()


def test_it_admits_so_many_and_sends_the_others_away(site: Site, pipeline: Pipeline, load: Load, limit: int) -> None:
    refused: list[Answer] = []

    def one(number: int) -> Sent:
        sender = Sender(pipeline)
        sent = sender.plain(f"{load.name}-{number}")
        while (answer := sender.post(sent)).code == "busy":
            refused.append(answer)
            sender.close()
            open_again.wait(60)
            time.sleep(0.1)
        sender.close()
        assert answer.status == 201, answer
        sent.receipt = answer.body
        return sent

    open_again = threading.Event()
    surplus = CONNECTIONS - _WORKERS * limit
    with site.database() as holder, ThreadPoolExecutor(CONNECTIONS) as threads:
        with holder.transaction():  # nobody can write: those who are admitted stay in flight
            holder.execute("SELECT FROM evidence_head FOR UPDATE")
            writers = [threads.submit(one, number) for number in range(CONNECTIONS)]
            assert wait_until(lambda: len(refused) >= surplus, timeout=60), len(refused)
        open_again.set()
        load.sent = [writer.result(60) for writer in writers]
    assert {answer.status for answer in refused} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in refused)
    verdict.check(site, load)
