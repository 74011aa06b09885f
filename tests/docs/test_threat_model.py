"""docs/threat-model.md quotes what the product says, in its very words."""

import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_QUOTED = re.compile(r"“([^”]+)”")
_NAMED = re.compile(r"`([a-z]+(?:_[a-z]+)+)`")


@cache
def source() -> str:
    """The product's code, with the lines of split texts joined."""
    files = [path for app in ("evidence", "exceptions", "compliance", "config") for path in (ROOT / app).rglob("*.py")]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in files))


def test_it_quotes_words_and_codes_that_the_product_uses() -> None:
    text = (ROOT / "docs" / "threat-model.md").read_text()
    quoted, named = _QUOTED.findall(text), _NAMED.findall(text)
    assert len(quoted) >= 8
    assert {"ledger_behind_anchor", "clock_skew", "credential_revoked"} <= set(named)
    assert [words for words in quoted + named if words not in source()] == []
