"""How a CI job signs in: its id-token for an access token of a quarter of an hour, and again when that ends.

GitHub's runner makes a job as many id-tokens as it asks for, so its session is renewed by whatever runs longer: a wait
for the gate, a large upload. A GitLab job has the one of its variable, which was used at login.
"""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from config.cli import idtokens, output, profile
from config.cli.errors import usage
from config.cli.profile import Server, Session

if TYPE_CHECKING:
    from config.cli.api import Api

#: What is left of a session when it is renewed: longer than any one request takes to arrive.
_MARGIN = timedelta(seconds=60)


def begin(api: "Api", *, audience: str, pipeline: str | None, variable: str | None) -> tuple[Server, dict[str, Any]]:
    """The server, signed in to, and what it answered; `api` has no token. Raises CommandError."""
    found = _exchange(api, audience, pipeline, variable)
    lasting = variable is None and idtokens.can_ask_for_more()
    return replace(
        api.server, token=found["access_token"], session=_session(found, audience, pipeline) if lasting else None
    ), found


def is_renewable(server: Server) -> bool:
    return server.session is not None and idtokens.can_ask_for_more()


def is_ending(server: Server) -> bool:
    return server.session is not None and datetime.now(UTC) > server.session.ends - _MARGIN


def renewed(api: "Api", server: Server) -> Server:
    """The server with a new access token, which the commands that follow find, too. Raises CommandError."""
    if server.session is None:
        raise usage("This is not the session of a CI job")
    audience, pipeline = server.session.audience, server.session.pipeline
    found = _exchange(api, audience, pipeline, None)
    session = _session(found, audience, pipeline)
    if session is not None:
        _keep(server.url, found["access_token"], session)
    return replace(server, token=found["access_token"], session=session)


def _keep(url: str, token: str, session: Session) -> None:
    try:
        profile.keep_session(url, token, session)
    except OSError as error:  # this command goes on with it; the next one renews for itself
        output.note(f"The renewed session is not kept: {error}")


def _exchange(api: "Api", audience: str, pipeline: str | None, variable: str | None) -> dict[str, Any]:
    """An access token for this CI job, as the service answers it."""
    if api.server.sends_in_clear:
        raise usage(f"The id-token would go to {api.server.url} unencrypted", "Use https.")
    body = {"id_token": idtokens.of_this_job(audience, variable=variable)}
    found: dict[str, Any] = api.post("auth/oidc", body | ({"pipeline": pipeline} if pipeline else {})).data
    profile.check_token(found["access_token"])
    return found


def _session(found: dict[str, Any], audience: str, pipeline: str | None) -> Session | None:
    """By this machine's clock; None where the service does not say for how long."""
    seconds = found.get("expires_in")
    if not isinstance(seconds, int | float):
        return None
    return Session(audience, pipeline, (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat())
