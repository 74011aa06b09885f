"""Secrets in what is about to be stored: where they are and which rule says so, never what they are (R4.5).

Rules are data (``policies/secrets.yaml``). `scan` takes a parsed body, `TextScan` the bytes of a file as they pass by.

Nearly everything that is scanned holds no secret and must not wait for that: one expression made of all keywords goes
over the text first, in linear time, and rules are tried only where it finds something. A body of a kilobyte takes
about 5 µs. The scanners that exist go through files line by line with each rule in turn, at a hundred times that.
"""

import codecs
import functools
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jsonschema_rs
import orjson
import yaml

from config.errors import InvalidError
from evidence.kinds import yaml_files
from evidence.tlog.canonical import parse_strict

#: A scan ends with this many findings: enough to see what is wrong.
MOST = 20
#: Characters of a text that are looked at together, and how many of them again with the next ones.
_BLOCK, _OVERLAP = 64 * 1024, 4 * 1024

#: Says whether something occurs in a text.
Found = Callable[[str], bool]


@dataclass(frozen=True)
class Finding:
    """Which rule found something, and where: a JSON pointer (RFC 6901) into a body, or a line of a text."""

    rule: str
    title: str
    pointer: str | None = None
    line: int | None = None

    def describe(self) -> dict[str, Any]:
        """For an answer: ``{rule, title, pointer}`` or ``{rule, title, line}``."""
        place = {"line": self.line} if self.pointer is None else {"pointer": self.pointer}
        return {"rule": self.rule, "title": self.title, **place}

    @property
    def place(self) -> str:
        return f"line {self.line}" if self.pointer is None else self.pointer or "the whole body"


# -- rules -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rule:
    id: str
    title: str
    keywords: tuple[str, ...]
    #: What a text is searched for; None for a rule that goes by the names of members.
    regex: re.Pattern[str] | None
    occurs_in: Found
    names: re.Pattern[str] | None
    near: str | None = None
    common: bool = False
    entropy: float = 0.0
    mixed: bool = False
    least: int = 1


@dataclass(frozen=True)
class Group:
    """Rules that are tried where any of their keywords is."""

    rules: tuple[Rule, ...]
    #: Of lower-case text.
    near: Found

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> "Group":
        chosen = tuple(rules)
        pieces = {piece for rule in chosen for piece in ([rule.near] if rule.near else map(re.escape, rule.keywords))}
        return cls(chosen, _finder("|".join(sorted(pieces)) or "[^\\s\\S]"))

    def tried(self, lowered: str) -> Iterator[Rule]:
        if self.near(lowered):
            yield from (rule for rule in self.rules if any(keyword in lowered for keyword in rule.keywords))


@dataclass(frozen=True)
class Rules:
    everything: Group
    #: Those whose keywords are rare, and those whose keywords are words of every log.
    groups: tuple[Group, Group]
    ignored: re.Pattern[str]

    def tried(self, lowered: str) -> Iterator[Rule]:
        for group in self.groups:
            yield from group.tried(lowered)

    def counts(self, rule: Rule, secret: str) -> bool:
        """Whether what looks like a secret of this rule is one."""
        if len(secret) < rule.least or self.ignored.fullmatch(secret):
            return False
        if rule.mixed and not (any(map(str.isdigit, secret)) and any(map(str.isalpha, secret))):
            return False
        return not rule.entropy or entropy(secret) >= rule.entropy

    def matches(self, rule: Rule, text: str) -> Iterator[int]:
        """Where in `text` the rule finds secrets."""
        if rule.regex is None or not rule.occurs_in(text):
            return
        for match in rule.regex.finditer(text):
            if self.counts(rule, match[1] if rule.regex.groups else match[0]):
                yield match.start()


def entropy(text: str) -> float:
    """Shannon's, in bits for each character."""
    length = len(text)
    return -sum(n / length * math.log2(n / length) for n in Counter(text).values())


@functools.cache
def load() -> Rules:
    """The rules of this installation, a company's after the built-in ones. Raises InvalidError ``policy_invalid``."""
    sources: dict[str, dict[str, Any]] = {}
    ignored: list[str] = []
    for path in yaml_files("policies"):
        if path.name == "secrets.yaml":
            document = yaml.safe_load(path.read_text()) or {}
            sources |= {source["id"]: source for source in document.get("rules", [])}
            ignored += document.get("ignored", [])
    return compiled([source for source in sources.values() if not source.get("disabled")], ignored)


def compiled(sources: Iterable[Mapping[str, Any]], ignored: Iterable[str]) -> Rules:
    """Rules from what YAML says. Raises InvalidError ``policy_invalid`` naming the rule."""
    rules = [_rule(source) for source in sources]
    whole = "|".join(f"(?:{_inner(text)})" for text in ignored) or "(?!)"
    rare, common = ([rule for rule in rules if rule.common == common] for common in (False, True))
    return Rules(Group.of(rules), (Group.of(rare), Group.of(common)), re.compile(whole))


def _inner(text: str) -> str:
    """An expression for either case as part of a larger one."""
    return f"(?i:{text.removeprefix('(?i)')})" if text.startswith("(?i)") else text


def _rule(source: Mapping[str, Any]) -> Rule:
    try:
        keywords = tuple(source["keywords"])
        if not keywords or any(keyword != keyword.lower() or len(keyword) < 3 for keyword in keywords):
            raise ValueError("keywords are lower-case and at least three characters long")
        return Rule(
            id=source["id"],
            title=source["title"],
            keywords=keywords,
            regex=re.compile(source["regex"]) if "regex" in source else None,
            occurs_in=_finder(source.get("regex", "")),
            names=re.compile(source["names"]) if "names" in source else None,
            near=source.get("near"),
            common=bool(source.get("common", False)),
            entropy=float(source.get("entropy", 0)),
            mixed=bool(source.get("mixed", False)),
            least=int(source.get("least", 1)),
        )
    except (KeyError, TypeError, ValueError, re.error) as error:
        name = source.get("id", "without id")
        raise InvalidError(f"policies/secrets.yaml, rule {name}: {error}", code="policy_invalid") from error


def _finder(pattern: str) -> Found:
    """Whether an expression occurs in a text, by the linear engine of the JSON Schema validator: on bodies a hundred
    times as fast as `re`, which is asked only for the place of what this has found. Raises ValueError."""
    validator = jsonschema_rs.validator_for({"pattern": pattern}, pattern_options=jsonschema_rs.RegexOptions())
    is_valid: Found = validator.is_valid
    return is_valid


# -- bodies ------------------------------------------------------------------------------------------------------------


def scan(body: Any) -> list[Finding]:
    """Secrets in a parsed JSON value, at most `MOST`, in the order of the document."""
    rules = load()
    if not rules.everything.near(orjson.dumps(body).lower().decode()):
        return []
    return _listed(rules, body)


def scan_json(data: bytes) -> list[Finding]:
    """The same for a JSON document that was accepted already; it is parsed again only where something may be found."""
    rules = load()
    if b"\\u" not in data and b"\\/" not in data and not rules.everything.near(data.lower().decode()):
        return []
    return _listed(rules, parse_strict(data))


def _listed(rules: Rules, body: Any) -> list[Finding]:
    found: list[Finding] = []
    for finding in _in_value(rules, body, ""):
        found.append(finding)
        if len(found) == MOST:
            break
    return found


def _in_value(rules: Rules, value: Any, pointer: str) -> Iterator[Finding]:
    if isinstance(value, str):
        yield from (Finding(rule.id, rule.title, pointer) for rule in _in_text(rules, value))
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _in_value(rules, item, f"{pointer}/{place}")
    elif isinstance(value, dict):
        yield from _in_object(rules, value, pointer)


def _in_object(rules: Rules, value: Mapping[str, Any], pointer: str) -> Iterator[Finding]:
    """An object's members. One whose very name is a secret is not named."""
    label, content = value.get("name", value.get("key")), value.get("value")
    if isinstance(label, str) and isinstance(content, str):  # [{name: DB_PASSWORD, value: …}]
        yield from (Finding(rule.id, rule.title, f"{pointer}/value") for rule in _named(rules, label, content))
    for name, item in value.items():
        hidden = _in_text(rules, name)
        yield from (Finding(rule.id, rule.title, f"{pointer}/*") for rule in hidden)
        below = f"{pointer}/" + ("*" if hidden else name.replace("~", "~0").replace("/", "~1")[:80])
        by_name = _named(rules, name, item) if isinstance(item, str) else []
        yield from (Finding(rule.id, rule.title, below) for rule in by_name)
        if not by_name:
            yield from _in_value(rules, item, below)


def _in_text(rules: Rules, text: str) -> list[Rule]:
    return [rule for rule in rules.tried(text.lower()) if any(True for _ in rules.matches(rule, text))]


def _named(rules: Rules, name: str, value: str) -> list[Rule]:
    """Rules that take what a member so called holds for a secret."""
    named = [rule for rule in rules.everything.rules if rule.names is not None and rule.names.fullmatch(name[:200])]
    return [rule for rule in named if rules.counts(rule, value) and " " not in value.strip()[:20]]


# -- texts -------------------------------------------------------------------------------------------------------------


class TextScan:
    """Scans a file while it is read: `feed` it piece by piece, then `end`. What is no text is passed over.

    Memory stays flat whatever the file: of each piece only as much is kept as a secret across its end may need.
    """

    def __init__(self) -> None:
        self._rules = load()
        self._decoder: codecs.IncrementalDecoder | None = None
        self._started = False
        self._kept = ""
        #: Of the first character kept.
        self._line = 1
        self._found: dict[tuple[str, int], Finding] = {}

    @property
    def findings(self) -> list[Finding]:
        return sorted(self._found.values(), key=lambda finding: (finding.line or 0, finding.rule))[:MOST]

    def feed(self, data: bytes) -> None:
        if not self._started and data:
            self._started, encoding = True, _encoding(data)
            self._decoder = codecs.getincrementaldecoder(encoding)(errors="replace") if encoding else None
        if self._decoder is not None and len(self._found) < MOST:
            self._take(self._decoder.decode(data), last=False)

    def end(self) -> None:
        if self._decoder is not None:
            self._take(self._decoder.decode(b"", final=True), last=True)

    def _take(self, text: str, *, last: bool) -> None:
        text = self._kept + text
        for start in range(0, max(len(text) - _OVERLAP, 1), _BLOCK):
            if len(self._found) < MOST:
                self._look(text[start : start + _BLOCK + _OVERLAP], text, start)
        gone = len(text) if last else max(0, len(text) - _OVERLAP)
        self._line += text.count("\n", 0, gone)
        self._kept = text[gone:]

    def _look(self, block: str, text: str, start: int) -> None:
        for rule in self._rules.tried(block.lower()):
            for at in self._rules.matches(rule, block):
                line = self._line + text.count("\n", 0, start + at)
                self._found.setdefault((rule.id, line), Finding(rule.id, rule.title, line=line))
                if len(self._found) >= MOST:
                    return


def _encoding(start: bytes) -> str | None:
    """The encoding that a text begins in; None for what is no text."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    return None if b"\x00" in start[:8192] else "utf-8"
