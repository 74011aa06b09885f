"""The command line as a CI job has it: the project's own wheel and what its base install names, in an empty venv.

Nothing is downloaded: the distributions are those of the environment that runs the tests, chosen by following what
the wheel itself requires.
"""

import importlib.metadata
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.engines import ROOT


def install(folder: Path) -> Path:
    """A new environment in `folder` with the client in it; its ``bin``."""
    home = _environment(folder)
    wheel = _wheel(folder / "dist")
    _pip("--python", str(home / "bin" / "python"), "install", "--no-index", "--no-deps", str(wheel))
    (installed,) = importlib.metadata.distributions(name="prooftrail", path=[str(_packages(home))])
    for distribution in _closure(installed.requires or []):
        _link(distribution, _packages(home))
    return home / "bin"


def machine(folder: Path) -> tuple[Path, dict[str, str]]:
    """A machine of a CI system on which ``pip install`` of this repository works without a network: the ``bin`` of a
    new environment, which holds what the client and its build need but not the client, and pip's variables."""
    home = _environment(folder)
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)
    for distribution in _closure(["pip", *wanted["build-system"]["requires"], *wanted["project"]["dependencies"]]):
        _link(distribution, _packages(home))
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    return home / "bin", offline  # "false" is how pip's variable says that there is none


def _environment(folder: Path) -> Path:
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    return folder / "venv"


def _packages(home: Path) -> Path:
    (found,) = (home / "lib").glob("python3.*/site-packages")
    return found


def _wheel(into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(into)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = into.glob("prooftrail-*.whl")
    return wheel


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments, "-q"]
    subprocess.run(command, check=True, capture_output=True)


def _closure(requires: list[str]) -> Iterator[importlib.metadata.Distribution]:
    """Every distribution that these requirements lead to here, extras left out."""
    waiting, seen = list(requires), set[str]()
    while waiting:
        requirement = Requirement(waiting.pop())
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        found = importlib.metadata.distribution(name)
        assert requirement.specifier.contains(found.version), f"{name} {found.version} is not {requirement.specifier}"
        waiting += found.requires or []
        yield found


def _link(distribution: importlib.metadata.Distribution, packages: Path) -> None:
    """Its files, by name, beside the others."""
    for top in {Path(str(file)).parts[0] for file in distribution.files or [] if ".." not in Path(str(file)).parts}:
        target = packages / top
        if not target.exists() and top != "__pycache__":
            target.symlink_to(Path(str(distribution.locate_file(top))))
