"""Base64 with one spelling per value: no stray bits, no missing or extra padding, no white space."""

import base64
import binascii

from evidence.tlog.errors import MalformedError

_URL_SAFE = str.maketrans("-_", "+/")


def encode(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes:
    """Standard alphabet (RFC 4648 section 4), padded."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise MalformedError("not base64") from error
    if encode(data) != text:
        raise MalformedError("not base64 in its only canonical spelling")
    return data


def decode_either(text: str) -> bytes:
    """Standard or url-safe alphabet, padded; DSSE allows both but no mixture of the two."""
    if ("-" in text or "_" in text) and ("+" in text or "/" in text):
        raise MalformedError("base64 mixes the standard and the url-safe alphabet")
    return decode(text.translate(_URL_SAFE))
