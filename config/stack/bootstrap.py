"""Build ``.venv`` from a lock file: ``python3 -m config.stack.bootstrap run|dev``, with any Python and no packages.

1. What cannot work is said in one line before anything is downloaded.
2. Packages come as wheels whose hashes stand in the lock file; nothing is compiled.
3. A stamp of the lock file's content is written last: a broken or old environment is completed next time.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VENV = ROOT / ".venv"
_NEEDED_BYTES = 1500 * 1024**2
_QUIET_SECONDS = 4.0


class BootstrapError(Exception):
    """One line with cause and cure."""


def main(kind: str) -> int:
    lock = ROOT / "requirements" / f"{kind}.txt"
    if _is_current(kind, lock):
        return 0
    try:
        _check_python()
        _check_machine()
        _build(lock)
        _write_launcher()
    except BootstrapError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    _stamp(kind).write_text(_digest(lock))
    return 0


def _stamp(kind: str) -> Path:
    return VENV / f"prooftrail-{kind}.stamp"


def _digest(lock: Path) -> str:
    return hashlib.sha256(lock.read_bytes() + str(ROOT).encode()).hexdigest()


def _is_current(kind: str, lock: Path) -> bool:
    """The development environment holds everything of the other one."""
    for having in {kind, "dev"}:
        stamp = _stamp(having)
        if stamp.is_file() and stamp.read_text() == _digest(lock.with_name(f"{having}.txt")):
            return _venv_version() is not None
    return False


def _check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 -- this line exists for the Pythons below
        raise BootstrapError(f"Python {sys.version.split()[0]} is too old. Install Python 3.11 or later.")
    try:
        import ensurepip
        import venv
    except ImportError:
        raise BootstrapError(
            "Python's venv module is missing. Install it (Debian, Ubuntu: apt-get install python3-venv)."
        ) from None
    del ensurepip, venv


def _check_machine() -> None:
    sys.path.insert(0, str(ROOT))
    from config.stack.errors import StackError
    from config.stack.preflight import check_platform

    try:
        check_platform()
    except StackError as error:
        raise BootstrapError(str(error)) from None
    free = shutil.disk_usage(ROOT).free
    if free < _NEEDED_BYTES:
        raise BootstrapError(
            f"The disk is full: {ROOT} has {free // 1024**2} MiB free and the packages need"
            f" {_NEEDED_BYTES // 1024**2}. Free some space."
        )


def _build(lock: Path) -> None:
    if _venv_version() != sys.version_info[:2]:
        print(f"creating .venv with Python {sys.version.split()[0]}", flush=True)
        shutil.rmtree(VENV, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(VENV)], "creating .venv")
    for stamp in VENV.glob("prooftrail-*.stamp"):
        stamp.unlink()
    print(f"installing the packages of requirements/{lock.name} (the first time takes a minute or two)", flush=True)
    options = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-input", "--progress-bar", "off"]
    options += ["--disable-pip-version-check", "--root-user-action", "ignore"]
    _run([str(VENV / "bin" / "python"), "-m", "pip", "install", *options, "-r", str(lock)], "installing")


def _venv_version() -> "tuple[int, ...] | None":
    """The (major, minor) of the environment's own Python; None if there is none that runs."""
    command = [str(VENV / "bin" / "python"), "-c", "import sys; print(*sys.version_info[:2])"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return tuple(int(part) for part in said.split())


def _run(command: "list[str]", what: str) -> None:
    """Pass the program's lines on as they come; say that it still runs where it is silent."""
    env = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    process = subprocess.Popen(
        command, cwd=str(ROOT), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    spoke = [time.monotonic()]
    silence = threading.Thread(target=_break_silence, args=(process, spoke, what), daemon=True)
    silence.start()
    lines = []
    assert process.stdout is not None
    for line in process.stdout:
        spoke[0] = time.monotonic()
        lines.append(line.rstrip())
        if not line.startswith((" ", "Requirement already", "Ignoring ", "Looking in links")):
            print(f"  {line.rstrip().partition(' (from -r ')[0][:110]}", flush=True)
    if process.wait():
        raise BootstrapError(_explain(lines, what))


def _break_silence(process: "subprocess.Popen[str]", spoke: "list[float]", what: str) -> None:
    began = time.monotonic()
    while process.poll() is None:
        time.sleep(0.5)
        if time.monotonic() - spoke[0] > _QUIET_SECONDS:
            spoke[0] = time.monotonic()
            print(f"  … still {what} ({time.monotonic() - began:.0f} s)", flush=True)


def _explain(lines: "list[str]", what: str) -> str:
    text = "\n".join(lines)
    python = "Python " + ".".join(str(part) for part in sys.version_info[:2])
    if "No space left" in text:
        return "The disk is full. Free some space and start again."
    if "DO NOT MATCH THE HASHES" in text:
        return "A downloaded package is not the one of the lock file. Check the package index in PIP_INDEX_URL."
    if any(sign in text for sign in ("Retrying (", "ConnectionError", "Could not fetch URL", "CERTIFICATE_VERIFY")):
        return "The package index cannot be reached. Check the network, PIP_INDEX_URL and PIP_CERT."
    if "No matching distribution" in text:
        package = text.rpartition("No matching distribution found for ")[2].split()[0]
        return f"There is no wheel of {package} for {python} here. Use Python 3.11 to 3.13 on Linux (glibc) or macOS."
    return f"{what} failed: {next((line for line in reversed(lines) if line.strip()), 'no message')}. Start again."


def _write_launcher() -> None:
    """`prooftrail` beside this environment's Python, and this checkout on its path."""
    python = VENV / "bin" / "python"
    (path_file,) = (VENV / "lib").glob("python3.*/site-packages")
    (path_file / "prooftrail.pth").write_text(f"{ROOT}\n")
    launcher = VENV / "bin" / "prooftrail"
    # A shell reads line 2 and starts Python, which reads it as a string: no limit on the path's length.
    launcher.write_text(
        "#!/bin/sh\n"
        f'\'\'\'exec\' "{python}" "$0" "$@"\n'
        "' '''\n"
        "import sys\n\nfrom config.cli import main\n\nsys.exit(main())\n"
    )
    launcher.chmod(0o755)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
