"""Token buckets for each principal: the rate holds across processes, and an outage of Valkey limits nobody (R4.2)."""

import logging
import os
import time
from typing import cast

import pytest

from config.stack.ports import choose
from config.stack.processes import wait_until
from config.stack.valkey import Valkey
from evidence.api import ratelimit
from evidence.api.ratelimit import Policy, Verdict, take

SLOW = {"writes": (1000, 2000), "calls": (0.01, 3), "anonymous": (0.01, 2)}


@pytest.fixture(autouse=True)
def buckets(broker, settings):
    """Valkey without tokens spent, and a process that has asked for none."""
    settings.RATE_LIMITS = SLOW
    ratelimit.forget()
    yield
    ratelimit.forget()


def spend(process, policy, seconds=1.0, principal="p_1"):
    """What a principal that does not stop gets from each of the processes."""
    end, allowed = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        allowed += sum(one.take(principal, policy, 1).allowed for one in process)
        time.sleep(0.001)
    return allowed


def test_processes_share_one_bucket_and_each_principal_has_its_own():
    policy = Policy("writes", rate=100, burst=50)
    processes = [ratelimit._Process().start() for _ in range(3)]
    started = time.monotonic()
    allowed = spend(processes, policy)
    most = 50 + 100 * (time.monotonic() - started)
    assert 0.8 * most <= allowed <= most + 3 * policy.block
    assert processes[0].take("p_2", policy, 1).allowed
    assert processes[0].counters.asked < 200  # not one for each of about 2,000 calls


def test_what_was_spent_before_an_answer_is_owed():
    policy = Policy("writes", rate=100, burst=10)
    process = ratelimit._Process().start()
    assert process.take("p_1", policy, 60).allowed  # unknown yet: nobody waits for Valkey
    assert wait_until(lambda: not process.take("p_1", policy, 1).allowed, timeout=5, pause=0.001)
    started = time.monotonic()
    assert wait_until(lambda: process.take("p_1", policy, 1).allowed, timeout=5, pause=0.01)
    assert time.monotonic() - started > 0.3  # 50 tokens late at 100 a second, less what the polling took


def test_a_slow_answer_lets_nobody_have_more_than_the_bucket_held_and_what_flows_in():
    policy = Policy("writes", rate=50, burst=20)
    process = ratelimit._Process()  # nobody asks for it: no answer comes at all
    started = time.monotonic()
    allowed = spend([process], policy, seconds=0.5)
    assert 20 <= allowed <= 20 + 50 * (time.monotonic() - started)
    assert process.counters.refused > allowed


def test_it_answers_429_with_what_the_drafts_name(api, release):
    assert wait_until(lambda: api.get("releases").status_code == 429, timeout=5, pause=0)
    refused = api.get("releases")
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["violated-policies"]) == (429, "rate_limited", ["calls"])
    assert refused["Content-Type"] == "application/problem+json"
    assert refused["RateLimit-Policy"] == '"calls";q=3;w=300'
    assert refused["RateLimit"] == f'"calls";r=0;t={refused["Retry-After"]}'
    assert 1 <= int(refused["Retry-After"]) <= 500


def test_it_tells_what_is_left(api, release):
    answer = api.get("kinds")
    assert answer.status_code == 200
    assert answer["RateLimit-Policy"] == '"calls";q=3;w=300'
    assert answer["RateLimit"].startswith('"calls";r=')


def test_it_limits_who_has_no_identity_by_address(api, settings):
    settings.LOG_PUBLIC = True
    api.token = None
    assert wait_until(lambda: api.get("log/keys").status_code == 429, timeout=5, pause=0)
    assert api.get("log/keys").json()["violated-policies"] == ["anonymous"]


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_asks_by_a_thread_of_its_own(settings):
    """A web server may fork after the first request; and threads stay with their parent."""
    settings.RATE_LIMITS = {"writes": (1, 5)}

    def hears_that_it_is_spent():
        return not take("p_1").allowed and ratelimit.counters().asked > 0

    assert take("p_1").allowed
    child = os.fork()
    if child == 0:
        heard = False
        try:
            heard = wait_until(hears_that_it_is_spent, timeout=5, pause=0.01)
        finally:
            os._exit(not heard)
    assert os.waitpid(child, 0)[1] == 0


def test_nobody_is_limited_while_valkey_is_away(settings, caplog, monkeypatch, tmp_path):
    own = Valkey(tmp_path / "valkey", choose(1)[0], "only-for-this-test", tmp_path / "valkey.log", durable=False)
    settings.CELERY_BROKER_URL = own.url()
    settings.RATE_LIMITS = {"writes": (1, 600)}  # more at once than this asks for before the outage shows
    monkeypatch.setattr(ratelimit, "_PAUSE", 0.05)
    with caplog.at_level(logging.INFO, logger="evidence.api.ratelimit"):
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            assert take("p_1").allowed
            time.sleep(0.001)
        assert ratelimit.counters().unanswered > 2
        assert ratelimit.state().startswith("open")
        assert len([record for record in caplog.records if "nobody is limited" in record.message]) == 1
        child = own.start()
        try:
            assert wait_until(lambda: not take("p_1").allowed, timeout=5, pause=0.001)
            assert ratelimit.state() == "ok"
        finally:
            child.stop()


def test_what_there_was_of_an_empty_bucket_is_spent_evenly():
    share = ratelimit._Share("writes:p_1", Policy("writes", rate=1000, burst=500))
    share.receive(0, 40, 0.5, now=100.0)
    spell = share.ask_at - 100.0
    spent = []
    for step in range(200):  # more requests than tokens, until more is asked for
        now = 100.0 + spell * step / 200
        assert not share.wants(now)
        if share.wait(now, 1) == 0:
            share.spend(1, now)
            spent.append(step)
    assert 38 <= len(spent) <= 40
    quarters = [sum(1 for step in spent if step // 50 == quarter) for quarter in range(4)]
    assert max(quarters) - min(quarters) <= ratelimit._LATE
    assert share.wants(share.ask_at)


def test_whoever_asks_leaves_half_of_what_is_not_enough_to_the_others():
    with ratelimit.connect() as client:
        draw = client.register_script(ratelimit._DRAW)
        given = [draw(keys=["b"], args=[0.001, 40, want, 0])[0] for want in (8, 100, 100, 100, 100, 100, 100, 100)]
    assert [round(float(tokens)) for tokens in given] == [8, 16, 8, 4, 2, 1, 1, 0]


@pytest.mark.parametrize("burst", [20, 200])
def test_processes_let_in_all_that_flows_into_an_empty_bucket_and_rarely_ask_for_it(burst):
    policy = Policy("writes", rate=400, burst=burst)
    processes = [ratelimit._Process().start() for _ in range(2)]
    spend(processes, policy, seconds=1.2)  # what was saved up, twice, and paid back
    asked = sum(process.counters.asked for process in processes)
    started = time.monotonic()
    allowed = spend(processes, policy, seconds=1.5)
    flown_in = 400 * (time.monotonic() - started)
    assert 0.6 * flown_in <= allowed <= 1.1 * flown_in + policy.block
    assert sum(process.counters.asked for process in processes) - asked < 250  # of about 600 tokens


def test_who_comes_back_when_told_is_let_in():
    policy = Policy("writes", rate=2, burst=1)
    process = ratelimit._Process().start()
    assert process.take("p_1", policy, 1).allowed
    assert wait_until(lambda: not (refused := process.take("p_1", policy, 1)).allowed and refused.reset == 1, timeout=5)
    time.sleep(1)
    assert process.take("p_1", policy, 1).allowed


def test_a_header_is_known_by_whom_it_was_believed_to_be(settings):
    settings.RATE_LIMITS = {"writes": (0.01, 2)}
    assert ratelimit.take_unseen("Bearer one") is None
    ratelimit.believe("Bearer one", "p_1")
    assert wait_until(lambda: not cast(Verdict, ratelimit.take_unseen("Bearer one")).allowed, timeout=5, pause=0.001)
    assert not take("p_1").allowed
    assert ratelimit.take_unseen("Bearer two") is None
    ratelimit.disbelieve("Bearer one")
    assert ratelimit.take_unseen("Bearer one") is None


def test_only_so_many_headers_are_known(monkeypatch):
    monkeypatch.setattr(ratelimit, "_MOST", 3)
    for number in range(4):
        ratelimit.believe(f"Bearer {number}", "p_1")
    known = [number for number in range(4) if ratelimit.take_unseen(f"Bearer {number}") is not None]
    assert known == [3]
