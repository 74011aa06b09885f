"""A small HTTP server for the command line to talk to: it records requests, and its receipts are real.

What it cannot show is that the service speaks the same HTTP; tests/e2e plays the whole scenario against that.
"""

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence.tlog import dsse, keys
from evidence.tlog.canonical import canonical
from evidence.tlog.checkpoint import Checkpoint
from evidence.tlog.leaf import Leaf, payload_digest
from evidence.tlog.merkle import Frontier, leaf_hash
from evidence.tlog.note import Signer, sign_note
from evidence.tlog.receipt import Receipt
from evidence.tlog.statement import Subject, build_statement, predicate_type_for
from evidence.tlog.tlog_proof import format_proof

TOKEN = "pt_" + "a" * 40


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: Close the connection without an answer.
    hang_up: bool = False


def problem(status: int, code: str, **members: Any) -> Reply:
    document = {"type": f"urn:x:{code}", "title": "Refused", "status": status, "code": code, "detail": "Told why."}
    return Reply(document | members, status, {"Content-Type": "application/problem+json"})


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up, as some tests mean it to
            super().handle_error(request, client_address)


Route = Callable[[Seen], Reply]


class Ledger:
    """Signs receipts as the service does."""

    def __init__(self) -> None:
        self.log = Signer("test.example/log", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
        #: Who signs checkpoints by now.
        self.signers = [self.log]
        self.record_key = Ed25519PrivateKey.from_private_bytes(b"\x02" * 32)
        self.frontier = Frontier(0, ())

    def plain(self, request: dict[str, Any]) -> dict[str, Any]:
        payload = build_statement(
            subjects=request.get("subject") or [Subject(request["kind"], {"sha256": "0" * 64})],
            predicate_type=predicate_type_for(request["kind"]),
            predicate=request["body"],
        )
        envelope = dsse.sign_envelope(payload, self.record_key)
        return self.receipt(request["kind"], envelope, "service", request.get("release"))

    def rotate(self, new: Signer) -> dict[str, Any]:
        """Both rotation and its end, as the service records them; the key list from then on."""
        old = self.log
        body = {"purpose": "log", "key_id": new.vkey, "public_key": new.public_key.public_bytes_raw().hex()}
        begun = self.plain({"kind": "key.rotated", "body": body | {"replaces": [old.vkey], "lost": False}})
        self.log, self.signers = new, [old, new]
        ended = self.plain({"kind": "key.retired", "body": {"purpose": "log", "key_id": old.vkey}})
        self.signers = [new]
        return {
            "keys": [
                {"vkey": old.vkey, "from_size": 0, "to_size": ended["index"] + 1, "ended": ended},
                {"vkey": new.vkey, "from_size": begun["index"] + 2, "to_size": None, "introduced": begun},
            ]
        }

    def receipt(self, kind: str, envelope: bytes, signed_by: str, release: str | None) -> dict[str, Any]:
        now, salt = datetime.now(UTC), bytes(16)
        context = canonical(
            {
                "claims": {},
                "key": keys.key_digest(self.record_key.public_key()),
                "occurred": None,
                "principal": "p_1",
                "release": release,
                "verification": {"signature": signed_by},
            }
        )
        leaf = Leaf(kind, now, now, "p_1", ("s_1",), payload_digest(salt, context, envelope)).encode()
        growth = self.frontier.extend([leaf_hash(leaf)])
        index, self.frontier = self.frontier.size, growth.frontier
        note = sign_note(Checkpoint(self.log.name, growth.size, growth.root).text(), self.signers)
        receipt = Receipt(
            index=index,
            leaf=leaf,
            salt=salt,
            context=context,
            envelope=envelope if signed_by == "service" else None,
            checkpoint=note,
            proof=format_proof(index, growth.inclusion_proof(index), note),
            principal="p_1",
            signed_by=signed_by,
        )
        found: dict[str, Any] = json.loads(receipt.to_json())
        return found


class Service:
    """Routes by ``METHOD /path``; a list of replies is used up one by one, its last one again and again."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.ledger = Ledger()
        self.routes: dict[str, Route | list[Reply]] = {
            "GET /api/v1/log/keys": lambda _: Reply(
                {"keys": [{"vkey": self.ledger.log.vkey, "from_size": 0, "to_size": None}]}
            ),
            "POST /api/v1/records": self._record,
            "POST /api/v1/artifacts": self._announce,
        }
        self.stored: dict[str, bytes] = {}
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def on(self, route: str, *replies: Reply) -> None:
        self.routes[route] = list(replies)

    def requests(self, route: str) -> list[Seen]:
        return [seen for seen in self.seen if f"{seen.method} {seen.path}" == route]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, seen: Seen) -> Reply:
        self.seen.append(seen)
        route = self.routes.get(f"{seen.method} {seen.path}")
        if route is None:
            return problem(404, "not_found")
        if callable(route):
            return route(seen)
        return route.pop(0) if len(route) > 1 else route[0]

    def _record(self, seen: Seen) -> Reply:
        if seen.headers["content-type"] == dsse.MEDIA_TYPE:
            kind = json.loads(dsse.parse_envelope(seen.body).payload)["predicateType"].split(":")[3]
            release = seen.query.get("release", [None])[0]
            return Reply(self.ledger.receipt(kind, seen.body, "pipeline", release), 201)
        return Reply(self.ledger.plain(seen.json()), 201)

    def _announce(self, seen: Seen) -> Reply:
        wanted = seen.json()
        key = wanted["sha256"]
        headers = {"Content-Type": wanted["media_type"], "Content-Length": str(wanted["size"]), "x-amz-test": "signed"}
        self.routes[f"PUT /incoming/{key}"] = lambda put: self._store(key, put)
        confirmed = Reply({"artifact": {"sha256": key, "state": "confirmed"}})
        self.routes.setdefault(f"POST /api/v1/artifacts/{key}/confirm", lambda _: confirmed)
        upload = {"url": f"{self.url}/incoming/{key}?X-Amz-Signature=s", "method": "PUT", "headers": headers}
        return Reply({"artifact": {"sha256": key, "state": "incoming"}, "upload": upload}, 201)

    def _store(self, key: str, put: Seen) -> Reply:
        if sha256(put.body).hexdigest() != key:
            return Reply("BadDigest", 400)
        self.stored[key] = put.body
        return Reply("", 200)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                parts = urlsplit(self.path)
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                headers = {name.lower(): value for name, value in self.headers.items()}
                seen = Seen(self.command, unquote(parts.path), parse_qs(parts.query), headers, body)
                reply = service.answer(seen)
                if reply.hang_up:
                    self.close_connection = True
                    return
                content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in ({"Content-Type": "application/json"} | reply.headers).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815  # the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        return Handler
