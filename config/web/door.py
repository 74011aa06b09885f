"""Requests that are refused at the door: of a plain head one regular expression reads what that takes.

An overload is many requests whose senders' token buckets are empty, and who is admitted waits for them. Read by a
parser that calls Python for each header, one takes twice as long as read like this (docs/performance.md).

Only what can be read in one way is read here; all else is left to the parser. A plain head is complete, of HTTP/1.1,
spelled as RFC 9112 has it without anything optional, names one length and one credential, and no header that changes
where a request ends or what follows it (6.1, 6.3, 9.6; RFC 9110, 7.8 and 10.1.1).
"""

import re
from typing import NamedTuple

_OTHERS = rb"""(?:
    (?i:connection:[ ]keep-alive)\r\n
  | (?!(?i:content-length|authorization|transfer-encoding|connection|expect|upgrade))
    [!#$%&'*+.^`|~0-9A-Za-z-]++:[\t\x20-\x7e\x80-\xff]*+\r\n
)*+"""
_LENGTH = rb"(?i:content-length):[ ](?P<length%d>[0-9]{1,9})\r\n"
_CREDENTIAL = rb"(?i:authorization):[ ](?P<credential%d>[\x21-\x7e][\x20-\x7e]*+)\r\n"
_HEAD = re.compile(
    b"".join(
        [
            *(rb"POST[ ](?P<target>/[\x21-\x7e]*+)[ ]HTTP/1\.1\r\n", _OTHERS),
            *(b"(?:", _LENGTH % 1, _OTHERS, _CREDENTIAL % 1, b"|", _CREDENTIAL % 2, _OTHERS, _LENGTH % 2, b")"),
            *(_OTHERS, rb"\r\n"),
        ]
    ),
    re.VERBOSE,
)


class Plain(NamedTuple):
    """A POST with a plain head."""

    target: bytes
    #: What is sent as Authorization.
    credential: bytes
    #: Bytes of the head, and of the body behind it.
    head: int
    length: int


def plain(data: bytes) -> Plain | None:
    """The request at the beginning of `data`; None unless it is plain."""
    found = _HEAD.match(data)
    if found is None:
        return None
    credential, length = found["credential1"] or found["credential2"], found["length1"] or found["length2"]
    return Plain(found["target"], credential, found.end(), int(length))
