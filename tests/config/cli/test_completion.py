"""What a shell asks the command line for, and what long work shows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config.cli import files
from tests.engines import ROOT


def shell(*arguments: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "config.cli", *arguments]
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)} | variables
    return subprocess.run(command, cwd=home, env=env, capture_output=True, text=True, check=False)


#: Typer looks at the parent process for the shell's name, which is whatever runs the tests; so it is told.
TOLD = "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"
PLACES = {"bash": ".bash_completions/prooftrail.sh", "zsh": ".zfunc/_prooftrail"}


@pytest.mark.parametrize(("name", "place"), PLACES.items())
def test_it_installs_completion_for_a_shell(tmp_path: Path, name: str, place: str) -> None:
    done = shell("--install-completion", name, home=tmp_path, **{TOLD: "1"})
    assert done.returncode == 0, done.stderr
    assert "_PROOFTRAIL_COMPLETE" in (tmp_path / place).read_text()


def test_it_completes_commands_and_options(tmp_path: Path) -> None:
    asked = {"_PROOFTRAIL_COMPLETE": "complete_bash"}
    found = shell(home=tmp_path, **asked, COMP_WORDS="prooftrail re", COMP_CWORD="1")
    assert found.stdout.split() == ["release"], found.stderr
    found = shell(home=tmp_path, **asked, COMP_WORDS="prooftrail pack request --qu", COMP_CWORD="3")
    assert found.stdout.split() == ["--quarter"], found.stderr


def test_it_says_how_far_it_is_after_a_second_and_nothing_before(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    now = iter([0.0, 0.5, 1.5, 1.5, 2.0, 12.0, 12.0])
    monkeypatch.setattr("config.cli.progress.time.monotonic", lambda: next(now))
    monkeypatch.setattr(files, "CHUNK", 250_000)
    (tmp_path / "site.tar").write_bytes(bytes(1_000_000))
    file = files.local_file(tmp_path / "site.tar")
    assert file.size == 1_000_000
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == ["Reading site.tar: 50 % of 1.0 MB", "Reading site.tar: 100 % of 1.0 MB"]
