from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from config.cli.app import run
from tests.config.cli.service import TOKEN, Service

SITE = b"site contents"
SITE_SHA = sha256(SITE).hexdigest()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.close()


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No CI variables, no configuration of whoever runs the tests, and a folder of the test's own."""
    for name in (
        "PROOFTRAIL_URL",
        "PROOFTRAIL_TOKEN",
        "PROOFTRAIL_LOG_KEY",
        "PROOFTRAIL_RETRIES",
        "GITHUB_SHA",
        "GITHUB_REF_TYPE",
        "GITHUB_REF_NAME",
        "CI_COMMIT_SHA",
        "CI_COMMIT_TAG",
        "PROOFTRAIL_ID_TOKEN",
        "ACTIONS_ID_TOKEN_REQUEST_URL",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PROOFTRAIL_CONFIG", str(tmp_path / "configuration" / "config.json"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def logged_in(service: Service, monkeypatch: pytest.MonkeyPatch) -> Service:
    """A CI job's way: address, token and log key by variables."""
    monkeypatch.setenv("PROOFTRAIL_URL", service.url)
    monkeypatch.setenv("PROOFTRAIL_TOKEN", TOKEN)
    monkeypatch.setenv("PROOFTRAIL_LOG_KEY", service.ledger.log.vkey)
    return service


class Outcome:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


class Prooftrail:
    """Runs one command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *arguments: object) -> Outcome:
        code = run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Outcome(code, out, err)


@pytest.fixture
def prooftrail(capsys: pytest.CaptureFixture[str]) -> Prooftrail:
    return Prooftrail(capsys)


@pytest.fixture
def site() -> Path:
    path = Path("site.tar.gz")
    path.write_bytes(SITE)
    return path
