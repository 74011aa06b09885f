"""The short way for POST records: the same answers as the long one, and everything else goes the long way."""

import io
import json
from collections.abc import Iterable
from typing import Any

import pytest

from config.direct import DirectWrites


def django(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"the long way"]


def ask(method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, dict[str, str], bytes]:
    seen: list[Any] = []
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "HTTP_HOST": "testserver",
        "CONTENT_LENGTH": str(len(body)),
        "CONTENT_TYPE": "application/json",
        "wsgi.input": io.BytesIO(body),
        "wsgi.url_scheme": "http",
    } | headers
    answer = b"".join(DirectWrites(django)(environ, lambda status, headers: seen.extend([status, headers])))
    return int(seen[0].split()[0]), dict(seen[1]), answer


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/v1/records"), ("POST", "/api/v1/records/batch")])
def test_it_leaves_everything_else_to_django(method, path):
    assert ask(method, path)[2] == b"the long way"


def test_it_answers_with_length_and_headers():
    status, headers, answer = ask("POST", "/api/v1/records", b"{}")
    assert (status, json.loads(answer)["code"]) == (401, "not_authenticated")
    assert headers["Content-Type"] == "application/problem+json"
    assert headers["Content-Length"] == str(len(answer))
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["WWW-Authenticate"].startswith("Bearer")


def test_it_refuses_a_host_that_is_not_ours():
    status, _, answer = ask("POST", "/api/v1/records", HTTP_HOST="elsewhere.example.com")
    assert (status, json.loads(answer)["code"]) == (400, "bad_request")


def test_a_fault_is_answered_as_a_problem_without_detail(monkeypatch):
    def fail(request: Any) -> Any:
        raise RuntimeError("the secret is 42")

    monkeypatch.setattr("evidence.api.records._post", fail)
    status, _, answer = ask("POST", "/api/v1/records")
    assert (status, json.loads(answer)["code"]) == (500, "internal_error")
    assert b"42" not in answer


def test_a_write_through_it_is_the_same_record(cast):
    body = json.dumps({"kind": "decision", "body": {"title": "t", "decision": "d", "rationale": "r"}}).encode()
    token = {"HTTP_AUTHORIZATION": f"Bearer {cast.ci_token}", "HTTP_IDEMPOTENCY_KEY": "k"}
    first, again = (ask("POST", "/api/v1/records", body, **token) for _ in range(2))
    assert (first[0], again[0]) == (201, 200)
    assert first[2] == again[2]
    assert first[1]["Location"] == f"/api/v1/records/{json.loads(first[2])['index']}"
