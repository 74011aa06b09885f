"""Payloads: what zstd saves and costs by kind, on envelopes as they are kept.

An envelope carries its payload in base64, and is kept byte for byte as it was sent: compression finds less in it
than in the JSON within. A dictionary of the kind finds what its records have in common; bodies made up for a bench
have more of that than real ones, so its figure is the most that could be hoped for.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from evidence.tlog.dsse import sign_envelope
from evidence.tlog.statement import build_statement, predicate_type_for
from tests.bench import bodies
from tests.bench.stage import Stage
from tests.bench.table import Row

PART = "payload compression, by kind (envelope as sent)"
LEVELS = (1, 3, 9)
#: What the product writes with (evidence/ledger).
USED = 3
DICTIONARY_BYTES = 16 * 1024


def measure(stage: Stage) -> list[Row]:
    count = 100 if stage.quick else 500
    key = Ed25519PrivateKey.generate()
    return [
        row(_title(kind, predicate), [_envelope(kind, predicate, body, number, key) for number in range(count)])
        for kind, predicate, body in bodies.KINDS
    ]


def row(title: str, envelopes: Sequence[bytes]) -> Row:
    """One kind at each level; the row's own figures are those of the level in use."""
    size = sum(map(len, envelopes))
    levels = [_at_level(level, envelopes) for level in LEVELS]
    used, trained = levels[LEVELS.index(USED)], _with_dictionary(envelopes)
    return Row(
        part=PART,
        name=title,
        at=f"{size // len(envelopes):,} bytes",
        rate=size / len(envelopes) / used["pack_us"],
        unit="MB/s",
        ratio=used["ratio"],
        more={
            **{f"zstd {at['level']}:": f"{at['ratio']:.2f} in {at['pack_us']:.1f} µs" for at in levels},
            "with a dictionary:": f"{trained['ratio']:.2f} in {trained['pack_us']:.1f} µs",
            "unpack µs": used["unpack_us"],
            "levels": [*levels, trained],
        },
    )


def _at_level(level: int, envelopes: Sequence[bytes]) -> dict[str, float]:
    """Times are medians, since a kind's bodies are much alike."""
    packed, packing = _timed(zstandard.ZstdCompressor(level=level).compress, envelopes)
    _, unpacking = _timed(zstandard.ZstdDecompressor().decompress, packed)
    ratio = sum(map(len, envelopes)) / sum(map(len, packed))
    return {"level": level, "ratio": round(ratio, 3), "pack_us": packing / 1000, "unpack_us": unpacking / 1000}


def _with_dictionary(envelopes: Sequence[bytes]) -> dict[str, float]:
    """A dictionary from half of a kind's envelopes, used on the other half."""
    half = len(envelopes) // 2
    dictionary = zstandard.train_dictionary(DICTIONARY_BYTES, list(envelopes[:half]))
    packed, packing = _timed(zstandard.ZstdCompressor(level=USED, dict_data=dictionary).compress, envelopes[half:])
    ratio = sum(map(len, envelopes[half:])) / sum(map(len, packed))
    return {"level": USED, "dictionary": DICTIONARY_BYTES, "ratio": round(ratio, 3), "pack_us": packing / 1000}


def _timed(work: Callable[[bytes], bytes], items: Sequence[bytes]) -> tuple[list[bytes], float]:
    """The results, and the median nanoseconds for one."""
    done, took = [], []
    for item in items:
        began = time.perf_counter_ns()
        done.append(work(item))
        took.append(time.perf_counter_ns() - began)
    return done, sorted(took)[len(took) // 2]


def _title(kind: str, predicate: str | None) -> str:
    return f"{kind} ({predicate.removeprefix('https://')})" if predicate else kind


def _envelope(
    kind: str, predicate: str | None, body: Callable[[int], dict[str, Any]], number: int, key: Ed25519PrivateKey
) -> bytes:
    payload = build_statement(
        subjects=[{"name": "app.tar.gz", "digest": {"sha256": bodies.digest_of(number)}}],
        predicate_type=predicate or predicate_type_for(kind),
        predicate=body(number),
    )
    return sign_envelope(payload, key)
