"""Receipts that writes answer: checked at once, shown, and kept for later."""

import json
from pathlib import Path

from config.cli import files, output, profile, trust
from config.cli.api import Answer, Api
from config.cli.errors import CommandError, ExitCode
from config.cli.profile import Server
from evidence.tlog.canonical import parse_strict
from evidence.tlog.errors import MalformedError
from evidence.tlog.note import Verifier
from evidence.tlog.receipt import SIGNATURE_STEP, Receipt, parse_receipt, verify_receipt
from evidence.tlog.report import Step, VerificationError


def check(content: bytes, server: Server, *, sent: bytes | None, release: str | None = None) -> Receipt:
    """The receipt, after every step of its verification that can be done here.

    It must speak of what was ``sent`` and of this ``release``, where they are known.
    Without a log key its signature stays unchecked, and a remark says so.
    """
    try:
        receipt = parse_receipt(content)
        steps = _verified(receipt, server, sent)
        if release is not None and parse_strict(receipt.context).get("release") != release:
            raise VerificationError(1, f"the context does not name release {release}")
    except (MalformedError, VerificationError) as error:
        raise CommandError(
            f"The server's receipt does not verify: {error}",
            code=ExitCode.NO,
            advice="Keep what was sent, and tell who operates the server: this must never happen.",
        ) from error
    for step in steps:
        if step.ok is None:
            output.note(f"{step.title}: {step.detail}")
    return receipt


def _verified(receipt: Receipt, server: Server, sent: bytes | None) -> list[Step]:
    """The steps under the keys trusted for this server; after a rotation, under those that the log leads to."""
    try:
        return list(verify_receipt(receipt, verifiers=server.log_keys, sent=sent))
    except VerificationError as error:
        if error.step != SIGNATURE_STEP:
            raise
        followed = _follow(server)
        if followed == server.log_keys:
            raise
    steps = list(verify_receipt(receipt, verifiers=followed, sent=sent))
    output.note("The log key was changed; the log itself names the new one.")
    known = profile.known(server.url)
    if known is not None and known.log_keys:
        profile.keep_keys(server.url, followed)
    return steps


def _follow(server: Server) -> tuple[Verifier, ...]:
    try:
        return trust.follow(server.log_keys, trust.listed(Api(server)))
    except CommandError as error:
        output.note(f"The server's log keys cannot be read ({error}): if they changed, run `prooftrail login`.")
        return server.log_keys


def finish(api: Api, answer: Answer, text: str, *, as_json: bool) -> None:
    """End a write whose answer holds its receipt under ``receipt``."""
    receipt = check(json.dumps(answer.data.get("receipt")).encode(), api.server, sent=None)
    if as_json:
        output.data(answer.data)
        return
    output.line(text, "green")
    output.line(describe(receipt, replayed=answer.replayed))


def describe(receipt: Receipt, *, replayed: bool) -> str:
    again = " (recorded before, same answer)" if replayed else ""
    return f"Recorded at index {receipt.index} of the ledger, signed by the {receipt.signed_by}{again}."


def keep(out: Path, content: bytes, envelope: bytes | None) -> None:
    """The receipt at ``out``; beside it the envelope that it speaks of, when the pipeline signed it."""
    files.write_new(out, content)
    output.note(f"Receipt: {out}")
    if envelope is not None:
        beside = envelope_path(out)
        files.write_new(beside, envelope)
        output.note(f"Envelope: {beside} (verify with --sent {beside})")


def envelope_path(out: Path) -> Path:
    return out.with_name(f"{out.name.removesuffix('.json')}.dsse.json")
