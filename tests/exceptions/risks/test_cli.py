"""`prooftrail risks …` against the product's own web server."""

from pathlib import Path

import pytest

from config.cli.app import run
from evidence.api.actors import actor_for
from evidence.people import issue_token
from exceptions.models import Risk
from tests.cast import Cast
from tests.conftest import Clone
from tests.exceptions.risks.conftest import AddRisk
from tests.served import served


def test_it_lists_writes_and_brings_in_from_the_command_line(
    cast: Cast,
    add_risk: AddRisk,
    ledger: Clone,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_risk()
    token = issue_token(cast.lea, actor=actor_for(cast.root), label="test").text
    monkeypatch.setenv("PROOFTRAIL_TOKEN", token)
    monkeypatch.setenv("PROOFTRAIL_CONFIG", str(tmp_path / "config.json"))
    book, log = tmp_path / "risks.xlsx", tmp_path / "log.csv"
    log.write_text("Risk,Likelihood,Impact,Owner\nVendor anomalies,likely,major,Engineering Lead\n")
    with served(ledger, tmp_path) as url:
        monkeypatch.setenv("PROOFTRAIL_URL", url)
        assert run(["risks", "list", "--level", "high"]) == 0
        assert "One provider for DNS" in capsys.readouterr().out
        assert run(["risks", "export", str(book)]) == 0
        assert run(["risks", "import", str(book)]) == 0
        assert "The register says all of this already." in capsys.readouterr().out
        assert run(["risks", "import", str(log)]) == 1
        assert "log!D2 'Engineering Lead': Nobody here" in capsys.readouterr().out
        mapping = '{"values": {"owner": {"Engineering Lead": "bob@example.com"}}}'
        assert run(["risks", "import", str(log), "--mapping", mapping, "--dry-run"]) == 0
        assert "checked: 1 added" in capsys.readouterr().out
        assert Risk.objects.count() == 1
        assert run(["risks", "import", str(log), "--mapping", mapping]) == 0
        assert "done: 1 added" in capsys.readouterr().out
        assert run(["risks", "export", "-", "--level", "critical"]) == 0
        assert "Vendor anomalies" in capsys.readouterr().out
        assert run(["risks", "export", str(tmp_path / "risks.pdf")]) == 4
    assert Risk.objects.get(pk="RISK-0002").owner == cast.bob.uid
