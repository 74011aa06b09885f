"""A record that the database refuses fails alone, whoever shares its batch."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from config.stack.processes import wait_until
from evidence.tlog.checkpoint import parse_checkpoint
from evidence.tlog.note import parse_note
from evidence.tlog.receipt import parse_receipt
from tests.faults import verdict
from tests.faults.load import Answer, Load, Pipeline, Sender, Sent
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

_TRAP = """
CREATE FUNCTION public.refuse_poison() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'poison'; END $$;
CREATE TRIGGER refuse_poison BEFORE INSERT ON public.evidence_record
  FOR EACH ROW WHEN (NEW.facts ->> 'scanner' LIKE '%-poison') EXECUTE FUNCTION public.refuse_poison();
"""


@contextmanager
def trap(site: Site) -> Iterator[None]:
    """The database refuses rows that say they are poison."""
    with site.database() as superuser:
        superuser.execute(_TRAP)
        try:
            yield
        finally:
            superuser.execute("DROP FUNCTION public.refuse_poison CASCADE")


def post(pipeline: Pipeline, sent: Sent) -> Answer:
    sender = Sender(pipeline)
    try:
        answer = sender.post(sent)
    finally:
        sender.close()
    if answer.status == 201:
        assert sent.receipt in (None, answer.body)
        sent.receipt = answer.body
    return answer


def batch_of(sent: Sent) -> int:
    """The size of the checkpoint that covers a record: the same for all that share a batch."""
    assert sent.receipt is not None
    return parse_checkpoint(parse_note(parse_receipt(sent.receipt).checkpoint).text).size


def writer_waits(site: Site) -> bool:
    with site.database() as connection:
        return connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchone() is not None


def test_it_refuses_a_poisoned_record_alone(site: Site, pipeline: Pipeline, load: Load) -> None:
    sender = Sender(pipeline)
    early = [sender.plain(f"{load.name}-early-{n}") for n in range(4)]
    healthy = [(sender.signed if n % 2 else sender.plain)(f"{load.name}-{n}") for n in range(14)]
    poison = [sender.plain(f"{load.name}-poison"), sender.signed(f"{load.name}-signed-poison")]
    with trap(site), ThreadPoolExecutor(24) as threads:
        with site.database() as holder, holder.transaction():
            holder.execute("SELECT FROM evidence_head FOR UPDATE")
            first = [threads.submit(post, pipeline, sent) for sent in early]
            assert wait_until(lambda: writer_waits(site), timeout=30)
            others = [threads.submit(post, pipeline, sent) for sent in [*healthy[:7], *poison, *healthy[7:]]]
            time.sleep(1)  # until the web server has all of them in its hands
        answers = [found.result() for found in [*first, *others]]
    refused = [(answer.status, answer.code) for answer in answers if answer.status != 201]
    assert refused == [(422, "record_refused")] * len(poison)
    assert [sent.receipt for sent in poison] == [None, None]
    assert len({batch_of(sent) for sent in healthy}) < len(healthy), "no batch was shared: this shows nothing"
    # What was refused left nothing behind: now that the database takes it, the same key is no replay.
    assert [post(pipeline, sent).replayed for sent in poison] == [False, False]
    load.sent = [*early, *healthy, *poison]
    verdict.check(site, load)
