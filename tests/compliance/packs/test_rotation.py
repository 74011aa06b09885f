"""Packs of a service whose keys were changed."""

from typing import Any

import pytest

from compliance.packs import plan
from compliance.packs.plan import LedgerMovedError
from evidence import keys, rotation
from evidence.ledger import reader
from evidence.tlog.keys import generate
from evidence.tlog.note import Signer, Verifier
from evidence.tlog.report import VerificationError
from tests.compliance.conftest import Story
from tests.compliance.packs.conftest import Pack, steps


@pytest.mark.usefixtures("own_key_files")
def test_it_verifies_for_who_trusts_an_earlier_key(played: Story, pack: Pack, log_key: Verifier) -> None:
    before, size = pack("before"), reader.size()
    for purpose in keys.PURPOSES:
        rotation.begin(purpose)
    during = pack("during")
    for purpose in keys.PURPOSES:
        rotation.finish(purpose)
    after, newest = pack("after"), Verifier.parse(keys.log_signer().vkey)

    for packed in (before, during, after):
        assert steps(packed, log_key)[-1].number == 11
    assert "introduces as the successor" in steps(after, log_key)[4].detail
    assert all(step.ok for step in steps(after, newest))
    assert steps(after, log_key, since=before.path)[-1].number == 12
    assert steps(after, *keys.log_keys(), since=before.path)[-1].number == 12
    assert [key["to_index"] for key in during.json("data/keys.json")["record_keys"]] == [None, None]
    assert after.json("data/keys.json")["record_keys"][0]["to_index"] is not None

    stranger = Verifier.parse(Signer(newest.name, generate()).vkey)
    for packed, trusted in ((after, stranger), (before, newest)):
        with pytest.raises(VerificationError) as caught:
            steps(packed, trusted)
        assert caught.value.step == 5
    with pytest.raises(LedgerMovedError):
        pack("outdated", size=size)


@pytest.mark.usefixtures("own_key_files", "played")
def test_it_signs_with_the_key_that_it_lists_though_that_ends_meanwhile(
    pack: Pack, log_key: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_leaves = plan.carry_leaves

    def rotate_first(*args: Any) -> None:
        rotation.begin("record")
        rotation.finish("record")
        carry_leaves(*args)

    monkeypatch.setattr(plan, "carry_leaves", rotate_first)
    assert steps(pack(), log_key)[-1].number == 11
