"""POST records/batch: many records in one request, a line each (NDJSON), in bounded memory.

A line is what `POST records` takes: ``{kind, release?, system?, subject?, occurred_at?, body}``, or a DSSE envelope,
whose `release`, `system` and `occurred_at` stand beside `payload` in the line or in the query. A record may name its
own `idempotency_key`; an envelope is its own. The answer has a line for each line, in order:
``{"line": 1, "status": 201, "receipt": {…}}``, 200 for one recorded before, or ``{"line": 2, "status": 422,
"problem": {…}}``. A bad line fails alone; what was answered 201 is durable whatever follows.

Lines are read, prepared, and written in groups; while one group is being written the next is prepared. The answer is
collected in a file and sent when the last line is done: a client that sends everything first need not read meanwhile.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from typing import IO, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, StreamingHttpResponse
from django.views.decorators.csrf import csrf_exempt

from config.api import problem
from config.errors import ForbiddenError, InvalidError, ProoftrailError, TooLargeError
from evidence import authority, records, repeats, replays
from evidence.api import actors, admission, ratelimit
from evidence.api.authentication import bearer, principal_of, resolve_token
from evidence.api.parsers import parse_json
from evidence.api.permissions import token_has_scope
from evidence.authority import Facts
from evidence.ledger import Actor, Draft, Idempotency, Placed, appender, rows
from evidence.ledger.draft import FactsChangedError, Outcome
from evidence.models import Token
from evidence.people import Principal
from evidence.tlog.dsse import envelope_of
from evidence.tlog.errors import TlogError

MEDIA_TYPE = "application/x-ndjson"
#: Lines, and bytes, that are prepared and written together.
GROUP_LINES, GROUP_BYTES = 200, 2 * 1024 * 1024
_READ = 64 * 1024
_IN_MEMORY = 1024 * 1024


@csrf_exempt
def records_batch(request: HttpRequest) -> HttpResponseBase:
    """``/api/v1/records/batch``."""
    if request.method != "POST":
        return problem.method_not_allowed(request, ["POST"])
    try:
        with admission.batches.one(request.META.get("HTTP_AUTHORIZATION", "")):
            return _answer(request)
    except ProoftrailError as error:
        return problem.respond(error)


def _answer(request: HttpRequest) -> StreamingHttpResponse:
    sender = _Sender.of(request)
    answer = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 -- the response closes it
    try:
        for group in _written(sender, _groups(_lines(_body(request)))):
            answer.writelines(group)
        answer.seek(0)
        return StreamingHttpResponse(_pieces(answer), content_type=MEDIA_TYPE)
    except BaseException:
        answer.close()
        raise


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while piece := file.read(_READ):
            yield piece


# -- reading -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    number: int
    data: bytes
    #: Why it was not even read.
    refused: ProoftrailError | None = None


def _body(request: HttpRequest) -> IO[bytes]:
    """The request's body; Django reads nothing of one that comes in chunks."""
    chunked = request.META.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
    stream: IO[bytes] = request.META["wsgi.input"] if chunked else request  # type: ignore[assignment]  # has read()
    return stream


def _lines(body: IO[bytes]) -> Iterator[_Line]:
    """Lines without their end. One over the limit is passed over and refused; after the last allowed one it ends."""
    limit, most = settings.MAX_BODY_BYTES, settings.MAX_BATCH_LINES
    for number, data in enumerate(_split(body, limit), start=1):
        if number > most:
            text = f"A batch has at most {most} lines; send the rest, from this line on, in another."
            yield _Line(number, b"", TooLargeError(text, code="batch_too_long", limit=most))
            return
        if len(data) > limit:
            text = f"The line is longer than {limit} bytes. Upload files as artifacts and name them by digest."
            yield _Line(number, b"", TooLargeError(text, code="body_too_large", limit=limit))
        else:
            yield _Line(number, data.rstrip(b"\r"))


def _split(body: IO[bytes], limit: int) -> Iterator[bytes]:
    """What lies between newlines; of a piece longer than `limit` only as much as shows that it is."""
    kept = b""
    while read := body.read(_READ):
        first, *rest = read.split(b"\n")
        kept = (kept + first)[: limit + 1]
        for piece in rest:
            yield kept
            kept = piece
    if kept:
        yield kept


def _groups(lines: Iterable[_Line]) -> Iterator[list[_Line]]:
    group: list[_Line] = []
    size = 0
    for line in lines:
        group.append(line)
        size += len(line.data)
        if len(group) == GROUP_LINES or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


# -- preparing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sender:
    """What all lines of a request have in common."""

    token: str
    path: str
    key: str | None
    given: dict[str, str | None]

    @classmethod
    def of(cls, request: HttpRequest) -> "_Sender":
        """Raises what refuses the whole request."""
        text = bearer(request)
        if text is None:
            raise InvalidError("Send the header 'Authorization: Bearer <token>'.", code="not_authenticated")
        if (request.content_type or "").lower() != MEDIA_TYPE:
            raise InvalidError(f"Send {MEDIA_TYPE}: one record or envelope a line.", code="media_type_unsupported")
        key = request.META.get("HTTP_IDEMPOTENCY_KEY")
        if key is not None:
            actors.check_key(key)
        given = {name: request.GET.get(name) for name in ("release", "system", "occurred_at")}
        sender = cls(text, actors.full_path(request), key, given)
        _, principal = sender.writer(Facts())
        ratelimit.take(principal.uid, name="batches").check()
        return sender

    def writer(self, facts: Facts) -> tuple[Token, Principal]:
        """Token and principal. Raises ``token_invalid``, ``scope_missing``."""
        token = resolve_token(self.token, facts)
        if not token_has_scope(token, "records:write"):
            raise ForbiddenError("The token's scopes do not include records:write.", code="scope_missing")
        return token, principal_of(token)

    def draft(self, line: _Line, facts: Facts, token: Token, actor: Actor, principal: Principal) -> Draft:
        """Raises ProoftrailError or TlogError: what is wrong with the line."""
        if line.refused is not None:
            raise line.refused
        value = parse_json(line.data)
        if not isinstance(value, dict):
            raise InvalidError("A line is a JSON object: a record or an envelope.", code="record_invalid", where="$")
        if "payload" not in value:
            return records.plain_draft(
                value,
                principal=principal,
                actor=actor,
                idempotency=self._key(value.pop("idempotency_key", None), line),
                facts=facts,
                valid_until=token.expires_at,
            )
        if "idempotency_key" in value:  # the line is kept as it came, and the ledger keeps no key
            raise InvalidError(
                "An envelope is its own key: sent again, it is the same record. Leave idempotency_key out.",
                code="record_invalid",
                where="$.idempotency_key",
            )
        return records.signed_draft(
            line.data,
            envelope=envelope_of(value),
            principal=principal,
            actor=actor,
            release=_text(value, "release") or self.given["release"],
            system=_text(value, "system") or self.given["system"],
            occurred_at=_text(value, "occurred_at") or self.given["occurred_at"],
            idempotency=self._envelope_key(line),
            facts=facts,
            valid_until=token.expires_at,
        )

    def key_of(self, line: _Line) -> Idempotency | None:
        """The key of a line that was refused, as far as it has one."""
        if line.refused is not None:
            return None
        try:
            value = parse_json(line.data)
            if not isinstance(value, dict):
                return None
            if "payload" in value:
                return self._envelope_key(line)
            return self._key(value.get("idempotency_key"), line)
        except ProoftrailError:
            return None

    def _envelope_key(self, line: _Line) -> Idempotency:
        """The request's; else an envelope is its own."""
        return self._key(None, line) or Idempotency.of_envelope(method="POST", path=self.path, body=line.data)

    def _key(self, own: Any, line: _Line) -> Idempotency | None:
        """The line's own key; else the request's key with the line's number; else none."""
        if own is not None:
            actors.check_key(own)
        key = own if own is not None else f"{self.key} {line.number}" if self.key is not None else None
        return Idempotency.of(key, method="POST", path=self.path, body=line.data) if key is not None else None


def _text(value: dict[str, Any], name: str) -> str | None:
    found = value.get(name)
    if found is not None and not isinstance(found, str):
        raise InvalidError(f"{name} is a string.", code="record_invalid", where=f"$.{name}")
    return found


# -- writing -----------------------------------------------------------------------------------------------------------


def _written(sender: _Sender, groups: Iterable[list[_Line]]) -> Iterator[list[bytes]]:
    """The answer's lines, group by group: one group is prepared while the one before it is written."""
    waiting: Callable[[], list[bytes]] | None = None
    for group in groups:
        started = _start(sender, group)
        if waiting is not None:
            yield waiting()
        waiting = started
    if waiting is not None:
        yield waiting()


def _start(sender: _Sender, group: list[_Line]) -> Callable[[], list[bytes]]:
    """Prepare a group and hand it over; calling the answer waits for it."""
    facts = authority.remembered()
    outcomes = _append(sender, group, facts)
    return partial(_finish, sender, group, facts, outcomes)


def _append(sender: _Sender, group: list[_Line], facts: Facts) -> Callable[[], list[Outcome]]:
    """Prepare lines from `facts` and hand them over; calling the answer waits for an outcome of each."""
    prepared = _prepare(sender, group, facts)
    drafts = [draft for draft in prepared if isinstance(draft, Draft)]
    for draft in drafts:
        rows.spelled(draft)  # by this thread: the appender has others to serve
    wait = appender.start(lambda: drafts)

    def outcomes() -> list[Outcome]:
        try:
            waited = wait()
            repeats.settled(drafts, waited)
            appended = iter(waited)
        except ProoftrailError as error:  # not confirmed in time: the retry of each line settles it
            appended = repeat(error)
        return [next(appended) if isinstance(draft, Draft) else draft for draft in prepared]

    return outcomes


def _prepare(sender: _Sender, group: list[_Line], facts: Facts) -> list[Draft | ProoftrailError]:
    """A draft for each line, or what is wrong with it, or with who sends it."""
    try:
        token, principal = sender.writer(facts)
    except ProoftrailError as error:
        return [error] * len(group)
    actor = actors.actor(principal, token)
    return [_prepare_line(sender, line, facts, token, actor, principal) for line in group]


def _prepare_line(
    sender: _Sender, line: _Line, facts: Facts, token: Token, actor: Actor, principal: Principal
) -> Draft | ProoftrailError:
    try:
        return sender.draft(line, facts, token, actor, principal)
    except ProoftrailError as error:
        return error
    except TlogError as error:
        return problem.from_format(error)


def _finish(sender: _Sender, group: list[_Line], facts: Facts, outcomes: Callable[[], list[Outcome]]) -> list[bytes]:
    """The answer's lines. Those that hang on what has changed since are prepared again: from what the process now
    remembers, and what that does not settle from the tables."""
    answers = outcomes()
    if any(isinstance(answer, ProoftrailError) for answer in answers):
        now = authority.refreshed()
        answers = _again(sender, group, answers, now, outdated=now.epoch != facts.epoch)
        answers = _again(sender, group, answers, Facts(), outdated=False)
        answers = _as_before(sender, group, answers)
    return [_line(line.number, answer) for line, answer in zip(group, answers, strict=True)]


def _as_before(sender: _Sender, group: list[_Line], answers: list[Outcome]) -> list[Outcome]:
    """`answers`, with the first one for each line that is refused and was recorded before."""
    refused = {p: line for p, line in enumerate(group) if _is_refused(answers[p])}
    keys = {place: key for place, line in refused.items() if (key := sender.key_of(line)) is not None}
    try:
        found = replays.first_answers(sender.writer(Facts())[1], keys.values()) if keys else {}
    except ProoftrailError:  # of the token: said already
        return answers
    for outcome in found.values():
        if isinstance(outcome, Placed):
            repeats.answered(outcome)
    return [found.get(keys[p], answer) if p in keys else answer for p, answer in enumerate(answers)]


def _is_refused(answer: Outcome) -> bool:
    return isinstance(answer, ProoftrailError) and replays.may_stand(answer)


def _again(
    sender: _Sender, group: list[_Line], answers: list[Outcome], facts: Facts, *, outdated: bool
) -> list[Outcome]:
    """`answers`, with another try for each line whose refusal may follow from old facts."""
    places = [place for place, answer in enumerate(answers) if _hangs_on_facts(answer, outdated=outdated)]
    if not places:
        return answers
    settled = list(answers)
    for place, outcome in zip(places, _append(sender, [group[p] for p in places], facts)(), strict=True):
        settled[place] = outcome
    return settled


def _hangs_on_facts(answer: Outcome, *, outdated: bool) -> bool:
    return isinstance(answer, FactsChangedError) or (outdated and records.hangs_on_facts(answer))


def _line(number: int, answer: Outcome) -> bytes:
    if isinstance(answer, ProoftrailError):
        status, document, _ = problem.describe(answer)
        return json.dumps({"line": number, "status": status, "problem": document}).encode() + b"\n"
    status = 200 if answer.replayed else 201
    return b'{"line":%d,"status":%d,"receipt":%b}\n' % (number, status, answer.receipt())
