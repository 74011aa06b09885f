"""The keys of issuers, as this process knows them: few, for a while, and asked for no more than now and then.

- Keys are asked for again after `FRESH` seconds, and when a token names one that is not known, at most every `AGAIN`.
- Keys that cannot be asked for again go on for `STALE` seconds: an outage of an issuer does not stop its tokens.
- Only issuers of trust policies come here (`exchange`), and no more than `MAX_ISSUERS` are remembered.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from django.conf import settings

from config.errors import InvalidError
from config.outbound import RefusedError
from evidence.oidc import fetching

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
FRESH, STALE, AGAIN = 600.0, 24 * 3600.0, 30.0
MAX_ISSUERS, MAX_KEYS = 50, 100
#: The least bits of an RSA key (RFC 7518 section 3.3).
RSA_BITS = 2048
#: Algorithm to the kind of key it takes: a key of another kind is none for it.
ALGORITHMS: dict[str, tuple[str, str | None]] = {
    **{f"{family}{bits}": ("RSA", None) for family in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


@dataclass
class _Issuer:
    #: JWKs that may verify signatures, by key id.
    keys: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    had_at: float | None = None
    tried_at: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


_lock = threading.Lock()
_known: OrderedDict[str, _Issuer] = OrderedDict()


def forget() -> None:
    """Start over as a fresh process would."""
    with _lock:
        _known.clear()


def key_for(issuer: str, key_id: str, algorithm: str) -> PublicKey:
    """The issuer's key of that id, fit for the algorithm. Raises ``id_token_key_unknown``, ``issuer_unreachable``."""
    known = _entry(issuer)
    jwk = known.keys.get(key_id)
    if jwk is None or _older(known.had_at, FRESH):
        _refresh(issuer, known, needed=jwk is None or _older(known.had_at, STALE))
        jwk = known.keys.get(key_id)
    if jwk is None:
        raise InvalidError(
            "The issuer has no key of the id that the id-token names. If it has just changed its keys, try again in "
            f"{AGAIN:g} seconds.",
            code="id_token_key_unknown",
        )
    return _public(jwk, algorithm)


def _entry(issuer: str) -> _Issuer:
    with _lock:
        known = _known.setdefault(issuer, _Issuer())
        _known.move_to_end(issuer)
        while len(_known) > MAX_ISSUERS:
            _known.popitem(last=False)
        return known


def _older(moment: float | None, seconds: float) -> bool:
    return moment is None or time.monotonic() - moment >= seconds


def _refresh(issuer: str, known: _Issuer, *, needed: bool) -> None:
    """Ask for the keys, unless another thread does or somebody just has. Where none are `needed`, failing is fine."""
    if not known.lock.acquire(timeout=fetching.SECONDS * 2 if needed else 0):
        if needed:
            raise fetching.unreachable(issuer, TimeoutError("another request is still asking"))
        return
    try:
        if not _older(known.tried_at, AGAIN):
            if needed and _older(known.had_at, STALE):
                raise fetching.unreachable(issuer, TimeoutError("it could not be had a moment ago"))
            return
        known.tried_at = time.monotonic()
        known.keys, known.had_at = fetch(issuer), time.monotonic()
    except RefusedError as error:
        if needed:
            raise fetching.unreachable(issuer, error) from error
    finally:
        known.lock.release()


def fetch(issuer: str) -> dict[str, Mapping[str, Any]]:
    """The keys that the issuer publishes now, by id. Raises RefusedError."""
    private = issuer in settings.OIDC_PRIVATE_ISSUERS
    about = fetching.get_json(f"{issuer.rstrip('/')}/.well-known/openid-configuration", private=private)
    if about.get("issuer") != issuer:
        raise RefusedError(f"it calls itself {str(about.get('issuer'))[:200]!r}")
    listed = fetching.get_json(str(about.get("jwks_uri")), private=private).get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise RefusedError(f"its keys are no list of at most {MAX_KEYS}")
    found = {jwk["kid"]: jwk for jwk in listed if _verifies(jwk)}
    if not found:
        raise RefusedError("it publishes no key that could verify a signature")
    return found


def _verifies(jwk: Any) -> bool:
    """Whether a JWK is a public key for signatures: no secret, no key for encryption."""
    if not isinstance(jwk, dict) or not isinstance(jwk.get("kid"), str):
        return False
    kinds = {kind for kind, _ in ALGORITHMS.values()}
    return jwk.get("kty") in kinds and "d" not in jwk and jwk.get("use", "sig") == "sig"


def _public(jwk: Mapping[str, Any], algorithm: str) -> PublicKey:
    """The key, if it is one for this algorithm: a token does not choose what its issuer's key is used for."""
    kind, curve = ALGORITHMS[algorithm]
    if jwk.get("kty") != kind or jwk.get("crv") != curve or jwk.get("alg", algorithm) != algorithm:
        raise InvalidError(
            f"The key that the id-token names is not one for {algorithm}.", code="id_token_algorithm_refused"
        )
    try:
        key = jwt.PyJWK(dict(jwk), algorithm).key
    except jwt.PyJWTError:
        key = None
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS:
        key = None
    if not isinstance(key, RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey):
        raise InvalidError("The issuer's key cannot be used.", code="id_token_key_unknown")
    return key
