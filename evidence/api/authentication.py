"""Who sends a request: a bearer token (pipeline or person), or a session (person). Nothing else counts (R4.6)."""

import hashlib
import hmac
from typing import Any

from django.http import HttpRequest
from django.utils import timezone
from rest_framework import authentication as drf
from rest_framework.request import Request

from config.errors import InvalidError
from evidence import token_use, tokens
from evidence.authority import Facts
from evidence.models import Token
from evidence.people import Principal


def _refuse() -> InvalidError:
    # One answer for unknown, wrong, expired and revoked: it tells a guesser nothing.
    return InvalidError(
        "The token is unknown, expired or revoked. Ask an administrator for a new one.", code="token_invalid"
    )


def resolve_token(text: str, facts: Facts | None = None) -> Token:
    """The usable token of this text. Raises InvalidError ``token_invalid`` (401)."""
    parts = tokens.parse(text)
    if parts is None:
        raise _refuse()
    token = (facts or Facts()).token(parts.id)
    presented = hashlib.sha256(parts.secret.encode()).digest()
    if token is None or not hmac.compare_digest(presented, bytes(token.secret_hash)):
        raise _refuse()
    if not token.is_usable(timezone.now()):
        raise _refuse()
    token_use.note(token.pk)
    return token


def principal_of(token: Token) -> Principal:
    """The person or pipeline a token belongs to (the database requires exactly one), within the token's limits."""
    owner = token.user or token.pipeline
    if owner is None:
        raise _refuse()
    owner.limits = token.limits
    return owner


def bearer(request: HttpRequest) -> str | None:
    """The bearer token of a request, or None without one."""
    return bearer_in(request.META.get("HTTP_AUTHORIZATION", ""))


def bearer_in(header: str) -> str | None:
    """The bearer token in an Authorization header, None where that is empty. Raises InvalidError ``token_invalid``."""
    scheme, _, text = header.partition(" ")
    if not scheme:
        return None
    if scheme.lower() != "bearer" or not text.strip():
        raise InvalidError("Send the header 'Authorization: Bearer <token>'.", code="token_invalid")
    return text.strip()


class TokenAuthentication(drf.BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Any, Token] | None:
        text = bearer(request._request)
        if text is None:
            return None
        token = resolve_token(text)
        return principal_of(token), token

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="prooftrail"'


class SessionAuthentication(drf.SessionAuthentication):
    """A person's session; unsafe methods need the CSRF token."""
