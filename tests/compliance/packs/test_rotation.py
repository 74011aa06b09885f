"""Packs of a service whose keys were changed."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from compliance.packs.plan import LedgerMovedError
from evidence import keys, rotation
from evidence.ledger import reader
from evidence.tlog.keys import generate
from evidence.tlog.note import Signer, Verifier
from evidence.tlog.report import VerificationError
from tests.compliance.conftest import Story
from tests.compliance.packs.conftest import Pack, steps

if TYPE_CHECKING:
    from pytest_django import Settings


@pytest.fixture
def own_files(played: Story, settings: "Settings", tmp_path: Path) -> None:
    """The run's keys in files of this test, which may change them."""
    for name in ("LOG_KEY_FILE", "RECORD_KEY_FILE"):
        copy = tmp_path / f"{name.lower()}.pem"
        shutil.copy(getattr(settings, name), copy)
        setattr(settings, name, str(copy))


@pytest.mark.usefixtures("own_files")
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
