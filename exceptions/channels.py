"""Chat channels: who may set one up, and what of it is kept where. Every change is a `config.chat_channel` record."""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

from config.errors import ConflictError, ForbiddenError, InvalidError
from config.outbound import RefusedError, Target, target
from config.sealing import seal
from evidence.ledger import Actor, append, service_draft
from evidence.models import User
from evidence.people import visible_systems
from exceptions.models import ChatChannel
from exceptions.models.chat import new_channel_id
from exceptions.rules import person_of, require_role

ROLES = ("liaison", "admin")
#: What sealed URLs and secrets are sealed for.
URL, SECRET = "chat url", "chat secret"
MAX_URL = 2000
MAX_SYSTEMS = 200


@dataclass(frozen=True)
class Saved:
    """A channel and, where a new one was made, its secret: shown once."""

    channel: ChatChannel
    secret: str | None


def new_secret() -> str:
    """As Standard Webhooks wants it: ``whsec_`` and 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


def webhook(url: str) -> tuple[Target, bool]:
    """What a webhook's URL leads to, and whether that may be inside the own network. Raises RefusedError."""
    at = target(url, plain=True)
    listed = at.origin in {origin.rstrip("/") for origin in settings.CHAT_PRIVATE_ORIGINS}
    if at.scheme != "https" and not listed:
        raise RefusedError("it is no https URL")
    return at, listed


def save_channel(
    *,
    actor: Actor,
    name: str,
    url: str = "",
    systems: Sequence[str] = (),
    active: bool = True,
    channel: ChatChannel | None = None,
    renew_secret: bool = False,
) -> Saved:
    """Add a channel, or change one: then an empty `url` keeps the one there is. `systems` are opaque ids, none is all.

    Raises InvalidError (``channel_name``, ``channel_url``, ``channel_systems``), ConflictError ``name_taken``,
    ForbiddenError (``role_required``, ``system_not_yours``).
    """
    origin = _origin(name, url, systems, channel)
    secret = new_secret() if channel is None or renew_secret else None
    pk = channel.pk if channel else new_channel_id()

    def admit(_: datetime) -> None:
        person = person_of(actor)
        require_role(person, *ROLES)
        _check_reach(person, systems, channel)
        if ChatChannel.objects.filter(name=name).exclude(pk=pk).exists():
            raise ConflictError(f"There is a chat channel {name!r} already.", code="name_taken", where="$.name")

    def apply(index: int, _: datetime) -> None:
        shown = {"name": name, "origin": origin, "systems": sorted(systems), "is_active": active, "changed_by": index}
        sealed = {"sealed_url": seal(url, purpose=URL)} if url else {}
        sealed |= {"sealed_secret": seal(secret, purpose=SECRET)} if secret else {}
        ChatChannel.objects.update_or_create(pk=pk, defaults=shown | sealed)

    body = {
        "channel": pk,
        "name": name,
        "origin": origin,
        "systems": sorted(systems),
        "active": active,
        "url_changed": bool(url),
        "secret_changed": secret is not None,
    }
    append(service_draft("config.chat_channel", body, actor=actor, admit=admit, apply=apply))
    return Saved(ChatChannel.objects.get(name=name), secret)


def _origin(name: str, url: str, systems: Sequence[str], channel: ChatChannel | None) -> str:
    """What is wrong with the input is said before anything is asked of the ledger."""
    if not name.strip() or len(name) > 80 or not name.isprintable():
        raise InvalidError("A name has 1 to 80 characters.", code="channel_name", where="$.name")
    if len(systems) > MAX_SYSTEMS:
        raise InvalidError(f"At most {MAX_SYSTEMS} systems.", code="channel_systems", where="$.systems")
    if not url and channel is not None:
        return channel.origin
    try:
        if len(url) > MAX_URL:
            raise RefusedError("it is too long")
        return webhook(url)[0].origin
    except RefusedError as error:
        raise InvalidError(
            f"This is no webhook to post to: {error}. It is an https URL as the chat system gave it; an administrator "
            "lists those inside the own network in CHAT_PRIVATE_ORIGINS.",
            code="channel_url",
            where="$.url",
        ) from None


def _check_reach(person: User, systems: Sequence[str], channel: ChatChannel | None) -> None:
    """Who sees some systems only sends news of those, and leaves channels about others alone."""
    visible = visible_systems(person)
    if visible is None:
        return
    for told in [systems] if channel is None else [systems, channel.systems]:
        if not told or not set(told) <= set(visible):
            raise ForbiddenError(
                "Choose systems that are yours: this channel would hear, or hears, of others.",
                code="system_not_yours",
                where="$.systems",
            )
