"""`attest --dry-run`: the service checks everything and writes nothing; files stay here."""

from collections.abc import Iterable, Mapping
from typing import Any

from config.cli import output
from config.cli.api import Api
from config.cli.files import LocalFile
from config.cli.uploads import announcement
from evidence.tlog import dsse


def rehearse(
    api: Api,
    *,
    request: Mapping[str, Any],
    envelope: bytes | None,
    parameters: Mapping[str, str],
    files: Iterable[LocalFile],
    system: str | None,
    kind: str,
    key: str | None,
) -> dict[str, Any]:
    """What would be recorded. Ends with what would refuse it."""
    for file in files:
        api.post("artifacts?dry_run=1", announcement(file, system=system or "", kind=kind))
    if envelope is None:
        found: dict[str, Any] = api.post("records?dry_run=1", request, key=key).data
    else:
        asked = {**parameters, "dry_run": "1"}
        found = api.post_bytes("records", envelope, content_type=dsse.MEDIA_TYPE, params=asked, key=key).data
    return found


def show(found: Mapping[str, Any], files: Iterable[LocalFile]) -> None:
    """For a person."""
    if found["would"] == "replay":
        output.line(f"Record {found['index']} would be answered again: this key has led to it.", "green")
    else:
        output.line(f"This {found['kind']} would be recorded. Nothing was written.", "green")
    names = {file.sha256: file.name for file in files}
    output.fields(
        {
            "release": found["release"],
            "systems": found["systems"],
            "signed_by": found["signed_by"],
            "kept_until": found["retain_until"],
            "bytes": found["bytes"],
            "still_to_upload": [names.get(sha256, sha256) for sha256 in found["files_to_come"]],
        }
    )
