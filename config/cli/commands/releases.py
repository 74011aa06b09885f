"""`release …` and `approve`."""

from enum import StrEnum
from typing import Annotated

import typer

from config.cli import environment, output
from config.cli.api import Api, segment
from config.cli.errors import usage
from config.cli.receipts import finish

app = typer.Typer(no_args_is_help=True, help="Open releases and look at them.")


class ReleaseType(StrEnum):
    REGULAR = "regular"
    HOTFIX = "hotfix"


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Release = Annotated[str, typer.Argument(help="The release, such as web:release-20261122.")]


@app.command("open")
def open_release(
    system: Annotated[str, typer.Option(help="The system that is released.")],
    ticket_id: Annotated[str, typer.Option(help="Its change ticket.")],
    ticket_url: Annotated[str, typer.Option(help="Where the ticket is read.")],
    captain: Annotated[str, typer.Option(help="Who leads the release.")],
    tag: Annotated[str | None, typer.Option(help="Such as release-20261122; in a CI job its tag.")] = None,
    type_: Annotated[ReleaseType, typer.Option("--type", help="Regular, or a hotfix.")] = ReleaseType.REGULAR,
    commander: Annotated[str | None, typer.Option(help="Who commands the cutover.")] = None,
    surface: Annotated[list[str] | None, typer.Option(help="What users see of it; may be repeated.")] = None,
    dashboard: Annotated[list[str] | None, typer.Option(help="NAME=URL; may be repeated.")] = None,
    window: Annotated[
        tuple[str, str] | None, typer.Option(metavar="FROM TO", help="Two RFC 3339 times with offsets.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Open a release."""
    tag = tag or environment.tag()
    if tag is None:
        raise usage("The release has no tag", "Give --tag, or run in a CI job for a tag.")
    request = {
        "system": system,
        "tag": tag,
        "type": type_.value,
        "ticket_id": ticket_id,
        "ticket_url": ticket_url,
        "dashboards": [_dashboard(text) for text in dashboard or []],
        "captain": captain,
        "commander": commander,
        "surfaces": surface,
        "window": {"from": window[0], "to": window[1]} if window else None,
    }
    api = Api.current()
    answer = api.post("releases", {name: value for name, value in request.items() if value})
    finish(api, answer, f"Release {answer.data['release']['id']} is open.", as_json=as_json)


@app.command()
def show(release: Release, as_json: Json = False) -> None:
    """Show a release and what its manifest is."""
    answer = Api.current().get(f"releases/{segment(release)}")
    found = answer.get("release", answer)
    if as_json:
        output.data(answer)
    else:
        output.fields(found)


@app.command()
def timeline(release: Release, as_json: Json = False) -> None:
    """Show what was recorded for a release, in order."""
    api, path = Api.current(), f"releases/{segment(release)}/timeline"
    rows = list(api.pages(path, {}, follow=True))
    if as_json:
        output.data({"results": rows})
    else:
        columns = ["index", "occurred", "kind", "outcome", "timeliness", "principal", "signed_by"]
        output.table(rows, columns, empty="Nothing is recorded for this release yet.")


def approve(
    release: Release,
    role: Annotated[str, typer.Option(help="The role in which you decide, such as qa.")],
    comment: Annotated[str, typer.Option(help="Why.")],
    reject: Annotated[bool, typer.Option("--reject", help="Reject instead.")] = False,
    manifest_digest: Annotated[
        str | None, typer.Option(help="The manifest that you looked at; by default the release's newest.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Approve (or reject) the manifest of a release in a role."""
    api = Api.current()
    digest = manifest_digest or _newest_manifest(api, release)
    decision = "rejected" if reject else "approved"
    request = {"role": role, "decision": decision, "comment": comment, "manifest_digest": digest}
    answer = api.post(f"releases/{segment(release)}/approvals", request)
    finish(api, answer, f"{decision.capitalize()} as {role}: manifest {digest}.", as_json=as_json)


def _dashboard(text: str) -> dict[str, str]:
    name, separator, url = text.partition("=")
    if not (name and separator and url):
        raise usage(f"{text!r} is not NAME=URL")
    return {"name": name, "url": url}


def _newest_manifest(api: Api, release: str) -> str:
    answer = api.get(f"releases/{segment(release)}")
    digest = answer.get("release", answer).get("manifest_digest")
    if not isinstance(digest, str):
        raise usage(f"{release} has no deploy manifest yet", "Attest one first: prooftrail attest deploy.manifest …")
    return digest
