"""`prooftrail exceptions import` against the product's own web server."""

from pathlib import Path

import pytest

from config.cli.app import run
from evidence.api.actors import actor_for
from evidence.people import issue_token
from exceptions.models import SecurityException
from tests.cast import Cast
from tests.conftest import Clone
from tests.exceptions.importing.files import csv_of, row
from tests.served import served


def test_it_imports_from_the_command_line(
    cast: Cast, ledger: Clone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, bad = tmp_path / "register.csv", tmp_path / "bad.csv"
    file.write_bytes(csv_of(row(), row(ref="SEC-2", expires="2027-02-30")))
    token = issue_token(cast.lea, actor=actor_for(cast.root), label="test").text
    monkeypatch.setenv("PROOFTRAIL_TOKEN", token)
    monkeypatch.setenv("PROOFTRAIL_CONFIG", str(tmp_path / "config.json"))
    with served(ledger, tmp_path) as url:
        monkeypatch.setenv("PROOFTRAIL_URL", url)
        assert run(["exceptions", "import", str(file), "--dry-run", "--bad-rows", str(bad)]) == 1
        assert "register!I3" in capsys.readouterr().out
        assert run(["exceptions", "import", str(file)]) == 1
        assert "rows_bad" in capsys.readouterr().err
        assert not SecurityException.objects.exists()
        assert run(["exceptions", "import", str(file), "--only-good"]) == 0
        assert "EXC-0001" in capsys.readouterr().out
        assert run(["exceptions", "ratify", "EXC-0001", "--reason", "Mine"]) == 4  # who imported it ratifies nothing
        assert "list_not_ratifiable" in capsys.readouterr().err
        monkeypatch.setenv("PROOFTRAIL_TOKEN", issue_token(cast.bob, actor=actor_for(cast.root), label="test").text)
        assert run(["exceptions", "ratify", "EXC-0001", "--reason", "As in the minutes"]) == 0
        assert "Ratified: EXC-0001, as list sha256:" in capsys.readouterr().out
        assert run(["exceptions", "move", "EXC-0001", "--to", "revoked", "--reason", "Breach"]) == 0
        assert run(["exceptions", "show", "EXC-0001"]) == 0
        shown = capsys.readouterr().out
        assert "revoked" in shown
        assert "you may: nothing" in shown
        monkeypatch.setenv("PROOFTRAIL_TOKEN", token)
        assert run(["exceptions", "import", str(tmp_path / "none.csv")]) == 4
        assert run(["exceptions", "import", str(file), "--mapping", "{"]) == 4
    assert bad.read_text().startswith("Reference,Title")
    assert SecurityException.objects.count() == 1
