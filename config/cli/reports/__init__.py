"""Reports of test runners and scanners, told in the words of the kinds that they are evidence for."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from config.cli.errors import usage
from config.cli.files import LocalFile, local_file, read_from
from config.cli.reports import junit, sarif

#: A larger report is uploaded with --file, and its totals are given with --body.
LARGEST = 64 * 1024 * 1024
#: What the file counted is not for the body to say otherwise.
_COUNTED = ("outcome", "passed", "failed", "skipped", "findings", "suppressed", "failures", "report")


@dataclass(frozen=True)
class Options:
    """What the report does not know: `--suite`, `--type`, `--fail-on`."""

    suite: str | None = None
    type: str | None = None
    fail_on: str | None = None


@dataclass(frozen=True)
class Report:
    """A report's body, and the file itself, which becomes the subject."""

    body: dict[str, Any]
    file: LocalFile

    def with_body(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The report's members beside those of ``--body``, which may say more, but not otherwise."""
        for name in _COUNTED:
            if name in body and body[name] != self.body.get(name):
                raise usage(
                    f"The body says {name} {body[name]!r}, {self.file.name} says {self.body.get(name)!r}",
                    f"Leave {name} out of the body: the file is the evidence.",
                )
        return self.body | dict(body)


def read(kind: str, *, junit_xml: Path | None, sarif_json: Path | None, options: Options) -> Report | None:
    """The report that was named, or None. Raises CommandError for one that cannot be used."""
    _check(kind, junit_xml, sarif_json, options)
    path = junit_xml or sarif_json
    if path is None:
        return None
    data = _bytes(path)
    if junit_xml is not None:
        body = junit.read(data, path.name, suite=options.suite)
    else:
        body = sarif.read(data, path.name, type_=options.type, fail_on=options.fail_on)
    file = local_file(path)
    if file.sha256 != sha256(data).hexdigest():
        raise usage(f"{path} changed while it was read", "Run the command again when it is written.")
    return Report(body, file)


def _check(kind: str, junit_xml: Path | None, sarif_json: Path | None, options: Options) -> None:
    if junit_xml is not None and kind != "test.result":
        raise usage(f"--junit makes a test.result, not {kind}")
    if sarif_json is not None and kind != "scan.result":
        raise usage(f"--sarif makes a scan.result, not {kind}")
    if options.suite is not None and junit_xml is None:
        raise usage("--suite goes with --junit")
    if sarif_json is None and (options.type is not None or options.fail_on is not None):
        raise usage("--type and --fail-on go with --sarif")


def _bytes(path: Path) -> bytes:
    with read_from(path).open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise usage(
            f"{path} is larger than {LARGEST // 1024**2} MiB",
            "Attest it with --file, and give its totals with --body.",
        )
    return data
