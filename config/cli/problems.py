"""Errors that the server answers (RFC 9457), told to a person: what, where, which code, what to do."""

from typing import Any

import httpx

from config.cli.errors import CommandError, ExitCode

_ADVICE_BY_CODE = {
    "artifact_unknown": "Upload the file first: prooftrail upload PATH --system NAME.",
    "clock_skew": "Nothing was written. The server's clocks disagree: tell who operates it.",
    "id_token_audience": "Use --audience with what the trust policy says, or ask the CI system for that audience.",
    "id_token_claims": "Ask an administrator for a trust policy that names this job's repository, ref or environment.",
    "id_token_issuer_untrusted": "Ask an administrator for a trust policy for your CI system.",
    "id_token_replayed": "Log in once in each job, or give the job a further id-token.",
    "idempotency_key_reused": "The same key came with another request: leave --idempotency-key out.",
    "key_unknown": "Register the public key for this pipeline; prooftrail keygen writes it beside the private one.",
    "kind_reserved": "Only the product writes records of this kind.",
    "kind_unknown": "The server's API pages at /api/v1/docs list the kinds that it knows.",
    "record_disposed": "The record's retention ended; its leaf and proofs remain in the ledger.",
    "secret_found": "Nothing was stored. Remove the secret, have it revoked where it was issued, and send again.",
    "pipeline_ambiguous": "Say which pipeline is meant with --pipeline.",
    "signature_invalid": "Sign with the key that is registered for this pipeline, and send the envelope unchanged.",
    "signature_required": "Sign the record: --sign-with KEY.",
    "signatures_missing": "Sign with as many of the pipeline's keys as it demands: --sign-with once for each.",
}
_ADVICE_BY_STATUS = {
    400: "Correct the input and send it again.",
    401: "Run `prooftrail login`, or set PROOFTRAIL_TOKEN to a valid token.",
    403: "Ask who set up this token or role; trying again will not help.",
    404: "Check the name, and that your token may see it.",
    409: "Look at the present state first, for instance with `prooftrail release show`.",
    413: "Upload large files with --file; they are not part of the record.",
    422: "Correct what is named above and send it again.",
    429: "Wait a little and try again.",
}
_SERVER_ADVICE = "Try again later; a retry is safe."


def refusal(response: httpx.Response) -> CommandError:
    """The error to end with for a response that is not a success."""
    document = _document(response)
    status = response.status_code
    code = str(document.get("code") or "")
    advice = _ADVICE_BY_CODE.get(code) or _ADVICE_BY_STATUS.get(status)
    if advice is None:
        advice = _SERVER_ADVICE if status >= 500 else "Check PROOFTRAIL_URL." if status < 400 else ""
    return CommandError(_message(document, response, code), code=_exit_code(status), advice=advice)


def _document(response: httpx.Response) -> dict[str, Any]:
    if response.headers.get("content-type", "").partition(";")[0].strip() != "application/problem+json":
        return {}
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _message(document: dict[str, Any], response: httpx.Response, code: str) -> str:
    if not document:
        target = response.headers.get("location")
        went = f" and points to {target}" if target and response.is_redirect else ""
        return f"The server answered {response.status_code} {response.reason_phrase}{went}"
    title, detail = str(document.get("title") or "Refused"), str(document.get("detail") or "")
    lines = [f"{title}: {detail}" if detail else title]
    if document.get("where"):
        lines.append(f"  at {document['where']}")
    for row in document.get("errors") or []:
        if isinstance(row, dict):
            lines.append(f"  {row.get('where', '$')}: {row.get('detail', '')}")
    for row in document.get("findings") or []:
        if isinstance(row, dict):
            place = row.get("pointer") or f"line {row.get('line')}"
            lines.append(f"  {place}: {row.get('title', '')} ({row.get('rule', '')})")
    return "\n".join([*lines, f"  code {code}, status {response.status_code}"])


def _exit_code(status: int) -> ExitCode:
    if status in (401, 403):
        return ExitCode.NOT_AUTHORISED
    if 400 <= status < 500 and status not in (408, 429):
        return ExitCode.USAGE
    return ExitCode.SERVER
