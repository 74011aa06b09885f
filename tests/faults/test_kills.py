"""kill -9 in the middle of a load: what was acknowledged is there, once, with its proof; what was not, is retried.

`ROUNDS` (20) and `SEED` may be given; what is drawn from the seed is printed.
"""

import os
import random
import time
from collections.abc import Callable, Sequence

import pytest

from tests.faults import verdict
from tests.faults.load import Load
from tests.faults.site import Site

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("faults")]

#: The longest time that the load goes on undisturbed, and that a killed part stays away.
_QUIET_SECONDS, _AWAY_SECONDS = 1.5, 1.0


def kill_a_worker(site: Site, rng: random.Random) -> str:
    victim = rng.choice(site.web_workers())
    site.kill_web_worker(victim)
    site.wait_for_web_workers(without=victim)
    return f"web worker {victim}"


def kill_the_web_server(site: Site, rng: random.Random) -> str:
    site.kill_web()
    time.sleep(rng.uniform(0, _AWAY_SECONDS))
    site.start_web()
    return "web server"


def kill_postgres(site: Site, rng: random.Random) -> str:
    site.kill_postmaster()
    time.sleep(rng.uniform(0, _AWAY_SECONDS))
    site.start_postgres()
    return "PostgreSQL"


def restart_postgres(site: Site, rng: random.Random) -> str:
    """In good order, as for an upgrade: sessions are ended, data is flushed."""
    site.postgres.stop()
    time.sleep(rng.uniform(0, _AWAY_SECONDS))
    site.start_postgres()
    return "PostgreSQL (restarted in good order)"


FAULTS = (kill_a_worker, kill_the_web_server, kill_postgres)


Fault = Callable[[Site, random.Random], str]


def play(site: Site, load: Load, rng: random.Random, rounds: int, faults: Sequence[Fault] = FAULTS) -> None:
    """Kill, round robin, at random moments of one load; after each every writer must get on."""
    for number in range(rounds):
        load.wait_for_each(2)
        time.sleep(rng.uniform(0, _QUIET_SECONDS))
        before, began = load.acknowledged, time.monotonic()
        what = faults[number % len(faults)](site, rng)
        load.wait_for_each(2)
        took = time.monotonic() - began
        print(f"round {number + 1}: {what} after {before} records, all writers back after {took:.1f} s")


def seeded() -> random.Random:
    seed = os.environ.get("SEED") or str(random.SystemRandom().randrange(10**6))
    print(f"SEED={seed}")
    return random.Random(seed)  # noqa: S311 -- no secret: it can be given again


def test_it_loses_and_doubles_nothing_when_each_part_is_killed_once(site: Site, load: Load) -> None:
    with load:
        play(site, load, seeded(), rounds=len(FAULTS))
    verdict.check(site, load)
    print(load.trouble())


@pytest.mark.faults
@pytest.mark.timeout(1800)
def test_it_loses_and_doubles_nothing_in_many_rounds(site: Site, load: Load) -> None:
    rounds = int(os.environ.get("ROUNDS") or 20)
    with load:
        play(site, load, seeded(), rounds)
    verdict.check(site, load, sample=1000)
    print(f"{rounds} rounds, {len(load.sent)} records; {load.trouble()}")


@pytest.mark.faults
def test_it_recovers_when_postgresql_is_restarted(site: Site, load: Load) -> None:
    web = site.web.process.pid, site.web_workers()
    with load:
        play(site, load, seeded(), rounds=3, faults=[restart_postgres])
    assert (site.web.process.pid, site.web_workers()) == web, "the service was not restarted"
    verdict.check(site, load)
    print(load.trouble())
