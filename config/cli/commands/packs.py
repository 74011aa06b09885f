"""`pack …`"""

import hashlib
import os
import re
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from config.cli import output, progress
from config.cli.api import Api, segment
from config.cli.commands.releases import Json
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.files import CHUNK
from config.cli.receipts import finish
from config.cli.transport import presigned

app = typer.Typer(no_args_is_help=True, help="Evidence packs for auditors.")
Pack = Annotated[str, typer.Argument(help="The pack's id.")]
_QUARTER = re.compile(r"([0-9]{4})-?[Qq]([1-4])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_POLL = 2.0


@app.command()
def request(
    from_: Annotated[str | None, typer.Option("--from", help="Start of the period: a date, or RFC 3339.")] = None,
    to: Annotated[str | None, typer.Option(help="Its end: the last date in it, or RFC 3339 (not included).")] = None,
    quarter: Annotated[str | None, typer.Option(help="Or a calendar quarter in UTC, such as 2026-Q4.")] = None,
    system: Annotated[list[str] | None, typer.Option(help="Only this system; may be repeated.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is built.")] = False,
    as_json: Json = False,
) -> None:
    """Ask for a pack; the server builds it in the background."""
    start, end = _period(from_, to, quarter)
    api = Api.current()
    answer = api.post("packs", {"from": start, "to": end} | ({"systems": system} if system else {}))
    pack = answer.data["pack"]
    if not wait:
        finish(api, answer, f"Pack {pack['id']} is {pack['state']}.", as_json=as_json)
        return
    _show(_built(api, pack), as_json=as_json)


@app.command()
def status(pack: Pack, as_json: Json = False) -> None:
    """Show a pack's state; exit code 1 when building it failed."""
    found = _get(Api.current(), pack)
    _show(found, as_json=as_json)


@app.command()
def download(
    pack: Pack,
    out: Annotated[Path | None, typer.Option(help="Where it goes; by default pack-ID.zip.")] = None,
    as_json: Json = False,
) -> None:
    """Download a pack and compare its digest; `prooftrail verify` then checks what is in it."""
    target = out or Path(f"pack-{Path(pack).name}.zip")
    if target.exists():
        raise usage(f"{target} exists already", "Choose another name or move it away.")
    link = Api.current().post(f"packs/{segment(pack)}/download").data
    _fetch(link, target)
    if as_json:
        output.data({"path": str(target), "sha256": link["sha256"], "size": link["size"]})
    else:
        output.line(f"{target}: {link['size']} bytes, sha256:{link['sha256']}", "green")
        output.note(f"Verify it: prooftrail verify {target}")


def _show(pack: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.data(pack)
    else:
        output.fields(pack)
    if pack["state"] == "failed":
        raise typer.Exit(ExitCode.NO)


def _get(api: Api, pack: str) -> dict[str, Any]:
    answer = api.get(f"packs/{segment(pack)}")
    found: dict[str, Any] = answer.get("pack", answer)
    return found


def _built(api: Api, pack: dict[str, Any]) -> dict[str, Any]:
    shown = None
    while pack["state"] not in ("ready", "failed"):
        if shown != (shown := f"{pack['state']} {pack.get('progress') or ''}".strip()):
            output.note(f"Pack {pack['id']}: {shown}")
        time.sleep(_POLL)
        pack = _get(api, pack["id"])
    return pack


def _period(start: str | None, end: str | None, quarter: str | None) -> tuple[str, str]:
    """Start and end as RFC 3339; the end is not included."""
    if quarter is not None:
        match = _QUARTER.fullmatch(quarter)
        if match is None or start or end:
            raise usage("A period is --quarter 2026-Q4, or --from and --to")
        year, number = int(match[1]), int(match[2])
        first = date(year, 3 * number - 2, 1)
        following = date(year + number // 4, 3 * (number % 4) + 1, 1)
        return _midnight(first), _midnight(following)
    if start is None or end is None:
        raise usage("A period is --quarter 2026-Q4, or --from and --to")
    return _moment(start, days=0), _moment(end, days=1)


def _moment(text: str, *, days: int) -> str:
    if not _DATE.fullmatch(text):
        return text
    try:
        return _midnight(date.fromisoformat(text) + timedelta(days=days))
    except ValueError as error:
        raise usage(f"There is no date {text}") from error


def _midnight(day: date) -> str:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat().replace("+00:00", "Z")


def _fetch(link: dict[str, Any], target: Path) -> None:
    """Stream to a file beside the target; it gets its name once its digest is right."""
    unfinished = target.with_name(f"{target.name}.part")
    digest = hashlib.sha256()
    try:
        with presigned() as client, client.stream("GET", link["url"]) as response, unfinished.open("wb") as file:
            if not response.is_success:
                raise CommandError(f"The store answered {response.status_code}", code=ExitCode.SERVER)
            with progress.of_bytes(f"Downloading {target.name}", link["size"]) as shown:
                for chunk in response.iter_raw(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
                    shown.advance(len(chunk))
            file.flush()
            os.fsync(file.fileno())
        _check_digest(link, digest.hexdigest(), unfinished.stat().st_size)
        unfinished.rename(target)
    except (httpx.TransportError, httpx.UnsupportedProtocol) as error:
        raise CommandError(
            f"The download broke off: {error}", code=ExitCode.SERVER, advice="Run the command again."
        ) from error
    except OSError as error:
        raise usage(f"{unfinished} cannot be written: {error.strerror}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _check_digest(link: dict[str, Any], sha256: str, size: int) -> None:
    if (sha256, size) != (link["sha256"], link["size"]):
        raise CommandError(
            f"What came is {size} bytes, sha256:{sha256}; the server named {link['size']}, sha256:{link['sha256']}",
            code=ExitCode.NO,
            advice="The file was thrown away. If a second try ends alike, tell who operates the server.",
        )
