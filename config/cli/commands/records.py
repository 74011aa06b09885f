"""`attest` and `upload`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import typer

from config.cli import environment, incidents, output, receipts, rehearsals, reports
from config.cli.api import Answer, Api, segment
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.files import LocalFile, local_file, read_body, read_from
from config.cli.reports import Options
from config.cli.uploads import upload as upload_file
from evidence.tlog import dsse, signing
from evidence.tlog.canonical import canonical
from evidence.tlog.errors import MalformedError
from evidence.tlog.statement import Subject, build_statement, predicate_type_for

_MANIFEST = "deploy.manifest"


@dataclass(frozen=True)
class Evidence:
    """What one `attest` says."""

    kind: str
    release: str | None
    system: str | None
    occurred_at: str | None
    body: dict[str, Any]
    subjects: list[Subject]

    def request(self) -> dict[str, Any]:
        """The plain JSON request, which the service wraps and signs."""
        members = {
            "kind": self.kind,
            "release": self.release,
            "system": None if self.release else self.system,
            "occurred_at": self.occurred_at,
            "subject": [{"name": subject.name, "digest": subject.digest} for subject in self.subjects],
            "body": self.body,
        }
        return {name: value for name, value in members.items() if value not in (None, [])}

    def envelope(self, keys: Sequence[Path], type_of: Callable[[str], str] = predicate_type_for) -> bytes:
        """The envelope signed with the private keys in these files; `type_of` its kind is the predicate type."""
        loaded = [_private_key(path) for path in keys]  # before anybody is asked for the type
        about_itself = Subject(self.kind, {"sha256": sha256(canonical(self.body)).hexdigest()})
        payload = build_statement(
            subjects=self.subjects or [about_itself],
            predicate_type=type_of(self.kind),
            predicate=self.body,
        )
        return dsse.sign_envelope(payload, *loaded)

    def parameters(self) -> dict[str, str]:
        """What goes beside an envelope, in the query."""
        named = {
            "release": self.release,
            "system": None if self.release else self.system,
            "occurred_at": self.occurred_at,
        }
        return {name: value for name, value in named.items() if value}


def attest(
    kind: Annotated[str, typer.Argument(help="The kind of evidence, such as deploy.manifest.")],
    release: Annotated[str | None, typer.Option(help="The release, such as web:release-20261122.")] = None,
    system: Annotated[str | None, typer.Option(help="The system; by default the one in the release's name.")] = None,
    body: Annotated[str | None, typer.Option(help="The body as JSON: a file, or - for standard input.")] = None,
    file: Annotated[list[Path] | None, typer.Option(help="A file to upload and attest; may be repeated.")] = None,
    junit: Annotated[Path | None, typer.Option(help="A test.result from this JUnit XML, its subject.")] = None,
    suite: Annotated[str | None, typer.Option(help="With --junit: unit, integration, contract, lint …")] = None,
    sarif: Annotated[Path | None, typer.Option(help="A scan.result from this SARIF file, its subject.")] = None,
    type_: Annotated[str | None, typer.Option("--type", help="With --sarif: secrets, sca, sast or dast.")] = None,
    fail_on: Annotated[str | None, typer.Option(help="With --sarif: the least severity that fails.")] = None,
    manifest_digest: Annotated[str | None, typer.Option(help="The manifest that this is evidence for.")] = None,
    sign_with: Annotated[
        list[Path] | None, typer.Option(help="Sign with this private key (PEM); may be repeated.")
    ] = None,
    predicate_type: Annotated[str | None, typer.Option(help="Sign it as this well-known predicate type.")] = None,
    occurred_at: Annotated[str | None, typer.Option(help="When it happened, RFC 3339 with an offset.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the receipt here, and a signed envelope beside it.")] = None,
    idempotency_key: Annotated[str | None, typer.Option(help="Your own key; by default a new one.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Have everything checked; write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the receipt.")] = False,
) -> None:
    """Record evidence and check the receipt that comes back."""
    _check_out(out)
    release = release or _release_of_job(system)
    report = reports.read(kind, junit_xml=junit, sarif_json=sarif, options=Options(suite, type_, fail_on))
    attached = ([report.file] if report else []) + [local_file(path) for path in file or []]
    members = read_body(body) | ({"manifest_digest": manifest_digest} if manifest_digest else {})
    members = report.with_body(members) if report else members
    if kind == "hotfix" and release:
        members = incidents.named(Api.current(), members, release)
    evidence = _evidence(kind, release, system, occurred_at, members, attached)
    if predicate_type and not sign_with:
        raise usage("--predicate-type goes with --sign-with", "What the service signs has its own predicate type.")
    envelope = evidence.envelope(sign_with, lambda _: predicate_type or _type_in_force(kind)) if sign_with else None
    api = Api.current()
    if dry_run:
        _rehearse(api, evidence, envelope, attached, key=idempotency_key, as_json=as_json)
        return
    for item in attached:
        upload_file(api, item, system=_system_of(evidence), kind=kind)
    answer = _post(api, evidence, envelope, idempotency_key)
    if out is not None:
        receipts.keep(out, answer.raw, envelope)
    sent = envelope or canonical(evidence.request())
    receipt = receipts.check(answer.raw, api.server, sent=sent, release=release)
    if as_json:
        output.raw(answer.raw)
        return
    output.line(receipts.describe(receipt, replayed=answer.replayed), "green")
    if kind == _MANIFEST:
        output.line(f"Manifest digest: sha256:{sha256(canonical(evidence.body)).hexdigest()}")


def record(api: Api, evidence: Evidence, *, as_json: bool) -> None:
    """Have the service sign and record this, check the receipt and show it."""
    answer = _post(api, evidence, None, None)
    receipt = receipts.check(answer.raw, api.server, sent=canonical(evidence.request()), release=evidence.release)
    if as_json:
        output.raw(answer.raw)
    else:
        output.line(receipts.describe(receipt, replayed=answer.replayed), "green")


def upload(
    path: Annotated[Path, typer.Argument(help="The file.")],
    system: Annotated[str, typer.Option(help="The system that it belongs to.")],
    kind: Annotated[str | None, typer.Option(help="The kind of the record that will name it.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Upload a file, so that evidence can name it by its digest."""
    artifact = upload_file(Api.current(), local_file(path), system=system, kind=kind)
    if as_json:
        output.data(artifact)
    else:
        output.line(f"{path.name} is stored: sha256:{artifact['sha256']}", "green")


def _type_in_force(kind: str) -> str:
    """The predicate type of the version that the server has in force; of the first where it does not say."""
    try:
        return str(Api.current().get(f"kinds/{segment(kind)}")["predicate_type"])
    except CommandError as error:
        if error.code == ExitCode.SERVER:
            raise
        return predicate_type_for(kind)  # whatever is wrong, the server says when the record is posted


def _private_key(path: Path) -> signing.PrivateKey:
    try:
        return signing.load_private(read_from(path).read_bytes())
    except MalformedError as error:
        raise usage(f"{path}: {error}", "Make a key with `prooftrail keygen`.") from error


def _check_out(out: Path | None) -> None:
    """Before anything is written to the ledger: the receipt must have a place."""
    for path in [out, receipts.envelope_path(out)] if out else []:
        if path.exists():
            raise usage(f"{path} exists already", "Choose another name or move it away.")
        if not path.parent.is_dir():
            raise usage(f"There is no folder {path.parent}")


def _release_of_job(system: str | None) -> str | None:
    """In a CI job for a tag, the release of that tag."""
    tag = environment.tag()
    return f"{system}:{tag}" if system and tag else None


def _evidence(
    kind: str,
    release: str | None,
    system: str | None,
    occurred_at: str | None,
    body: dict[str, Any],
    attached: list[LocalFile],
) -> Evidence:
    if kind == _MANIFEST:
        body = _complete_manifest(body, attached)
    subjects = [Subject(item.name, {"sha256": item.sha256}) for item in attached]
    return Evidence(kind, release, system, occurred_at, body, subjects or _listed(kind, body))


def _complete_manifest(body: dict[str, Any], attached: list[LocalFile]) -> dict[str, Any]:
    """A manifest lists its files; in CI its commit is known."""
    listed = [{"name": item.name, "size": item.size, "sha256": item.sha256} for item in attached]
    known = {"commit": environment.commit(), "artifacts": listed or None}
    return {name: value for name, value in known.items() if value} | body


def _listed(kind: str, body: dict[str, Any]) -> list[Subject]:
    """A manifest without files at hand is about the artifacts that it lists."""
    artifacts = body.get("artifacts") if kind == _MANIFEST else None
    if not isinstance(artifacts, list):
        return []
    try:
        return [Subject(item["name"], {"sha256": item["sha256"]}) for item in artifacts]
    except (KeyError, TypeError) as error:
        raise usage("Each of the manifest's artifacts is {name, size, sha256}") from error


def _system_of(evidence: Evidence) -> str:
    system = evidence.system or (evidence.release or "").partition(":")[0]
    if not system:
        raise usage("Uploading needs a system", "Give --system or --release.")
    return system


def _rehearse(
    api: Api, evidence: Evidence, envelope: bytes | None, attached: list[LocalFile], *, key: str | None, as_json: bool
) -> None:
    found = rehearsals.rehearse(
        api,
        request=evidence.request(),
        envelope=envelope,
        parameters=evidence.parameters(),
        files=attached,
        system=_system_of(evidence) if attached else None,
        kind=evidence.kind,
        key=key,
    )
    if as_json:
        output.data(found)
    else:
        rehearsals.show(found, attached)


def _post(api: Api, evidence: Evidence, envelope: bytes | None, key: str | None) -> Answer:
    if envelope is None:
        return api.post("records", evidence.request(), key=key)
    return api.post_bytes("records", envelope, content_type=dsse.MEDIA_TYPE, params=evidence.parameters(), key=key)
