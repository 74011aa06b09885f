"""The demonstration holds, and each of its steps notices when what it reads back is not what it promises."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.config.stack.running import clean_environment
from tests.e2e.breaking import BREAKS, Break
from tests.e2e.demonstration import Demonstration, run
from tests.e2e.meddler import Answer, meddling
from tests.engines import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("scenario"),  # one worker plays it all on one stack
    pytest.mark.timeout(600),  # the first test waits for the whole play
]


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    running = Demonstration(tmp_path_factory.mktemp("scenario") / "data")
    try:
        running.start()
        yield running
    finally:
        try:
            running.end()
        finally:
            running.remove()


def test_it_plays_every_step_and_goes_on_serving(demonstration: Demonstration) -> None:
    said = demonstration.said()
    assert "✗ step" not in said
    assert "The scenario did not hold" not in said
    assert re.findall(r"^([0-9])\. ", said, re.MULTILINE) == list("0123456789")
    assert re.search(r"^Every step held, in [0-9]+ s\.$", said, re.MULTILINE)
    assert demonstration.is_healthy()


def test_it_prints_what_it_saw(demonstration: Demonstration) -> None:
    said = demonstration.said()
    ledger = re.search(r"ledger +([0-9]+) records; the manifest is index ([0-9]+), release netlify-trading:rel", said)
    assert ledger
    assert 0 < int(ledger[2]) < int(ledger[1])
    pack = re.search(r"pack +(\S+), [0-9]+ bytes, ([0-9]+) verification steps", said)
    assert pack
    assert re.search(rf"object +s3://prooftrail/packs/pack-{pack[1]}\.zip, locked until 20[0-9]{{2}}-[0-9-]+T", said)
    steps = re.findall(r"^ +✓ ([0-9]+)\. ", said, re.MULTILINE)
    assert steps == [str(number) for number in range(1, 12)]
    assert f"pack-{pack[1]}.zip: verified" in said


def test_it_ends_with_five_things_to_try(demonstration: Demonstration) -> None:
    things = demonstration.said().partition("Five things to try")[2]
    numbered = re.findall(
        r"^  ([1-5])\. (\S+)  as (.+)\n     login (\S+)  password (\S+)\n     (.+): .+$", things, re.M
    )
    assert [number for number, *_ in numbered] == list("12345")
    assert all(url.startswith(demonstration.url) for _, url, *_ in numbered)
    assert len({login for _, _, _, login, _, _ in numbered}) == 5


@pytest.mark.parametrize("step", [1, 6])
def test_it_holds_again_through_a_proxy_that_changes_nothing(demonstration: Demonstration, step: int) -> None:
    def leave(answer: Answer) -> None: ...

    with meddling(leave) as proxy:
        code, said = demonstration.play(step, HTTP_PROXY=proxy.address)
    assert code == 0, said
    assert proxy.passed > 0


@pytest.mark.parametrize("broken", BREAKS, ids=str)
def test_it_notices(demonstration: Demonstration, broken: Break, tmp_path: Path) -> None:
    environment = broken.environment(demonstration, tmp_path)
    if broken.change is None:
        code, said = demonstration.play(broken.step, **environment)
    else:
        with meddling(broken.change) as proxy:
            code, said = demonstration.play(broken.step, HTTP_PROXY=proxy.address, **environment)
        assert proxy.changed, f"nothing was broken: {said}"
    _, failed, complaint = said.partition(f"✗ step {broken.step} does not hold: ")
    assert failed, said
    assert broken.complaint in complaint
    assert code == 1


def test_it_breaks_every_step() -> None:
    assert {broken.step for broken in BREAKS} == set(range(10))


def test_it_takes_the_first_evidence_of_the_readme(demonstration: Demonstration, tmp_path: Path) -> None:
    commands = _first_evidence()
    assert len(commands.strip().splitlines()) == 3
    for name, target in (
        (".prooftrail", demonstration.data_dir),
        (".venv", Path(sys.prefix)),
        ("manage.py", ROOT / "manage.py"),
    ):
        (tmp_path / name).symlink_to(target)
    stranger = clean_environment(HOME=str(tmp_path))  # whatever else is needed, the commands set themselves
    code, said = run(["bash", "-e", "-o", "pipefail", "-c", commands], environment=stranger, folder=tmp_path)
    assert code == 0, said
    assert said.rstrip().endswith("receipt.json: verified")
    assert json.loads((tmp_path / "receipt.json").read_text())["signed_by"] == "service"


def _first_evidence() -> str:
    """The shell block of the README's section, as it stands there."""
    section = (ROOT / "README.md").read_text().partition("\n## Send your first evidence\n")[2].partition("\n## ")[0]
    found = re.findall(r"^```(?:sh|bash|shell)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert len(found) == 1, "README.md has one block of commands under “Send your first evidence”"
    block: str = found[0]
    return block


def test_it_left_the_ledger_clean(demonstration: Demonstration) -> None:
    code, said = demonstration.command(sys.executable, "manage.py", "check_ledger")
    assert code == 0, said
    assert "clean" in said
