"""From a request to what the ledger wants to know: who acts, under which credential, with which idempotency key."""

from typing import Any

from django.http import HttpRequest
from rest_framework.request import Request

from config.errors import InvalidError
from evidence.api.parsers import raw_body
from evidence.ledger import Actor, Idempotency
from evidence.models import Pipeline, Token, User
from evidence.people import Principal


def actor(principal: Principal, token: Token | None = None) -> Actor:
    """Who acts: a token's owner under that token, with the claims behind it, or a person under their session."""
    if token is None:
        return Actor(principal.uid, ("user", principal.uid))
    return Actor(principal.uid, ("token", token.pk), token.claims)


def principal_of(request: Request) -> Principal:
    """Who sent the request; permissions have let nobody else in."""
    if not isinstance(request.user, User | Pipeline):
        raise TypeError("this view is for authenticated principals")
    return request.user


def person_of(request: Request) -> User:
    """Who sent the request, where permissions let only people in."""
    if not isinstance(request.user, User):
        raise TypeError("this view is for people")
    return request.user


def actor_of(request: Request) -> Actor:
    return actor(principal_of(request), request.auth if isinstance(request.auth, Token) else None)


def actor_for(user: User) -> Actor:
    """A person acting in the admin."""
    return actor(user)


def idempotency_of(request: Request | HttpRequest) -> Idempotency | None:
    """The request's Idempotency-Key with the request itself, as HMACs. Raises ``idempotency_key_invalid``."""
    plain = request._request if isinstance(request, Request) else request
    key = plain.META.get("HTTP_IDEMPOTENCY_KEY")
    if key is None:
        return None
    check_key(key)
    return Idempotency.of(key, method=plain.method or "", path=full_path(plain), body=raw_body(plain))


def full_path(request: HttpRequest) -> str:
    """Path and query as they were sent: what an idempotency key is bound to."""
    return f"{request.path}?{request.META.get('QUERY_STRING', '')}"


def check_key(key: Any) -> None:
    """Raises InvalidError ``idempotency_key_invalid``."""
    if not isinstance(key, str) or not 1 <= len(key) <= 255 or not all("!" <= char <= "~" for char in key):
        raise InvalidError("Idempotency-Key is 1 to 255 visible ASCII characters.", code="idempotency_key_invalid")
