"""The id-token by which a CI job shows who it is: from GitHub's runner, or from the variable of a GitLab job."""

import httpx

from config.cli import environment
from config.cli.errors import CommandError, ExitCode, usage
from config.cli.profile import Server
from config.cli.transport import send

#: What a GitLab job calls its id-token under ``id_tokens``, if it is not told otherwise.
VARIABLE = "PROOFTRAIL_ID_TOKEN"
_REQUEST_URL, _REQUEST_TOKEN = "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"
_TIMEOUT = httpx.Timeout(30, connect=10)
_HOW = (
    "GitHub: give the job `permissions: {id-token: write}`. GitLab: give the job "
    f"`id_tokens: {{{VARIABLE}: {{aud: <URL of the server>}}}}`. Elsewhere: put the id-token into {VARIABLE}."
)


def of_this_job(audience: str, *, variable: str | None = None) -> str:
    """An id-token for the audience: that of the variable if there is one, else a new one from GitHub."""
    given = environment.variable(variable or VARIABLE)
    if given:
        return given.strip()
    if variable:
        raise usage(f"{variable} is not set", _HOW)
    runner = _runner()
    if runner is None:
        raise usage("This job has no id-token", _HOW)
    return _from_github(*runner, audience)


def can_ask_for_more() -> bool:
    """Whether this job gets a new id-token whenever it asks; a variable holds one, and each is good for one login."""
    return environment.variable(VARIABLE) is None and _runner() is not None


def _runner() -> tuple[str, str] | None:
    """Where GitHub's runner makes id-tokens, and the token that it wants."""
    url, token = environment.variable(_REQUEST_URL), environment.variable(_REQUEST_TOKEN)
    return (url, token) if url is not None and token is not None else None


def _from_github(url: str, token: str, audience: str) -> str:
    runner = Server(url)
    if not url.startswith(("https://", "http://")) or runner.sends_in_clear:
        raise usage(f"{_REQUEST_URL} is not the https URL of GitHub's runner")
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    with httpx.Client(headers=headers, timeout=_TIMEOUT) as client:
        target = httpx.URL(url).copy_merge_params({"audience": audience})
        response = send(client, lambda: client.build_request("GET", target))
    try:
        value = response.json()["value"] if response.is_success else None
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, str) or not value:
        raise CommandError(
            f"GitHub's runner answered {response.status_code} and no id-token", code=ExitCode.SERVER, advice=_HOW
        )
    return value
