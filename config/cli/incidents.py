"""The incident that a hotfix cures, where its author names none."""

from typing import Any

from config.cli import output
from config.cli.api import Api
from config.cli.errors import CommandError, ExitCode


def named(api: Api, body: dict[str, Any], release: str) -> dict[str, Any]:
    """The body of a `hotfix` with the only incident that is open; unchanged where there are none or several.

    A token that may not read records leaves it unchanged, too: the incident is no required member.
    """
    if "incident" in body:
        return body
    try:
        found = _open(api, release.partition(":")[0])
    except CommandError as error:
        if error.code == ExitCode.SERVER:
            raise
        return body
    if len(found) == 1:
        output.note(f"The hotfix names the incident that is open, {found[0]}.")
        return {**body, "incident": found[0]}
    if found:
        output.warn(f"Which incident is it for? Open are {', '.join(found)}: name it as `incident` in the body.")
    return body


def _open(api: Api, system: str) -> list[str]:
    """Incidents of the system, or of no release, that no later record resolves; of the newest page of each."""
    rows = [row for kind in ("opened", "resolved") for row in _newest(api, f"incident.{kind}")]
    found: dict[str, bool] = {}
    for row in sorted(rows, key=lambda row: int(row["index"])):
        if (row["release"] or f"{system}:").startswith(f"{system}:") and row["withdrawn_by"] is None:
            found[str(row["facts"].get("incident"))] = row["kind"] == "incident.opened"
    return [name for name, is_open in found.items() if is_open]


def _newest(api: Api, kind: str) -> list[Any]:
    return list(api.pages("records", {"kind": kind, "limit": 200}, follow=False))
