"""Token buckets for each principal (R4.2): kept in Valkey, spent here.

A request never waits for Valkey. Each process takes tokens from a principal's bucket in blocks and spends them by
itself; a thread of its own asks for the next block while the last is being spent. What is spent before an answer has
come is owed, and paid from the next block: so a principal gets its rate, whatever the number of processes. An answer
takes a millisecond, and on a machine that has too much to do much longer, just when limits matter: until it comes a
process lets a principal have no more than what Valkey last said was left, and what has flowed in since.

Of a bucket with less than it asks for a process gets half, and spends it evenly until it asks again. Spent at once it
would let in a burst, then nobody: those who are admitted would wait for each other as if there were no limit. Given all
there is, of several processes the one that asks first after a pause would have such a burst to spend. Asked for token
by token it would keep Valkey, and a thread here, as busy as the writes that are let in (docs/performance.md).

Without Valkey nobody is refused: evidence is worth more than fairness, and admission (`admission.py`) still bounds
what a process takes on. The outage is logged once, and counted.

The script is our own and short: the libraries for this go to the server with every request, which would double the
time of a write, and a bucket must be drawn from and debited in one step.
"""

import hashlib
import logging
import math
import os
import queue
import random
import threading
import time
from dataclasses import dataclass, field
from typing import Any

import redis
from django.conf import settings
from redis.exceptions import RedisError

from config.errors import UnavailableError

logger = logging.getLogger(__name__)

#: Of a second: how much of a rate a process takes at once.
_BLOCK_SECONDS = 0.1
#: Seconds, on average, that a process makes do with what it got of an empty bucket, and how far it is from that at
#: random: so no process always asks right after another one, and gets less.
_SPELL, _JITTER = 0.04, 0.2
#: Tokens that may be spent late in one go: requests do not come exactly when there is one.
_LATE = 3
#: How long nobody is refused after Valkey did not answer, until it is asked again.
_PAUSE = 1.0
_TIMEOUT = 0.5
#: Principals that a process remembers. Those idle for longest go first, with what they had left.
_MOST = 10_000
_IDLE = 10.0

# KEYS: the bucket. ARGV: tokens a second, the most it holds, tokens wanted, of which so many are owed already.
# What is owed is taken even from an empty bucket, up to a minute's worth. Of less than is wanted, half is given.
# Answers {tokens given, tokens left}, as texts: numbers would lose their fractions.
_DRAW = """
local rate, most, want, owed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = most
if kept[1] then tokens = math.min(most, tonumber(kept[1]) + math.max(0, now - tonumber(kept[2])) * rate) end
tokens = math.max(tokens - owed, -60 * rate)
local free = math.floor(tokens)
if free < want - owed then free = math.ceil(free / 2) end
local given = math.max(0, math.min(want - owed, free))
tokens = tokens - given
redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((most - tokens) / rate * 1000) + 1000)
return {string.format('%.6f', given), string.format('%.6f', tokens)}
"""


@dataclass(frozen=True, eq=False)
class Policy:
    """`rate` tokens a second, at most `burst` at once. One object for each name."""

    name: str
    rate: float
    burst: float

    @property
    def block(self) -> float:
        return max(1.0, math.floor(self.rate * _BLOCK_SECONDS))

    @property
    def spell(self) -> float:
        """Seconds, more or less, to make do with what there was of an empty bucket: it must not overflow meanwhile."""
        return min(_SPELL, self.burst / self.rate / 3)

    @property
    def header(self) -> str:
        """``RateLimit-Policy`` (draft-ietf-httpapi-ratelimit-headers): a full bucket, and how long it takes to fill."""
        return f'"{self.name}";q={math.floor(self.burst)};w={math.ceil(self.burst / self.rate)}'


def policy(name: str) -> Policy:
    """From the settings: ``RATE_LIMITS = {name: (tokens a second, burst)}``."""
    rate, burst = settings.RATE_LIMITS[name]
    return Policy(name, float(rate), float(burst))


@dataclass(slots=True)
class Verdict:
    """Whether a request may go on, and what to tell its sender."""

    allowed: bool
    policy: Policy
    #: Whole tokens left, as far as this process knows.
    remaining: int
    #: Seconds until the next token where there is none, else until the bucket is full.
    reset: int

    def headers(self) -> dict[str, str]:
        """``RateLimit-Policy`` and ``RateLimit``."""
        limit = f'"{self.policy.name}";r={self.remaining};t={self.reset}'
        return {"RateLimit-Policy": self.policy.header, "RateLimit": limit}

    def check(self) -> None:
        """Raises UnavailableError ``rate_limited`` (429 with Retry-After)."""
        if not self.allowed:
            raise RateLimitedError(self)


class RateLimitedError(UnavailableError):
    code = "rate_limited"

    def __init__(self, verdict: Verdict) -> None:
        policy = verdict.policy
        super().__init__(
            f"Too many requests: {policy.rate:g} a second are yours, and {policy.burst:g} at once. "
            f"Send it again in {verdict.reset} s, with the same Idempotency-Key.",
            retry_after=verdict.reset,
            **{"violated-policies": [policy.name]},
        )
        self.headers = verdict.headers()


# -- what this process spends ------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Share:
    """What this process holds of one bucket."""

    key: str
    policy: Policy
    #: Below zero: spent before an answer came, and owed.
    tokens: float = 0.0
    #: What Valkey had left at its last answer, and when that came (monotonic).
    left: float = 0.0
    answered: float = 0.0
    asked: bool = False
    used: float = 0.0
    #: Since there was less than was wanted: from `next_at` on a token may be spent, the next one `pace` seconds later;
    #: at `ask_at` more is asked for, and all this holds until `scarce_until` (monotonic).
    next_at: float = 0.0
    pace: float = 0.0
    ask_at: float = 0.0
    scarce_until: float = 0.0

    def known(self, now: float) -> float:
        """Tokens that there are, as far as this process knows."""
        flown_in = self.policy.rate * (now - self.answered)
        return self.tokens + min(self.policy.burst, self.left + flown_in)

    def wants(self, now: float) -> bool:
        """Whether Valkey is to be asked."""
        if self.asked:
            return False
        return now >= self.ask_at if now < self.scarce_until else self.tokens < self.policy.block / 2

    def wait(self, now: float, cost: float) -> float:
        """Seconds until `cost` tokens may be spent; 0 now."""
        if now >= self.scarce_until:
            return max(0.0, 1 - self.known(now)) / self.policy.rate
        if self.tokens < cost:
            return max(self.ask_at, now + 1 / self.policy.rate) - now
        return max(0.0, self.next_at - now)

    def spend(self, cost: float, now: float) -> None:
        self.tokens -= cost
        self.used = now
        self.next_at = max(self.next_at, now - _LATE * self.pace) + cost * self.pace

    def receive(self, owed: float, given: float, left: float, now: float) -> None:
        """Take Valkey's answer; `owed` was spent before it."""
        self.asked = False
        self.tokens += owed + given
        self.left, self.answered = left, now
        if given >= self.policy.block:
            self.scarce_until = self.pace = 0.0
            return
        spell = random.uniform(1 - _JITTER, 1 + _JITTER) * self.policy.spell  # noqa: S311 -- no secret
        if self.tokens < 1:
            spell = max(spell, (1 - left) / self.policy.rate)
        self.pace, self.next_at, self.ask_at = spell / max(1.0, self.tokens), now, now + spell
        # The answer to that takes its time, and may bring what others let in meanwhile: not much of a rate that is low.
        self.scarce_until = self.ask_at + (self.policy.spell if self.policy.spell * self.policy.rate > 1 else 0.0)


@dataclass
class Counters:
    """What happened in this process, for metrics."""

    refused: int = 0
    asked: int = 0
    #: Answers that did not come: in the pause after each, nobody was refused.
    unanswered: int = 0


@dataclass
class _Process:
    """The shares of a process and the thread that asks for more."""

    shares: dict[str, _Share] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    wanted: "queue.SimpleQueue[_Share | None]" = field(default_factory=queue.SimpleQueue)
    #: Until then nobody is refused, and Valkey is not asked (monotonic).
    open_until: float = 0.0
    away: bool = False
    counters: Counters = field(default_factory=Counters)

    def start(self) -> "_Process":
        threading.Thread(target=self._run, name="ratelimit", daemon=True).start()
        return self

    def take(self, principal: str, policy: Policy, cost: float) -> Verdict:
        now = time.monotonic()
        key = f"{policy.name}:{principal}"
        with self.lock:
            share = self.shares.get(key)
            if share is None or share.policy is not policy:
                share = self._new(key, policy, now)
            if now < self.open_until:
                return Verdict(True, policy, math.floor(policy.burst), 0)
            if now - share.used > _IDLE:
                share.tokens = min(share.tokens, 0.0)  # other processes have spent since
            if share.wants(now):
                share.asked = True
                self.wanted.put(share)
            if not self.away and (wait := share.wait(now, cost)) > 0:
                self.counters.refused += 1
                return Verdict(False, policy, 0, max(1, math.ceil(wait)))
            share.spend(cost, now)
            remaining = max(0.0, share.known(now))
        return Verdict(True, policy, math.floor(remaining), math.ceil((policy.burst - remaining) / policy.rate))

    def _new(self, key: str, policy: Policy, now: float) -> _Share:
        if len(self.shares) >= _MOST:
            for idle in sorted(self.shares.values(), key=lambda share: share.used)[: _MOST // 4]:
                del self.shares[idle.key]
        share = self.shares[key] = _Share(key, policy, left=policy.burst, answered=now, used=now)
        return share

    def _run(self) -> None:
        client = connect()
        draw = client.register_script(_DRAW)
        while (share := self.wanted.get()) is not None:
            try:
                self._draw(share, draw)
            except (RedisError, OSError, ValueError) as error:
                self._unanswered(share, error)
        client.close()

    def _draw(self, share: _Share, draw: Any) -> None:
        policy, owed = share.policy, max(0.0, -share.tokens)
        want = owed + policy.block
        answer = draw(keys=[f"prooftrail:rate:{share.key}"], args=[policy.rate, policy.burst, want, owed])
        given, left = (float(number) for number in answer)
        with self.lock:
            self.counters.asked += 1
            share.receive(owed, given, left, time.monotonic())
        if self.away:
            self.away = False
            logger.info("rate limits: Valkey answers again")

    def _unanswered(self, share: _Share, error: Exception) -> None:
        with self.lock:
            self.counters.unanswered += 1
            self.open_until = time.monotonic() + _PAUSE
            share.asked, share.tokens, share.scarce_until, share.pace = False, 0.0, 0.0, 0.0
        if not self.away:
            self.away = True
            logger.warning("rate limits: nobody is limited until Valkey answers (%s)", type(error).__name__)


def connect() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.CELERY_BROKER_URL, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, health_check_interval=0
    )


_process: _Process | None = None
_starting = threading.Lock()


def _running() -> _Process:
    global _process
    if _process is None:
        with _starting:
            if _process is None:
                _process = _Process().start()
    return _process


def _leave_to_the_parent() -> None:
    """A fork has no threads, and maybe locks that nobody will release."""
    global _process, _starting
    _process, _starting = None, threading.Lock()


os.register_at_fork(after_in_child=_leave_to_the_parent)


def take(principal: str, cost: float = 1, *, name: str = "writes") -> Verdict:
    """Spend `cost` tokens of a principal (opaque id) under the policy `name`; no round trip, about a microsecond."""
    return _running().take(principal, _policy(name), cost)


#: Whose a header was found to be. Headers are secrets, and are known by their digest.
_senders: dict[bytes, str] = {}


def _digest(authorization: str) -> bytes:
    return hashlib.sha256(authorization.encode()).digest()


def believe(authorization: str, principal: str) -> None:
    """Remember whose a header is, once it was found to be theirs: see `take_unseen`."""
    if len(_senders) >= _MOST:
        _senders.clear()
    _senders[_digest(authorization)] = principal


def disbelieve(authorization: str) -> None:
    """Look at it again the next time: it was refused."""
    _senders.pop(_digest(authorization), None)


def take_unseen(authorization: str) -> Verdict | None:
    """Spend a token of who sent this header the last time it was believed; None of a header that is not known.

    One whose bucket is empty is refused by that alone, before a body is read or anything is looked up: who asks for
    three times their rate is to cost little more than one that keeps to it. It proves nothing of who asks.
    """
    principal = _senders.get(_digest(authorization))
    return take(principal) if principal is not None else None


_policies: dict[str, Policy] = {}


def _policy(name: str) -> Policy:
    found = _policies.get(name)
    if found is None:
        found = _policies[name] = policy(name)
    return found


def counters() -> Counters:
    """Of this process."""
    return _running().counters


def state() -> str:
    """For readiness: ``ok``, or that nobody is limited."""
    return "open: Valkey does not answer, nobody is limited" if _running().away else "ok"


def forget() -> None:
    """Start over as a fresh process would: for a test that changes settings or engines."""
    global _process
    if _process is not None:
        _process.wanted.put(None)  # ends its thread
    _process = None
    _policies.clear()
    _senders.clear()
