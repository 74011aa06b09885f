"""An id-token, from text to claims that its issuer vouches for.

1. It is three parts of base64url, at most `MAX_LENGTH` characters.
2. Its algorithm is one with a public key: never ``none``, never a shared secret.
3. Its issuer is one that a trust policy names; nothing is fetched for any other.
4. The issuer's key that it names, of the kind that the algorithm takes, signed it.
5. It has begun, has not ended, and lives no longer than `settings.OIDC_MAX_LIFETIME`.

Its audience and claims are for the policies (`exchange`).
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
from django.conf import settings

from config.errors import InvalidError
from evidence.oidc import issuers

MAX_LENGTH = 16 * 1024
#: How far clocks may differ.
LEEWAY = timedelta(seconds=60)
_NOTHING: dict[str, Any] = {"verify_signature": False}


@dataclass(frozen=True)
class IdToken:
    """A verified id-token."""

    claims: Mapping[str, Any]
    #: From then on it is refused for its age.
    expires_at: datetime
    #: Names this token among all of its issuer: by jti, or where it has none, by what was signed.
    digest: bytes

    @property
    def issuer(self) -> str:
        return str(self.claims["iss"])


def verify(text: str, *, trusts: Callable[[str], bool]) -> IdToken:
    """Steps 1 to 5; `trusts` says whether a policy names an issuer. Raises InvalidError ``id_token_…``."""
    algorithm, key_id = _header(text)
    issuer = _issuer(text)
    if not trusts(issuer):
        raise InvalidError(f"No trust policy names the issuer {issuer[:200]!r}.", code="id_token_issuer_untrusted")
    key = issuers.key_for(issuer, key_id, algorithm)
    claims = _claims(text, key, algorithm, issuer)
    _check_lifetime(claims)
    jti = claims.get("jti")
    named = f"jti\0{jti}" if isinstance(jti, str) and jti else f"signed\0{text.rpartition('.')[0]}"
    return IdToken(
        claims=claims,
        expires_at=datetime.fromtimestamp(int(claims["exp"]), UTC) + LEEWAY,
        digest=hashlib.sha256(f"{issuer}\0{named}".encode()).digest(),
    )


def _malformed() -> InvalidError:
    return InvalidError("This is not an id-token (a JWT of three parts).", code="id_token_malformed")


def _header(text: str) -> tuple[str, str]:
    if len(text) > MAX_LENGTH or not text.isascii() or text.count(".") != 2:
        raise _malformed()
    try:
        header = jwt.get_unverified_header(text)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _malformed() from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in issuers.ALGORITHMS:
        raise InvalidError(
            f"Id-tokens are signed with one of {', '.join(issuers.ALGORITHMS)}, not with {str(algorithm)[:20]!r}.",
            code="id_token_algorithm_refused",
        )
    if "crit" in header or "b64" in header or not isinstance(key_id, str):
        raise _malformed()
    return algorithm, key_id


def _issuer(text: str) -> str:
    """What the token says of its issuer, before anything is believed."""
    try:
        issuer = jwt.decode(text, options=_NOTHING).get("iss")  # type: ignore[arg-type]  # a TypedDict of theirs
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _malformed() from None
    if not isinstance(issuer, str):
        raise _malformed()
    return issuer


def _claims(text: str, key: issuers.PublicKey, algorithm: str, issuer: str) -> Mapping[str, Any]:
    try:
        return jwt.decode(
            text,
            key=key,
            algorithms=[algorithm],
            issuer=issuer,
            leeway=LEEWAY,
            options={"require": ["iss", "aud", "exp", "iat", "sub"], "verify_aud": False},
        )
    except jwt.ExpiredSignatureError:
        raise InvalidError("The id-token has expired; get a new one.", code="id_token_expired") from None
    except jwt.ImmatureSignatureError:
        raise InvalidError(
            "The id-token is not valid yet: a clock is wrong, here or at its issuer.", code="id_token_not_yet_valid"
        ) from None
    except jwt.InvalidSignatureError:
        raise InvalidError("Its issuer did not sign this id-token.", code="id_token_signature_invalid") from None
    except jwt.MissingRequiredClaimError as error:
        raise InvalidError(f"The id-token lacks the claim {error.claim}.", code="id_token_malformed") from None
    except (jwt.PyJWTError, ValueError, OverflowError):
        raise _malformed() from None


def _check_lifetime(claims: Mapping[str, Any]) -> None:
    """PyJWT has made sure that both are numbers."""
    if int(claims["exp"]) - int(claims["iat"]) > settings.OIDC_MAX_LIFETIME:
        raise InvalidError(
            f"The id-token lives longer than the {settings.OIDC_MAX_LIFETIME:g} seconds that are taken here.",
            code="id_token_lifetime",
        )
