"""Bodies as pipelines send them, by kind; `number` makes each one another."""

import hashlib
from typing import Any

_CHECKS = ["home page answers 200", "login", "quote search", "watch list", "export to CSV", "AI summary cites sources"]


def digest_of(number: int) -> str:
    return hashlib.sha256(b"build %d" % number).hexdigest()


def test_result(number: int) -> dict[str, Any]:
    """What the speed of single writes is measured with: about 400 bytes."""
    return {
        "suite": ("unit", "integration", "contract", "lint")[number % 4],
        "outcome": "passed",
        "passed": 400 + number % 97,
        "failed": 0,
        "skipped": number % 5,
        "url": f"https://ci.netlify-trading.example/runs/{918_000 + number}/job/{number % 7}",
        "manifest_digest": f"sha256:{digest_of(number)}",
        "detail": f"{400 + number % 97} passed, {number % 5} skipped in {31 + number % 11}.{number % 10} s",
    }
