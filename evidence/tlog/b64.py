"""Base64 with one spelling per value: no stray bits, no missing or extra padding, no white space."""

import binascii

from evidence.tlog.errors import MalformedError

_URL_SAFE = str.maketrans("-_", "+/")


def encode(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


def decode(text: str) -> bytes:
    """Standard alphabet (RFC 4648 section 4), padded."""
    try:
        data = binascii.a2b_base64(text, strict_mode=True)
    except ValueError as error:  # also a letter outside ASCII
        raise MalformedError("not base64") from error
    if encode(data) != text:
        raise MalformedError("not base64 in its only canonical spelling")
    return data


def decode_either(text: str) -> bytes:
    """Standard or url-safe alphabet, padded; DSSE allows both but no mixture of the two."""
    if "-" not in text and "_" not in text:
        return decode(text)
    if "+" in text or "/" in text:
        raise MalformedError("base64 mixes the standard and the url-safe alphabet")
    return decode(text.translate(_URL_SAFE))
