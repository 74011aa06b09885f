"""Servers that the user logged in to: their tokens and pinned log keys, in one file of mode 0600."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

from config.cli import environment, trust
from config.cli.errors import CommandError, usage
from evidence.tlog.errors import MalformedError
from evidence.tlog.note import Verifier


@dataclass(frozen=True)
class Session:
    """How a CI job signed in, and until when that holds: what it takes to do so again."""

    audience: str
    pipeline: str | None
    #: RFC 3339, by this machine's clock.
    expires_at: str

    @property
    def ends(self) -> datetime:
        return datetime.fromisoformat(self.expires_at)

    @property
    def is_whole(self) -> bool:
        try:
            return self.ends.tzinfo is not None
        except (TypeError, ValueError):
            return False


@dataclass(frozen=True)
class Server:
    """One server as commands see it; ``log_keys`` are those pinned at login or given by variable."""

    url: str
    token: str | None = None
    log_keys: tuple[Verifier, ...] = ()
    #: Of a token that came of a CI job's id-token and can be renewed.
    session: Session | None = None

    @property
    def sends_in_clear(self) -> bool:
        """Whether a token would cross a network unencrypted."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_url(url: str) -> str:
    """The server's base URL without a slash at its end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise usage(f"{url!r} is not the URL of a server", "It looks like https://prooftrail.example.com.")
    return url.rstrip("/")


def check_token(token: str) -> str:
    if not token or not all("!" <= character <= "~" for character in token):
        raise usage("The token is empty or holds characters that no token has")
    return token


def path() -> Path:
    """``PROOFTRAIL_CONFIG``, or ``config.json`` in the user's configuration folder."""
    given = environment.variable("PROOFTRAIL_CONFIG")
    return Path(given) if given else Path(typer.get_app_dir("prooftrail")) / "config.json"


def load() -> dict[str, Any]:
    """``{current, servers: {url: {token, log_keys, session?}}}``; empty before the first login."""
    try:
        text = path().read_text()
    except FileNotFoundError:
        return {"current": None, "servers": {}}
    except OSError as error:
        raise usage(f"{path()} cannot be read: {error.strerror}") from error
    try:
        found: dict[str, Any] = json.loads(text)
        known = [entry["log_keys"] for entry in found["servers"].values()]
        if not all(isinstance(keys, list) for keys in known) or not isinstance(found["current"], str | None):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged() from error
    return found


def _damaged() -> CommandError:
    return usage(f"{path()} is damaged", "Move it away and log in again.")


def save(server: Server) -> None:
    """Remember this server and make it the current one."""
    profile = load()
    entry = {"token": server.token, "log_keys": [trust.stored(key) for key in server.log_keys]}
    profile["servers"][server.url] = entry | ({"session": asdict(server.session)} if server.session else {})
    profile["current"] = server.url
    _write(profile)


def keep_session(url: str, token: str, session: Session) -> None:
    """A renewed session, for the commands that follow."""
    profile = load()
    profile["servers"][url] |= {"token": token, "session": asdict(session)}
    _write(profile)


def keep_keys(url: str, keys: Sequence[Verifier]) -> None:
    """Pin these keys for a server that the user is logged in to."""
    profile = load()
    profile["servers"][url]["log_keys"] = [trust.stored(key) for key in keys]
    _write(profile)


def _write(profile: dict[str, Any]) -> None:
    target = path()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(profile, file, indent=2)
    unfinished.replace(target)


def known(url: str) -> Server | None:
    """What was stored for this server at login."""
    entry = load()["servers"].get(url)
    return Server(url, entry.get("token"), _restored(entry), _session(entry)) if entry else None


def _session(entry: dict[str, Any]) -> Session | None:
    try:
        session = Session(**entry["session"]) if "session" in entry else None
    except TypeError as error:
        raise _damaged() from error
    return session if session is not None and session.is_whole else None


def _restored(entry: dict[str, Any]) -> tuple[Verifier, ...]:
    try:
        return tuple(trust.restored(key) for key in entry["log_keys"])
    except MalformedError as error:
        raise usage(f"{path()} is damaged: {error}", "Move it away and log in again.") from error


def current() -> Server:
    """The server that commands talk to: by variable, else the one logged in to last.

    A stored token goes to the server it was stored for and to no other.
    """
    given = environment.variable("PROOFTRAIL_URL")
    url = check_url(given) if given else load()["current"]
    if url is None:
        raise usage("There is no server", "Set PROOFTRAIL_URL and PROOFTRAIL_TOKEN, or run `prooftrail login --url …`.")
    stored = known(url) or Server(url)
    given_token = environment.variable("PROOFTRAIL_TOKEN")
    token, session = (given_token, None) if given_token else (stored.token, stored.session)
    keys = trust.merged(stored.log_keys, _given_keys())
    return Server(url, check_token(token) if token else None, keys, session)


def all_log_keys() -> tuple[Verifier, ...]:
    """Every log key that the user trusts: of all servers, and by variable."""
    return trust.merged(*(_restored(entry) for entry in load()["servers"].values()), _given_keys())


def _given_keys() -> tuple[Verifier, ...]:
    return trust.given((environment.variable("PROOFTRAIL_LOG_KEY") or "").split()).log
