"""Posts to chat channels: a body that Slack and those who follow it read, signed after Standard Webhooks.

1. the URL is opened and judged anew for each post: what is allowed may have changed
2. ``webhook-id`` names what is told: the same at each attempt; ``webhook-timestamp`` is the attempt's
3. ``webhook-signature`` is ``v1,`` and HMAC-SHA-256 over ``id.timestamp.body`` under the channel's secret
What is refused is told with the host alone: the path of such a URL is a password.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.utils import timezone

from config.outbound import RefusedError as Unreachable
from config.outbound import Rules, ask
from config.sealing import UnsealableError, unseal
from evidence import circuits
from evidence.ledger import Actor, Placed, append, service_draft
from evidence.outbox import RefusedError
from exceptions import channels
from exceptions.models import ChatChannel

#: What a chat system answers where it does not want this message; anything else says that it wants none.
_ITS_OWN = frozenset({400, 413, 422})
_LIMIT = 64 * 1024
_SECONDS = 5.0
#: Slack refuses a section of more than 3,000 characters and a message of more than 50 blocks.
_MAX_TEXT = 2900
MOST_LISTED = 40


class AwayError(OSError):
    """The channel takes nothing now."""


@dataclass(frozen=True)
class Post:
    """One message to one channel."""

    channel: ChatChannel
    id: str
    body: bytes

    def send(self) -> None:
        """Raises RefusedError (this message is not wanted) or AwayError (none is)."""
        try:
            at, private = channels.webhook(unseal(self.channel.sealed_url, purpose=channels.URL))
            secret = unseal(self.channel.sealed_secret, purpose=channels.SECRET)
            answer = ask(
                "POST",
                at,
                private=private,
                rules=Rules(
                    _LIMIT, _SECONDS, settings.CHAT_CA_FILE, "An administrator lists it in CHAT_PRIVATE_ORIGINS."
                ),
                headers=signed(secret, self.id, timezone.now(), self.body),
                content=self.body,
            )
        except UnsealableError as error:
            raise AwayError(f"enter the URL of {self.channel.name} again: {error}") from None
        except Unreachable as error:
            raise AwayError(str(error)) from None
        if answer.status in _ITS_OWN:
            raise RefusedError(f"{at.origin} answered {answer.status}")
        if not 200 <= answer.status < 300:
            raise AwayError(f"{at.origin} answered {answer.status}")


def signed(secret: str, message_id: str, at: datetime, body: bytes) -> dict[str, str]:
    """The headers of one attempt."""
    timestamp = str(int(at.timestamp()))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    over = f"{message_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(key, over, hashlib.sha256).digest()).decode()
    return {
        "Content-Type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


# -- the body ----------------------------------------------------------------------------------------------------------


def escaped(text: str) -> str:
    """As Slack wants text that somebody else wrote: nothing in it links, or calls anybody."""
    return " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link(url: str, text: str) -> str:
    return f"<{url}|{escaped(text)}>"


def body(summary: str, sections: Sequence[str]) -> bytes:
    """`summary` is plain text, for notifications; `sections` are Slack's mrkdwn, made with `escaped` and `link`."""
    shown = [_section(text) for text in sections]
    message: Mapping[str, Any] = {"text": escaped(summary)[:_MAX_TEXT], "blocks": shown}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()


def _section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text[:_MAX_TEXT], "verbatim": True}}


# -- a test ------------------------------------------------------------------------------------------------------------


def try_out(channel: ChatChannel, *, actor: Actor) -> Placed:
    """Post a message that is about nothing; a `config.chat_test` record says who did and what came of it.

    One that arrives ends a pause after failures. Raises ProoftrailError where the record is refused.
    """
    post, error = greeting(channel), ""
    own = ChatChannel.objects.filter(pk=channel.pk)
    try:
        post.send()
    except OSError as failure:
        error = str(failure)[:500]
        own.update(last_failed_at=timezone.now(), last_error=error)
    else:
        own.update(last_delivered_at=timezone.now())
        circuits.succeeded(channel.recipient)
    body = {"channel": channel.pk, "origin": channel.origin, "message": post.id}
    body |= {"outcome": "failed", "error": error} if error else {"outcome": "delivered"}
    return append(service_draft("config.chat_test", body, actor=actor))


def greeting(channel: ChatChannel) -> Post:
    """Says that it works; it is about nothing."""
    moment = timezone.now()
    text = f"Prooftrail: this channel hears of exceptions that expire ({channel.name})."
    url = link(f"{settings.PROOFTRAIL_URL}/", "Open Prooftrail")
    digest = hashlib.sha256(f"{channel.pk} {moment.isoformat()}".encode()).hexdigest()[:24]
    return Post(channel, f"test_{digest}", body(text, [f"{escaped(text)} {url}"]))
