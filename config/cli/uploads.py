"""One file to the artifact store: announced, put to presigned URLs, confirmed.

A large file goes in parts. Whatever interrupts it, running the command again sends only what the store does not hold.
"""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from config.cli import output, progress
from config.cli.api import Api, segment
from config.cli.errors import CommandError, ExitCode
from config.cli.files import LocalFile, chunks
from config.cli.progress import Shown
from config.cli.transport import presigned, send

_POLL_FIRST = 0.5
_POLL_LONGEST = 5.0
#: Seconds without progress after which nobody seems to be checking the file.
_POLL_LIMIT = 900.0
#: Announcements in a row after which nothing was sent: the URLs are of no use.
_FRUITLESS = 3


def upload(api: Api, file: LocalFile, *, system: str, kind: str | None = None) -> dict[str, Any]:
    """The artifact, confirmed. A file that the system holds already is not sent again.

    ``kind`` is that of the record which will name it: the file is kept as long as such records are.
    """
    wanted = announcement(file, system=system, kind=kind)
    announced = api.post("artifacts", wanted).data
    with progress.of_bytes(f"Sending {file.name}", file.size) as shown:
        _send(api, file, wanted, announced.get("upload"), shown)
    artifact: dict[str, Any] = announced["artifact"]
    if artifact["state"] == "confirmed":
        return artifact
    artifact = api.post(f"artifacts/{segment(file.sha256)}/confirm", {"system": system}).data["artifact"]
    return _settled(api, file, artifact, system=system)


def announcement(file: LocalFile, *, system: str, kind: str | None) -> dict[str, Any]:
    """What the service is told about the file."""
    wanted: dict[str, Any] = {
        "sha256": file.sha256,
        "size": file.size,
        "name": file.name,
        "system": system,
        "media_type": file.media_type,
    }
    if file.part_sha256:
        wanted["part_sha256"] = list(file.part_sha256)
    return wanted | ({"kind": kind} if kind else {})


def _send(api: Api, file: LocalFile, wanted: dict[str, Any], target: dict[str, Any] | None, shown: Shown) -> None:
    """Until nothing is left to send; URLs of parts come a few dozen at a time, and are asked for anew when they age."""
    fruitless = 0
    with presigned() as client:
        while target:
            if "parts" not in target:
                _put(client, file, target, 0, file.size, shown)
                return
            if not target["parts"]:
                return
            sent = _send_parts(client, file, target, shown)
            fruitless = 0 if sent else fruitless + 1
            if fruitless == _FRUITLESS:
                raise _refused(file, "403 the URLs do not hold")
            target = api.post("artifacts", wanted).data.get("upload")


def _send_parts(client: httpx.Client, file: LocalFile, target: dict[str, Any], shown: Shown) -> int:
    """How many parts were sent before a URL no longer held."""
    shown.at(target["parts_done"] * target["part_size"])
    for sent, part in enumerate(target["parts"]):
        if not _put(client, file, part, part["offset"], part["size"], shown, may_age=True):
            return sent
    return len(target["parts"])


def _put(
    client: httpx.Client,
    file: LocalFile,
    target: dict[str, Any],
    offset: int,
    size: int,
    shown: Shown,
    *,
    may_age: bool = False,
) -> bool:
    """Exactly the signed headers: the store refuses bytes of another length or digest. False: the URL is too old."""
    before = shown.done

    def build() -> httpx.Request:
        shown.at(before)  # a retry begins anew
        content = _counted(chunks(file.path, offset, size), shown)
        return client.build_request(target["method"], target["url"], headers=target["headers"], content=content)

    response = send(client, build)
    if may_age and response.status_code == httpx.codes.FORBIDDEN:
        return False
    if not response.is_success:
        raise _refused(file, f"{response.status_code} {response.text[:300]}")
    return True


def _counted(pieces: Iterator[bytes], shown: Shown) -> Iterator[bytes]:
    for piece in pieces:
        yield piece
        shown.advance(len(piece))


def _refused(file: LocalFile, answer: str) -> CommandError:
    return CommandError(
        f"The store refused {file.name}: {answer}",
        code=ExitCode.SERVER,
        advice="If the file changed while it was read, run the command again.",
    )


def _settled(api: Api, file: LocalFile, artifact: dict[str, Any], *, system: str) -> dict[str, Any]:
    """Wait while the worker reads a large file; as long as it gets on, however long that takes."""
    wait, idle = _POLL_FIRST, 0.0
    if artifact["state"] not in ("confirmed", "refused"):
        output.note(f"{file.name} is being checked…")
    with progress.of_bytes(f"Checking {file.name}", file.size) as shown:
        while artifact["state"] not in ("confirmed", "refused"):
            if idle >= _POLL_LIMIT:
                raise CommandError(
                    f"{file.name} is still being checked", code=ExitCode.SERVER, advice="Run the command again later."
                )
            time.sleep(wait)
            answer = api.get(f"artifacts/{segment(file.sha256)}", {"system": system})
            artifact = answer.get("artifact", answer)
            got_on = shown.at(artifact.get("checked") or 0)
            idle, wait = (0.0, wait) if got_on else (idle + wait, min(wait * 2, _POLL_LONGEST))
    if artifact["state"] == "refused":
        reason = artifact.get("refusal") or artifact.get("reason") or "no reason given"
        raise CommandError(f"{file.name} was refused: {reason}", code=ExitCode.USAGE)
    return artifact
