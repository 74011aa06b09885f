"""`verify`: receipts and packs, offline."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from config.cli import output, profile, trust
from config.cli.commands.releases import Json
from config.cli.errors import ExitCode, usage
from config.cli.files import read_from
from evidence.tlog import keys
from evidence.tlog.errors import MalformedError, TlogError
from evidence.tlog.keyring import RecordKey
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import parse_receipt, verify_receipt
from evidence.tlog.report import Step, VerificationError

_ZIP = b"PK"
VERIFIED = "verified"
SIGNER_UNKNOWN = "consistent, signer unknown"
INCOMPLETE = "consistent, not everything was checked"
FAILED = "failed"


@dataclass
class Report:
    """The steps as they are done, and what follows from them."""

    steps: list[Step] = field(default_factory=list)
    failure: TlogError | None = None

    def result(self, *, trusted: bool) -> str:
        if self.failure is not None:
            return FAILED
        if not trusted:
            return SIGNER_UNKNOWN
        return VERIFIED if all(step.ok for step in self.steps) else INCOMPLETE

    def as_json(self, *, trusted: bool) -> dict[str, Any]:
        failure = self.failure
        return {
            "result": self.result(trusted=trusted),
            "steps": [
                {"number": step.number, "title": step.title, "detail": step.detail, "ok": step.ok}
                for step in self.steps
            ],
            "failure": failure
            and {"code": failure.code, "step": getattr(failure, "step", None), "message": str(failure)},
        }


def verify(
    path: Annotated[Path, typer.Argument(metavar="PACK|RECEIPT", help="A pack (ZIP) or a receipt (JSON).")],
    log_key: Annotated[
        list[str] | None,
        typer.Option(
            help="The log's verifier key, a file with it, or the list that log/keys answers; by default those pinned."
        ),
    ] = None,
    since: Annotated[Path | None, typer.Option(help="An earlier checkpoint or pack that this one must extend.")] = None,
    sent: Annotated[Path | None, typer.Option(help="Receipts: what was sent, such as the signed envelope.")] = None,
    record_key: Annotated[
        list[Path] | None, typer.Option(help="Receipts: a public key (PEM) that must have signed the envelope.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Verify a receipt or a pack without asking any server.

    Neither can vouch for its own key: without --log-key or a key pinned at login the best answer is "consistent,
    signer unknown", with exit code 1.
    """
    pinned = profile.all_log_keys()
    given = trust.given(log_key or [])
    # A key that the profile knows to have ended has ended, however it is named here.
    verifiers = [key for key in trust.merged(given.log, pinned) if key.vkey in _vkeys(given.log or pinned)]
    with read_from(path).open("rb") as file:
        is_pack = file.read(2) == _ZIP
    if is_pack:
        steps = _pack_steps(path, verifiers, since=since, extra=sent or record_key)
    else:
        steps = _receipt_steps(path, verifiers, sent=sent, record_key=record_key, listed=given.record, extra=since)
    report = _collect(steps, show=not as_json)
    result = report.result(trusted=bool(verifiers))
    if as_json:
        output.data(report.as_json(trusted=bool(verifiers)))
    else:
        _conclude(path, result)
    if result != VERIFIED:
        raise typer.Exit(ExitCode.NO)


def _vkeys(keys: Iterable[Verifier]) -> set[str]:
    return {key.vkey for key in keys}


def _pack_steps(path: Path, verifiers: Sequence[Verifier], *, since: Path | None, extra: object) -> Iterable[Step]:
    if extra:
        raise usage("--sent and --record-key go with receipts, not with packs")
    # Late: a receipt is verified without loading what reads packs.
    from compliance.packs.verifier import verify_pack

    return verify_pack(path, verifiers=verifiers, since=read_from(since) if since else None)


def _receipt_steps(
    path: Path,
    verifiers: Sequence[Verifier],
    *,
    sent: Path | None,
    record_key: Sequence[Path] | None,
    listed: Sequence[RecordKey],
    extra: object,
) -> Iterable[Step]:
    if extra:
        raise usage("--since goes with packs, not with receipts")
    content = read_from(sent).read_bytes() if sent else None
    receipt = parse_receipt(path.read_bytes())
    known = {keys.key_digest(key): key for key in [_public_key(key) for key in record_key or []]}
    if not known and receipt.signed_by == "service":
        known = {key.key_id: key.public_key for key in listed if key.counts_at(receipt.index)}
    named = bool(record_key) or (bool(listed) and receipt.signed_by == "service")
    yield from verify_receipt(receipt, verifiers=verifiers, sent=content, record_keys=known if named else None)


def _public_key(path: Path) -> Any:
    try:
        return keys.load_public(read_from(path).read_bytes())
    except MalformedError as error:
        raise usage(f"{path}: {error}") from error


def _collect(steps: Iterable[Step], *, show: bool) -> Report:
    report = Report()
    try:
        for step in steps:
            report.steps.append(step)
            if show:
                mark, style = ("✓", "green") if step.ok else ("–", "yellow")
                output.line(f"{mark} {step.number}. {step.title}: {step.detail}", style)
    except TlogError as error:
        report.failure = error
        if show:
            number = f"{error.step}. " if isinstance(error, VerificationError) else ""
            output.line(f"✗ {number}{error}", "bold red")
    return report


def _conclude(path: Path, result: str) -> None:
    style = {VERIFIED: "bold green", FAILED: "bold red"}.get(result, "bold yellow")
    output.line(f"{path}: {result}", style)
    if result == SIGNER_UNKNOWN:
        output.note("Give --log-key with a key from another place than this file, or run `prooftrail login` once.")
