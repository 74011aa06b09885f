"""The list of keys as strangers read it (`evidence.tlog.keyring`): at ``log/keys``, and in packs."""

import json
from typing import Any

from evidence.ledger import reader
from evidence.models import SigningKey
from evidence.tlog import b64


def answer(size: int | None = None) -> dict[str, Any]:
    """``{keys, record_keys}``; with `size` as they were known when the log had that many records."""
    rows = SigningKey.objects.order_by("from_size", "key_id")
    if size is not None:
        rows = rows.filter(started_by__lt=size)
    return {
        "keys": [_log_key(row, size) for row in rows if row.purpose == "log"],
        "record_keys": [_record_key(row, size) for row in rows if row.purpose == "record"],
    }


def _log_key(row: SigningKey, size: int | None) -> dict[str, Any]:
    ended = _has_ended(row, size)
    entry = {
        "vkey": row.key_id,
        "from_size": row.from_size,
        "to_size": row.to_size if ended else None,
        "status": row.status if ended else "in force",
    }
    if row.from_size:
        entry["introduced"] = _receipt(row.started_by)
    if ended and row.ended_by is not None:
        entry["ended"] = _receipt(row.ended_by)
    return entry


def _record_key(row: SigningKey, size: int | None) -> dict[str, Any]:
    ended = _has_ended(row, size)
    return {
        "key_id": row.key_id,
        "public_key": b64.encode(bytes(row.public_key)),
        "from_index": row.from_index,
        "to_index": row.to_index if ended else None,
        "status": row.status if ended else "in force",
    }


def _has_ended(row: SigningKey, size: int | None) -> bool:
    return row.ended_by is not None and (size is None or row.ended_by < size)


def _receipt(index: int) -> Any:
    return json.loads(reader.replay(index).receipt())
