"""One file to the artifact store: announced, put to a presigned URL, confirmed."""

import time
from typing import Any

import httpx

from config.cli import output
from config.cli.api import Api, presigned, segment, send
from config.cli.errors import CommandError, ExitCode
from config.cli.files import LocalFile, chunks

_POLL_FIRST = 0.5
_POLL_LONGEST = 5.0
_POLL_LIMIT = 900.0


def upload(api: Api, file: LocalFile, *, system: str, kind: str | None = None) -> dict[str, Any]:
    """The artifact, confirmed. A file that the system holds already is not sent again.

    ``kind`` is that of the record which will name it: the file is kept as long as such records are.
    """
    wanted = {
        "sha256": file.sha256,
        "size": file.size,
        "name": file.name,
        "system": system,
        "media_type": file.media_type,
    }
    announced = api.post("artifacts", wanted | ({"kind": kind} if kind else {})).data
    if announced.get("upload"):
        _put(file, announced["upload"])
    artifact: dict[str, Any] = announced["artifact"]
    if artifact["state"] == "confirmed":
        return artifact
    artifact = api.post(f"artifacts/{segment(file.sha256)}/confirm", {"system": system}).data["artifact"]
    return _settled(api, file, artifact, system=system)


def _put(file: LocalFile, target: dict[str, Any]) -> None:
    """Exactly the signed headers: the store refuses bytes of another length or digest."""
    with presigned() as client:

        def build() -> httpx.Request:
            return client.build_request(
                target["method"], target["url"], headers=target["headers"], content=chunks(file.path)
            )

        response = send(client, build)
    if not response.is_success:
        raise CommandError(
            f"The store refused {file.name}: {response.status_code} {response.text[:300]}",
            code=ExitCode.SERVER,
            advice="If the file changed while it was read, run the command again.",
        )


def _settled(api: Api, file: LocalFile, artifact: dict[str, Any], *, system: str) -> dict[str, Any]:
    """Wait while the worker reads a large file."""
    wait, waited = _POLL_FIRST, 0.0
    while artifact["state"] not in ("confirmed", "refused"):
        if waited >= _POLL_LIMIT:
            raise CommandError(
                f"{file.name} is still being checked", code=ExitCode.SERVER, advice="Run the command again later."
            )
        output.note(f"{file.name} is being checked…")
        time.sleep(wait)
        waited, wait = waited + wait, min(wait * 2, _POLL_LONGEST)
        answer = api.get(f"artifacts/{segment(file.sha256)}", {"system": system})
        artifact = answer.get("artifact", answer)
    if artifact["state"] == "refused":
        reason = artifact.get("refusal") or artifact.get("reason") or "no reason given"
        raise CommandError(f"{file.name} was refused: {reason}", code=ExitCode.USAGE)
    return artifact
