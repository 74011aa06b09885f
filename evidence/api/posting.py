"""POST records: what was sent becomes a draft, and a draft a receipt."""

import functools
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from django.http import HttpRequest, HttpResponse, JsonResponse

from config.api import problem
from config.errors import ForbiddenError, InvalidError, ProoftrailError
from evidence import authority, records, repeats, replays
from evidence.api import actors, admission, ratelimit
from evidence.api.authentication import bearer_in, principal_of, resolve_token
from evidence.api.dryrun import as_if_meant, dry_run
from evidence.api.parsers import parse_json, raw_body
from evidence.api.permissions import token_has_scope
from evidence.authority import Facts
from evidence.ledger import Draft, Idempotency, Placed, loop
from evidence.ledger.draft import Outcome
from evidence.models import Token
from evidence.people import Principal
from evidence.rehearsal import rehearse
from evidence.tlog.errors import TlogError

DSSE = "application/vnd.dsse.envelope.v1+json"
#: Bytes of a body from which on it is prepared by a thread of its own.
LARGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """A request, as far as it matters here; texts are empty where a header is missing."""

    authorization: str
    media_type: str
    key: str | None
    path: str
    query: str
    body: bytes
    #: What its sender is told of their rate, once it is known who sends.
    limits: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, request: HttpRequest, limits: dict[str, str] | None = None) -> "Sent":
        return cls(
            authorization=request.META.get("HTTP_AUTHORIZATION", ""),
            media_type=request.META.get("CONTENT_TYPE", ""),
            key=request.META.get("HTTP_IDEMPOTENCY_KEY"),
            path=request.path,
            query=request.META.get("QUERY_STRING", ""),
            body=raw_body(request),
            limits=limits if limits is not None else {},
        )


def post(request: HttpRequest) -> HttpResponse:
    """The view, for a server that gives each request a thread."""
    try:
        with admission.writes.one(request.META.get("HTTP_AUTHORIZATION", "")):
            return answer(request)
    except ProoftrailError as error:
        return problem.respond(error)


def answer(request: HttpRequest, sent: Sent | None = None, limits: dict[str, str] | None = None) -> HttpResponse:
    """Record what a request says, or say why not. `sent` is the same request, where it was tried from memory before;
    `limits` what its sender is told of their rate, where that was looked at before."""
    try:
        if dry_run(request):
            as_if_meant(request)
            return JsonResponse(rehearse(functools.partial(_draft, Sent.of(request, limits))))
        sent = sent or Sent.of(request, limits)
        placed = write(sent)
    except ProoftrailError as error:
        return problem.respond(error)
    except TlogError as error:
        return problem.respond(problem.from_format(error))
    status, headers, body = receipt(sent, placed)
    return HttpResponse(body, status=status, headers=headers)


def receipt(sent: Sent, placed: Placed) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer to what is recorded."""
    headers = {"Content-Type": "application/json", "Location": f"/api/v1/records/{placed.index}", **sent.limits}
    if placed.replayed:
        headers["Idempotency-Replayed"] = "true"
    return 200 if placed.replayed else 201, headers, placed.receipt()


def write(sent: Sent) -> Placed:
    """Raises what refuses it, ProoftrailError or TlogError, unless it was recorded before: then that is the answer."""
    try:
        return records.record(lambda facts: _draft(sent, facts), large=len(sent.body) > LARGE)
    except (ProoftrailError, TlogError) as refused:
        if not replays.may_stand(refused) or (first := _first_answer(sent)) is None:
            raise
        placed = replays.placed_or_raised(first)
        repeats.answered(placed)
        return placed


def _first_answer(sent: Sent) -> Outcome | None:
    """What became of the same key the first time, if who asks may still know."""
    try:
        asked = _asked(sent)
        return replays.first_answer(_sender(sent, Facts())[1], asked) if asked is not None else None
    except ProoftrailError:  # of the key, or of the token: said already
        return None


def write_from_memory(sent: Sent, tell: loop.Tell) -> None:
    """The same on the event loop, by what this process remembers: `tell` is told, as by `loop.write`."""
    if len(sent.body) > LARGE or "dry_run" in sent.query:
        tell(loop.TheLongWay())
    else:
        loop.write(lambda: _draft(sent, authority.remembered()), tell)


def _sender(sent: Sent, facts: Facts) -> tuple[Token, Principal]:
    """Token and principal. Raises ``not_authenticated``, ``token_invalid``, ``scope_missing``."""
    text = bearer_in(sent.authorization)
    if text is None:
        raise InvalidError("Send the header 'Authorization: Bearer <token>'.", code="not_authenticated")
    token = resolve_token(text, facts)
    principal = principal_of(token)
    if not token_has_scope(token, "records:write"):
        raise ForbiddenError("The token's scopes do not include records:write.", code="scope_missing")
    return token, principal


def _draft(sent: Sent, facts: Facts) -> Draft:
    token, principal = _sender(sent, facts)
    if not sent.limits:  # prepared a second time, it is the same request
        verdict = ratelimit.take(principal.uid)
        ratelimit.believe(sent.authorization, principal.uid)
        sent.limits.update(verdict.headers())
        verdict.check()
    actor, media_type = actors.actor(principal, token), _media_type(sent)
    if media_type == DSSE:
        release, system, occurred_at = _query(sent.query)
        return records.signed_draft(
            sent.body,
            principal=principal,
            actor=actor,
            release=release,
            system=system,
            occurred_at=occurred_at,
            idempotency=_idempotency(sent) or _by_itself(sent),
            facts=facts,
            valid_until=token.expires_at,
        )
    if media_type == "application/json":
        return records.plain_draft(
            parse_json(sent.body),
            principal=principal,
            actor=actor,
            idempotency=_idempotency(sent),
            facts=facts,
            valid_until=token.expires_at,
        )
    raise InvalidError(f"Send application/json or {DSSE}.", code="media_type_unsupported")


def _media_type(sent: Sent) -> str:
    return sent.media_type.partition(";")[0].strip().lower()


def _asked(sent: Sent) -> Idempotency | None:
    """The key that a request is known by."""
    return _idempotency(sent) or (_by_itself(sent) if _media_type(sent) == DSSE else None)


def _by_itself(sent: Sent) -> Idempotency:
    return Idempotency.of_envelope(method="POST", path=_path(sent), body=sent.body)


def _idempotency(sent: Sent) -> Idempotency | None:
    if sent.key is None:
        return None
    actors.check_key(sent.key)
    return Idempotency.of(sent.key, method="POST", path=_path(sent), body=sent.body)


def _path(sent: Sent) -> str:
    """Path and query as they were sent: what an idempotency key is bound to."""
    return f"{sent.path}?{sent.query}"


@functools.lru_cache(maxsize=1024)
def _query(text: str) -> tuple[str | None, str | None, str | None]:
    """`release`, `system`, `occurred_at`; of one that is named twice, the last. A pipeline sends the same all day."""
    found = dict(parse_qsl(text, keep_blank_values=True, max_num_fields=100))
    return found.get("release"), found.get("system"), found.get("occurred_at")
