"""Bearer tokens: their text, ``pt_<id>_<secret><checksum>``, and how one begins. Who may have which: `people`.

- ``pt_``: what secret scanners look for.
- id: 12 hexadecimal digits, under which the token is known and shown.
- secret: 43 of 0-9A-Za-z, 256 random bits; the service keeps its SHA-256.
- checksum: CRC-32 of everything before it, as 6 of 0-9A-Za-z. A scanner tells a token from what only looks like one
  without asking anybody, and a mistyped one is refused without asking the database.
"""

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils import timezone

from evidence.ledger import Actor, Idempotency, Placed, append, service_draft
from evidence.models import Pipeline, Token, User
from evidence.models.people import UNLIMITED, Limits

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
ID_DIGITS, SECRET_LENGTH, CHECKSUM_LENGTH = 12, 43, 6
#: For scanners: what matches is ours if `parse` takes it.
PATTERN = re.compile(r"\bpt_[0-9a-f]{12}_[0-9A-Za-z]{49}\b")
#: Tokens issued before they had a checksum: 32 random bytes, base64url. The last of them ends a year after.
_WITHOUT_CHECKSUM = re.compile(r"pt_([0-9a-f]{12})_([0-9A-Za-z_-]{43})")


@dataclass(frozen=True)
class Parts:
    """A token's parts; printing it shows no secret."""

    id: str
    secret: str

    def __repr__(self) -> str:
        return f"Parts(pt_{self.id}_…)"


def new_id() -> str:
    return secrets.token_hex(ID_DIGITS // 2)


def new_secret() -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))


def secret_from(seed: bytes) -> str:
    """The secret that 32 pseudorandom bytes give: the same for the same."""
    return _digits(int.from_bytes(seed[:32]), SECRET_LENGTH)


def text(token_id: str, secret: str) -> str:
    body = f"pt_{token_id}_{secret}"
    return body + _checksum(body)


def parse(given: str) -> Parts | None:
    """The parts of a token; None for anything that is none of ours."""
    if PATTERN.fullmatch(given):
        body, checksum = given[:-CHECKSUM_LENGTH], given[-CHECKSUM_LENGTH:]
        if _checksum(body) != checksum:
            return None
        return Parts(body[3 : 3 + ID_DIGITS], body[4 + ID_DIGITS :])
    before = _WITHOUT_CHECKSUM.fullmatch(given)
    return Parts(before[1], before[2]) if before else None


def _checksum(body: str) -> str:
    return _digits(zlib.crc32(body.encode()), CHECKSUM_LENGTH)


def _digits(number: int, length: int) -> str:
    found = ""
    while len(found) < length:
        number, rest = divmod(number, len(ALPHABET))
        found = ALPHABET[rest] + found
    return found


# -- rows ------------------------------------------------------------------------------------------------------------


def new(
    owner: User | Pipeline,
    *,
    label: str,
    life: timedelta,
    scopes: Sequence[str],
    limits: Limits = UNLIMITED,
    secret: str | None = None,
) -> tuple[Token, str]:
    """A token that is not written yet, and its secret."""
    secret = secret or new_secret()
    token = Token(
        pk=new_id(),
        secret_hash=hashlib.sha256(secret.encode()).digest(),
        label=label,
        scopes=list(scopes),
        systems=sorted(limits.systems),
        kinds=sorted(limits.kinds),
        expires_at=timezone.now() + life,
        user=owner if isinstance(owner, User) else None,
        pipeline=owner if isinstance(owner, Pipeline) else None,
    )
    return token, secret


def append_new(
    token: Token,
    *,
    actor: Actor,
    idempotency: Idempotency | None = None,
    admit: Callable[[datetime], None] | None = None,
    apply: Callable[[], None] | None = None,
) -> Placed:
    """Write a token as its record; `apply` runs in the same transaction."""
    owner = token.user or token.pipeline
    if owner is None:
        raise TypeError("a token has an owner")

    def write(_: int, __: datetime) -> None:
        token.save(force_insert=True)
        if apply is not None:
            apply()

    body = {
        "token": token.pk,
        "owner": owner.uid,
        "label": token.label,
        "scopes": token.scopes,
        "expires_at": token.expires_at.isoformat(),
    }
    more = {"systems": token.systems, "kinds": token.kinds, "policy": token.policy_id}
    body |= {name: value for name, value in more.items() if value}
    draft = service_draft("access.token_created", body, actor=actor, admit=admit, apply=write, idempotency=idempotency)
    return append(draft)
