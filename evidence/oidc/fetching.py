"""What an issuer publishes: JSON from addresses that a token names, fetched under the guard of `config.outbound`.

An issuer inside the own network is listed in `settings.OIDC_PRIVATE_ISSUERS`.
"""

import json
import logging
from typing import Any

from django.conf import settings

from config.errors import UnavailableError
from config.outbound import Answer, RefusedError, Rules, ask, target

logger = logging.getLogger(__name__)

LIMIT = 256 * 1024
SECONDS = 5.0


def unreachable(issuer: str, why: Exception) -> UnavailableError:
    """What who presented a token hears. The reason goes to the log: it may speak of the network inside."""
    logger.warning("oidc: the keys of %s cannot be had: %s", issuer, why)
    return UnavailableError(
        "The keys of the id-token's issuer cannot be had now. Try again; if it lasts, an administrator finds the "
        "reason with manage.py trust_policy check.",
        code="issuer_unreachable",
        retry_after=10,
    )


def get_json(url: str, *, private: bool) -> dict[str, Any]:
    """The JSON object at `url`; `private` allows addresses that are not public. Raises RefusedError."""
    hint = "An issuer inside the own network is listed in OIDC_PRIVATE_ISSUERS."
    rules = Rules(LIMIT, SECONDS, ca_file=settings.OIDC_CA_FILE, hint=hint)
    try:
        answer = ask("GET", target(url), private=private, rules=rules, headers={"Accept": "application/json"})
        return _object(answer)
    except RefusedError as error:
        raise RefusedError(f"{url[:200]!r}: {error}") from error


def _object(answer: Answer) -> dict[str, Any]:
    if answer.status != 200:
        raise RefusedError(f"it answered {answer.status}; redirects are not followed")
    try:
        found = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise RefusedError(str(error)) from error
    if not isinstance(found, dict):
        raise RefusedError("it is not a JSON object")
    return found
