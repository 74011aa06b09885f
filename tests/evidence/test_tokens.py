"""Tokens: their text, what they are narrowed to, and when they were last used."""

import hashlib
import re

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from config.errors import InvalidError
from evidence import token_use, tokens
from evidence.api.actors import actor_for
from evidence.ledger.check import check
from evidence.models import Authority, Token, TokenUse
from evidence.models.people import Limits
from evidence.people import issue_token, revoke_token
from tests.evidence.conftest import Api

DECISION = {"kind": "decision", "system": "netlify-trading", "body": {"title": "A", "decision": "B", "rationale": "C"}}


def test_it_writes_tokens_that_scanners_recognise_and_mistyped_ones_are_none():
    for _ in range(50):
        token_id, secret = tokens.new_id(), tokens.new_secret()
        text = tokens.text(token_id, secret)
        assert tokens.PATTERN.findall(f'TOKEN="{text}"') == [text]
        parts = tokens.parse(text)
        assert parts == tokens.Parts(token_id, secret)
        assert secret not in repr(parts)
    for place in range(3, len(text)):
        other = "1" if text[place] == "0" else "0"
        assert tokens.parse(text[:place] + other + text[place + 1 :]) is None or text[place] == "_"
    assert tokens.text("0" * 12, "a" * 43) == f"pt_{'0' * 12}_{'a' * 43}05xiYU"


@given(st.text(max_size=80))
def test_it_takes_nothing_else_for_a_token(text):
    assert tokens.parse(text) is None
    assert tokens.parse("pt_" + text) is None


def test_it_makes_the_same_secret_of_the_same_seed():
    first, again, other = (tokens.secret_from(seed * 32) for seed in (b"a", b"a", b"b"))
    assert first == again != other
    assert re.fullmatch("[0-9A-Za-z]{43}", first)


def test_it_still_takes_tokens_of_before_the_checksum(api, cast):
    secret = "-_" * 21 + "x"
    token = cast.ci.tokens.get()
    Token.objects.filter(pk=token.pk).update(secret_hash=hashlib.sha256(secret.encode()).digest())
    assert Api(f"pt_{token.pk}_{secret}").get("releases").status_code == 200
    assert api.get("releases").status_code == 401


def test_it_narrows_a_token_to_systems_and_kinds(cast):
    root = actor_for(cast.root)
    for limits, code in (
        (Limits(systems=frozenset({cast.billing.pk})), "scope_too_wide"),
        (Limits(kinds=frozenset({"no.such"})), "kind_unknown"),
    ):
        with pytest.raises(InvalidError) as caught:
            issue_token(cast.ci, actor=root, label="x", limits=limits)
        assert caught.value.code == code
    limits = Limits(kinds=frozenset({"decision"}))
    narrow = Api(issue_token(cast.ci, actor=root, label="narrow", limits=limits).text)
    assert narrow.post("records", DECISION).status_code == 201
    drill = {"kind": "test.result", "system": "netlify-trading", "body": {"suite": "unit", "outcome": "passed"}}
    assert narrow.post("records", drill).json()["code"] == "kind_not_allowed"
    assert narrow.post("releases", {"system": "netlify-trading"}).json()["code"] in {"kind_not_allowed", "body_invalid"}
    assert check() == []


def test_it_writes_down_when_tokens_were_last_used_seldom_and_without_disturbing_writers(api, cast):
    token_use.write()
    epoch = Authority.objects.get().epoch
    for _ in range(3):
        assert api.post("records", DECISION).status_code == 201
    assert not TokenUse.objects.exists(), "not with each use"
    assert token_use.write() == 1
    first = TokenUse.objects.get(token__pipeline=cast.ci).last_used_at
    assert token_use.write() == 0
    api.get("releases")
    assert token_use.write() == 1
    assert TokenUse.objects.get().last_used_at > first
    assert Authority.objects.get().epoch == epoch, "it is no change of rights"
    token_use.note("none-of-ours")
    assert token_use.write() == 1
    assert TokenUse.objects.count() == 1


def test_it_writes_by_itself_after_a_while(api, cast, settings, monkeypatch):
    token_use.write()
    monkeypatch.setattr(token_use, "_timer", None)
    settings.TOKEN_USE_INTERVAL = 0.01
    api.get("releases")
    timer = token_use._timer
    assert timer is not None
    timer.join(20)
    assert TokenUse.objects.filter(token__pipeline=cast.ci).exists()
    assert token_use._timer is None


def test_it_does_not_note_a_token_that_opens_nothing(cast):
    token_use.write()
    token = cast.ci.tokens.get()
    revoke_token(token, actor=actor_for(cast.root), reason="test")
    Api(cast.ci_token).get("releases")
    Api(cast.ci_token[:-1]).get("releases")
    assert token_use.write() == 0


def test_a_token_moves_the_epoch_when_it_ends_and_not_before(cast, superuser):
    """Nobody remembers that there is none; what somebody may remember of one ends at once."""

    def moved_by(change, times=1):
        before = Authority.objects.get().epoch
        change()
        return Authority.objects.get().epoch == before + times

    assert moved_by(lambda: issue_token(cast.ci, actor=actor_for(cast.root), label="x"), 0)
    mine = Token.objects.filter(label="x")
    assert moved_by(lambda: mine.update(label="x"), 0), "as it was"
    assert moved_by(lambda: mine.update(systems=["netlify-trading"]))
    assert moved_by(lambda: Token.objects.filter(pk="none-of-ours").update(revoked_at=timezone.now()), 0)
    assert moved_by(lambda: mine.update(revoked_at=timezone.now()))
    assert moved_by(lambda: superuser.execute("DELETE FROM evidence_token WHERE label = 'x'"))
