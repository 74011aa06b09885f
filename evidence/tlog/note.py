"""C2SP signed-note: text, an empty line, and lines that each sign the text with one key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from evidence.tlog import b64, keys
from evidence.tlog.errors import MalformedError, SignatureError

MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_KEY_ID_SIZE = 4
_NAME = re.compile(r"[^\s+\x00-\x1f]+")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VKEY_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True)
class NoteSignature:
    """One signature line, unchecked. ``key_id`` is eight hex digits."""

    name: str
    key_id: str
    signature: bytes


@dataclass(frozen=True)
class Note:
    """A note taken apart, its signatures unchecked; ``text`` ends with a newline."""

    text: str
    signatures: tuple[NoteSignature, ...]


@dataclass(frozen=True)
class SignedBy:
    """A trusted key whose signature holds."""

    name: str
    key_id: str


@dataclass(frozen=True)
class OpenedNote:
    text: str
    signers: tuple[SignedBy, ...]


def check_name(name: str) -> str:
    """A key name: not empty, without white space, plus or control characters."""
    if not _NAME.fullmatch(name):
        raise MalformedError(f"{name[:64]!r} is not a key name")
    return name


def _key_id(name: str, public: Ed25519PublicKey) -> bytes:
    return sha256(name.encode() + b"\n" + _ED25519 + public.public_bytes_raw()).digest()[:_KEY_ID_SIZE]


class Signer:
    """A named private key."""

    def __init__(self, name: str, private_key: Ed25519PrivateKey) -> None:
        self.name = check_name(name)
        self.public_key = private_key.public_key()
        self._private_key = private_key
        self._key_id = _key_id(name, self.public_key)

    @property
    def key_id(self) -> str:
        return self._key_id.hex()

    @property
    def vkey(self) -> str:
        """The verifier key: what a reader must know to trust this signer."""
        return f"{self.name}+{self.key_id}+{b64.encode(_ED25519 + self.public_key.public_bytes_raw())}"

    def sign(self, text: str) -> str:
        """The signature line for ``text``, without its newline."""
        return f"— {self.name} {b64.encode(self._key_id + self._private_key.sign(text.encode()))}"


@dataclass(frozen=True)
class Verifier:
    """A named public key that someone trusts. ``key_id`` is eight hex digits."""

    name: str
    public_key: Ed25519PublicKey
    key_id: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "key_id", _key_id(check_name(self.name), self.public_key).hex())

    @classmethod
    def parse(cls, vkey: str) -> "Verifier":
        """From ``name+key id+base64(0x01 ‖ key)``; the key id must be the one of that name and key."""
        name, _, rest = vkey.partition("+")
        key_id, _, encoded = rest.partition("+")
        key = b64.decode(encoded)
        if key[:1] != _ED25519:
            raise MalformedError("not an Ed25519 verifier key")
        verifier = cls(name, keys.load_raw(key[1:]))
        if not _VKEY_ID.fullmatch(key_id) or key_id != verifier.key_id:
            raise MalformedError(f"verifier key of {name} has key id {key_id[:16]!r}, not {verifier.key_id}")
        return verifier

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id}+{b64.encode(_ED25519 + self.public_key.public_bytes_raw())}"

    def verifies(self, text: str, signature: bytes) -> bool:
        try:
            self.public_key.verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def sign_note(text: str, signers: Sequence[Signer]) -> str:
    """The whole note; ``text`` must end with a newline."""
    if not signers:
        raise SignatureError("a note needs a signer")
    _check_text(text)
    return text + "\n" + "".join(signer.sign(text) + "\n" for signer in signers)


def parse_note(note: str) -> Note:
    """Text and signature lines, split at the last empty line; nothing is verified."""
    _check_text(note)
    start = note.rfind("\n\n")
    if start < 0 or start + 2 == len(note):
        raise MalformedError("a note has an empty line and after it its signatures")
    lines = note[start + 2 : -1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise MalformedError(f"a note has at most {MAX_SIGNATURES} signature lines, this one has {len(lines)}")
    return Note(note[: start + 1], tuple(_parse_line(line) for line in lines))


def open_note(note: str, verifiers: Sequence[Verifier]) -> OpenedNote:
    """The text, once a trusted key signed it.

    Lines of unknown keys are passed over. A known key's bad signature rejects the whole note,
    and so does the lack of any good one.
    """
    parsed = parse_note(note)
    signers: dict[SignedBy, None] = {}
    for line in parsed.signatures:
        known = [key for key in verifiers if (key.name, key.key_id) == (line.name, line.key_id)]
        if not known:
            continue
        if not any(key.verifies(parsed.text, line.signature) for key in known):
            raise SignatureError(f"the signature of {line.name} ({line.key_id}) does not hold")
        signers[SignedBy(line.name, line.key_id)] = None
    if not signers:
        raise SignatureError("no trusted key signed this note")
    return OpenedNote(parsed.text, tuple(signers))


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise MalformedError("a note's text ends with a newline")
    if _CONTROL.search(text):
        raise MalformedError("a note holds a control character")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("a note holds a lone surrogate") from error


def _parse_line(line: str) -> NoteSignature:
    dash, _, rest = line.partition(" ")
    name, _, encoded = rest.partition(" ")
    if dash != "—":
        raise MalformedError("a signature line begins with an em dash and a space")
    data = b64.decode(encoded)
    if len(data) <= _KEY_ID_SIZE:
        raise MalformedError("a signature line is too short")
    return NoteSignature(check_name(name), data[:_KEY_ID_SIZE].hex(), data[_KEY_ID_SIZE:])
